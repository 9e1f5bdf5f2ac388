package connlimit

import (
	"io"
	"net"
	"testing"
	"time"
)

func TestAnIdleConnectionMakesWayForANewOne(t *testing.T) {
	const idle = 200 * time.Millisecond
	l, accepted := newEvictingListener(t, 2, 2, idle)
	oldest, busy := dialFrom(t, l, "127.0.0.1"), dialFrom(t, l, "127.0.0.2")
	<-accepted
	<-accepted
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(idle / 10):
				_, _ = io.WriteString(busy, "x")
			}
		}
	}()
	defer close(stop)
	<-time.After(2 * idle)
	dialFrom(t, l, "127.0.0.3")
	var third net.Conn
	select {
	case third = <-accepted:
	case <-time.After(20 * time.Second):
		t.Fatal("the new connection was not accepted")
	}
	if third.RemoteAddr().(*net.TCPAddr).IP.String() != "127.0.0.3" || !isClosed(t, oldest) || isClosed(t, busy) || l.Evicted() != 1 {
		t.Errorf("the idle connection was not closed; %d were", l.Evicted())
	}
}
