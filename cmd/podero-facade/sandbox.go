package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/sandbox"
)

const (
	sandboxTokenLifetime = 10 * time.Hour // as Podero's
	sandboxHeaderTimeout = 10 * time.Second
	sandboxStopTimeout   = 5 * time.Second
)

type sandboxCommand struct {
	Listen string `placeholder:"ADDRESS" default:"127.0.0.1:8090" help:"Address to listen on."`
}

// Run serves the sandbox until ctx ends.
func (c *sandboxCommand) Run(ctx context.Context, std streams, found problems) error {
	if err := found.with(nil); err != nil {
		return err
	}
	upstream, err := listenSandbox(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen (%s): %w; give another address", server.Variable("listen"), err)
	}
	_, _ = fmt.Fprintf(std.out, `Sandbox upstream. To put the service in front of it:

  %s=%s podero-facade serve --client-id %s \
    --upstream-url %s --token-url %s
`, server.SecretVariable, sandbox.ClientSecret, sandbox.ClientID, upstream.apiURL(), upstream.tokenURL())
	return upstream.run(ctx)
}

// sandboxServer is a sandbox with its listener open.
type sandboxServer struct {
	listener net.Listener
	server   *http.Server
}

func listenSandbox(address string) (*sandboxServer, error) {
	handler, err := sandbox.New(sandboxTokenLifetime)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &sandboxServer{listener, &http.Server{Handler: handler, ReadHeaderTimeout: sandboxHeaderTimeout}}, nil
}

func (s *sandboxServer) apiURL() string {
	return "http://" + s.listener.Addr().String() + sandbox.APIPath
}

func (s *sandboxServer) tokenURL() string {
	return "http://" + s.listener.Addr().String() + sandbox.TokenPath
}

// run serves until ctx ends, and then for as long as calls under way take.
func (s *sandboxServer) run(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), sandboxStopTimeout)
		defer cancel()
		stopped <- s.server.Shutdown(last)
	}()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
