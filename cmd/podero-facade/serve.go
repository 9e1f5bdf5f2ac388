package main

import (
	"context"
	"os"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/telemetry"
)

type serveCommand struct {
	server.Config `embed:""`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, std streams, found problems) error {
	c.ReadCredentials(os.Getenv)
	if err := found.with(c.Check()); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		paceCollector()
	}
	service, err := server.New(c.Config, telemetry.NewLogger(std.err, c.LogFormat, c.LogLevel))
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
