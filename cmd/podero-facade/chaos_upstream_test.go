//go:build chaos

package main

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

// rollingUpstream is an upstream that can be restarted without refusing connections: its servers share a socket.
type rollingUpstream struct {
	t       *testing.T
	handler http.Handler
	socket  *net.TCPListener
	current *http.Server
	serving chan struct{} // closed when current has ended
}

func newRollingUpstream(t *testing.T, handler http.Handler) *rollingUpstream {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &rollingUpstream{t: t, handler: handler, socket: socket.(*net.TCPListener)}
	u.start()
	t.Cleanup(func() {
		u.stop(u.current, u.serving)
		_ = socket.Close()
	})
	return u
}

func (u *rollingUpstream) url() string { return "http://" + u.socket.Addr().String() }

func (u *rollingUpstream) start() {
	u.t.Helper()
	file, err := u.socket.File()
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	listener, err := net.FileListener(file)
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
