package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/check"
	"example.com/podero-facade/server/podero"
)

type checkCommand struct {
	server.Config `embed:""`

	OrgID  string `name:"org-id" placeholder:"UUID" default:"00000000-0000-0000-0000-000000000000" help:"Organization to look up a user in that can't exist."`
	Output string `enum:"text,json" default:"text" help:"How to print what was seen: text, a line for each step, or json, an array of them."`
}

// Run tries everything that serve needs, and prints what it saw. It fails if a step did.
func (c *checkCommand) Run(ctx context.Context, std streams, found problems) error {
	orgID := strings.ToLower(c.OrgID)
	if !podero.IsUUID(orgID) {
		return &usageError{fmt.Errorf("--org-id (%s): is not a UUID; give one like 016b78a7-0c7c-4241-a277-015c3ad3cb90",
			server.Variable("org-id"))}
	}
	c.ReadCredentials(os.Getenv)
	steps := []check.Step{}
	failed := check.Run(ctx, c.Config, found, orgID, func(step check.Step) {
		steps = append(steps, step)
		if c.Output == "text" {
			_, _ = fmt.Fprintln(std.out, step)
		}
	})
	if c.Output == "json" {
		encoder := json.NewEncoder(std.out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(steps); err != nil {
			return fmt.Errorf("write the steps: %w", err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("failed: %d of %d steps", failed, len(steps))
	}
	return nil
}
