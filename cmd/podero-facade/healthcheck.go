package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/fault"
)

// healthcheckTimeout is how long the service may take to say that it is ready.
const healthcheckTimeout = 2 * time.Second

type healthcheckCommand struct {
	AdminListen string `placeholder:"ADDRESS" default:"127.0.0.1:8081" help:"Address of /readyz, as the service has it."`
}

// Run asks the service on this machine whether it takes calls, and fails if it does not.
func (c *healthcheckCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	// The address is dialled as it is: one without a host, or 0.0.0.0, is this machine then.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, c.AdminListen)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/readyz", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("--admin-listen (%s): %w", server.Variable("admin-listen"), fault.Network(err))
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: /readyz answers %d", response.StatusCode)
	}
	return nil
}
