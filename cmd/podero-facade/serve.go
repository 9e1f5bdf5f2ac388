package main

import (
	"context"
	"os"
	"runtime/debug"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/telemetry"
)

// gcPercent is how much the heap may grow between two collections, unless GOGC says so: what is in use is a few
// megabytes, so that the collector would run all the time. GOMEMLIMIT bounds it all the same.
const gcPercent = 300

type serveCommand struct {
	server.Config `embed:""`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, std streams) error {
	c.ClientSecret = secret.New(os.Getenv(server.SecretVariable))
	if err := c.Check(); err != nil {
		return &usageError{err}
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	service, err := server.New(c.Config, telemetry.NewLogger(std.err, c.LogFormat, c.LogLevel))
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
