package main

import (
	"context"
	"fmt"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/sandbox"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/telemetry"
)

type demoCommand struct {
	server.Listen `embed:""`
}

// Run serves the service and its sandbox until ctx ends.
func (c *demoCommand) Run(ctx context.Context, std streams, found problems) error {
	upstream, err := listenSandbox("127.0.0.1:0")
	if err != nil {
		return err
	}
	var config server.Config
	if err := kong.ApplyDefaults(&config); err != nil {
		return fmt.Errorf("apply the defaults: %w", err)
	}
	config.Listen = c.Listen
	config.UpstreamURL = upstream.apiURL()
	config.TokenURL = upstream.tokenURL()
	config.ClientID = sandbox.ClientID
	config.ClientSecret = secret.New(sandbox.ClientSecret)
	config.ShutdownDrainDelay = 0 // nobody balances load over a demo
	if err := found.with(config.Check()); err != nil {
		return err
	}
	log, flush := telemetry.NewLogger(std.err, telemetry.LogText, config.LogLevel)
	defer flush()
	service, err := server.New(config, log)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(std.out, demoText, service.HTTPAddr(), service.GRPCAddr(), service.AdminAddr(),
		sandbox.OrgID, sandbox.APIPath)

	// The sandbox outlives the service, whose last calls need it.
	upstreamCtx, stopUpstream := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { return upstream.run(upstreamCtx) })
	group.Go(func() error {
		defer stopUpstream()
		return service.Run(ctx)
	})
	return group.Wait()
}

const demoText = `podero-facade in front of a sandbox upstream. Stop it with Ctrl-C. Paste a call:

  curl http://%[1]s%[5]s/org/%[4]s/users/by-ext-id/134681893870

  grpcurl -plaintext -d '{"org_id": "%[4]s", "external_id": "134681893870"}' \
    %[2]s podero.user.v1.UserService/GetUserByExternalId

Or read and try it in a browser: http://%[1]s/docs

Other external IDs: all-null, zero-not-null, deleted (with include_deleted=true), a%%2Fb%%20c%%25%%C3%%A9
Health and metrics: http://%[3]s/readyz http://%[3]s/metrics
`
