package connlimit

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newListener returns a Listener and a channel of what it accepts.
func newListener(t *testing.T, most, mostPerPeer int) (*Listener, <-chan net.Conn) {
	t.Helper()
	return newEvictingListener(t, most, mostPerPeer, idleTime)
}

func newEvictingListener(t *testing.T, most, mostPerPeer int, idle time.Duration) (*Listener, <-chan net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, most, mostPerPeer)
	l.idleTime = idle
	accepted, done := make(chan net.Conn, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		close(accepted)
		for c := range accepted {
			_ = c.Close()
		}
	})
	return l, accepted
}

// dialFrom connects from an address of loopback.
func dialFrom(t *testing.T, l *Listener, from string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// isClosed reports whether the other side closes a connection within a moment.
func isClosed(t *testing.T, c net.Conn) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	timed, ok := errors.AsType[net.Error](err)
	return !ok || !timed.Timeout()
}

func TestAPeerHasItsShareOfTheConnections(t *testing.T) {
	l, accepted := newListener(t, 10, 2)
	for range 2 {
		dialFrom(t, l, "127.0.0.1")
	}
	first := <-accepted
	<-accepted
	if !isClosed(t, dialFrom(t, l, "127.0.0.1")) || l.Rejected() != 1 {
		t.Errorf("a third connection of the peer was kept; %d were rejected", l.Rejected())
	}
	dialFrom(t, l, "127.0.0.2")
	<-accepted // of another peer
	for range 2 {
		_ = first.Close() // twice is counted once
	}
	dialFrom(t, l, "127.0.0.1")
	<-accepted
	if !isClosed(t, dialFrom(t, l, "127.0.0.1")) {
		t.Error("a connection that was closed twice was counted twice")
	}
}

func TestNewConnectionsWaitForOthersToClose(t *testing.T) {
	l, accepted := newListener(t, 2, 2)
	dialFrom(t, l, "127.0.0.1")
	dialFrom(t, l, "127.0.0.2")
	first := <-accepted
	<-accepted
	dialFrom(t, l, "127.0.0.3")
	select {
	case <-accepted:
		t.Error("a connection beyond the bound was accepted")
	case <-time.After(100 * time.Millisecond):
	}
	_ = first.Close()
	<-accepted
}

func TestCloseEndsAnAcceptThatWaits(t *testing.T) {
	l, accepted := newListener(t, 1, 1)
	dialFrom(t, l, "127.0.0.1")
	<-accepted
	dialFrom(t, l, "127.0.0.2")
	<-time.After(50 * time.Millisecond)
	_ = l.Close() // the cleanup waits for Accept
}

func TestPeers(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:80":               "10.1.2.3",
		"[::ffff:10.1.2.3]:80":      "10.1.2.3",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::",
		"[fe80::1%eth0]:80":         "fe80::",
	} {
		got := peerOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		if got != netip.MustParseAddr(want) {
			t.Errorf("%s: got %v, want %s", address, got, want)
		}
	}
}
