//go:build unix

package connlimit

import (
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
)

func TestReadOnReady(t *testing.T) {
	l, accepted := newListener(t, 10, 10)
	client := dialFrom(t, l, "127.0.0.1")
	reader := (<-accepted).(*readyConn)
	go func() {
		<-time.After(20 * time.Millisecond)
		_, _ = io.WriteString(client, "hello")
		_ = client.Close()
	}()
	pool := mem.DefaultBufferPool()
	buffer, n, err := reader.ReadOnReady(4, pool)
	if err != nil || string((*buffer)[:n]) != "hell" {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	pool.Put(buffer)
	buffer, n, err = reader.ReadOnReady(4, pool)
	if err != nil || string((*buffer)[:n]) != "o" {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	pool.Put(buffer)
	if _, n, err := reader.ReadOnReady(4, pool); !errors.Is(err, io.EOF) || n != 0 {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
}
