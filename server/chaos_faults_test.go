//go:build chaos

package server_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestChaosFaults verifies the proxy: each fault causes the error that a client sees in production.
func TestChaosFaults(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newBackend(t, newHandler(good), false).address)
	for name, c := range map[string]struct {
		fault func()
		want  string
	}{
		"frozen": {p.freeze, "i/o timeout"},
		"silent": {func() { p.silence(t) }, "connection timed out"}, // found by keep-alive
		"reset":  {p.reset, "connection reset by peer"},
	} {
		conn, err := connect(p)
		if err != nil {
			t.Fatal(err)
		}
		c.fault()
		if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		_ = conn.Close()
	}
	p.freezeNew()
	if _, err := connect(p); err == nil || !strings.Contains(err.Error(), "read tcp") {
		t.Errorf("a new connection that begins frozen: %v", err)
	}
	p.dropNew(t)
	if _, err := connect(p); err == nil || !strings.Contains(err.Error(), "dial tcp") {
		t.Errorf("a new connection whose packets are dropped: %v", err)
	}
}

// connect opens a connection, with TCP keep-alive after 1 s, and completes one request on it.
func connect(p *proxy) (net.Conn, error) {
	dialer := net.Dialer{Timeout: time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}}
	conn, err := dialer.Dial("tcp", p.address())
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(4 * time.Second))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err == nil {
		_, err = conn.Read(make([]byte, 4096))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
