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
	log, flush := telemetry.NewLogger(std.err, c.LogFormat, c.LogLevel)
	defer flush()
	service, err := server.New(c.Config, log)
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
