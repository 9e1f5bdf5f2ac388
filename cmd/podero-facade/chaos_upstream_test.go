//go:build chaos

package main

import (
	"context"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// rollingUpstream is an upstream that can be restarted without refusing connections.
type rollingUpstream struct {
	t       *testing.T
	handler http.Handler
	address string
	current *http.Server
	serving chan struct{} // closed when current has ended
}

func newRollingUpstream(t *testing.T, handler http.Handler) *rollingUpstream {
	t.Helper()
	u := &rollingUpstream{t: t, handler: handler, address: "127.0.0.1:" + freePort(t)}
	u.start()
	t.Cleanup(func() { u.stop(u.current, u.serving) })
	return u
}

func (u *rollingUpstream) start() {
	u.t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		const reusePort = 15 // SO_REUSEPORT, which package syscall lacks
		failed := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1) })
		if failed != nil {
			return failed
		}
		return err
	}}
	listener, err := config.Listen(context.Background(), "tcp", u.address)
	if err != nil {
		u.t.Fatal(err)
	}
	web, serving := &http.Server{Handler: u.handler, ReadHeaderTimeout: time.Minute}, make(chan struct{})
	go func() {
		defer close(serving)
		_ = web.Serve(listener)
	}()
	u.current, u.serving = web, serving
}

func (u *rollingUpstream) stop(web *http.Server, serving chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := web.Shutdown(ctx); err != nil {
		u.t.Errorf("an upstream ends with %v", err)
	}
	<-serving
}

// restart starts a new server at the same address and then shuts the old one down gracefully: it completes requests in flight and
// closes idle connections.
func (u *rollingUpstream) restart() {
	u.t.Helper()
	web, serving := u.current, u.serving
	u.start()
	u.stop(web, serving)
}
