package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// runCommand measures.
type runCommand struct {
	Scenario []string `help:"Scenarios to play, P1 to P10; all by default."`
	Rounds   int      `default:"5" help:"How often to measure each server; the median counts."`
	Seconds  float64  `default:"5" help:"How long each time. Other times, and numbers of calls, shrink and grow with it."`
	Output   string   `enum:"text,json" default:"text" help:"text or json."`
}

// usualSeconds is the time that other times and numbers are for.
const usualSeconds = 5

// Run plays the scenarios, one after another, and prints what was seen.
func (c *runCommand) Run(ctx context.Context) error {
	for _, name := range c.Scenario {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == name }) {
			return fmt.Errorf("there is no scenario %q", name)
		}
	}
	lab, err := open(ctx)
	if err != nil {
		return err
	}
	defer lab.close()
	seen := report{Machine: machine(), Go: runtime.Version(), Rounds: c.Rounds, Seconds: c.Seconds}
	if seen.Commit, err = output(ctx, lab.root, "git", "describe", "--always", "--dirty"); err != nil {
		return err
	}
	for _, s := range scenarios {
		if len(c.Scenario) > 0 && !slices.Contains(c.Scenario, s.name) {
			continue
		}
		result, err := s.play(ctx, lab, c)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		result.Name, result.What = s.name, s.what
		seen.Scenarios = append(seen.Scenarios, *result)
	}
	if c.Output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", " ")
		return encoder.Encode(seen)
	}
	return seen.write(os.Stdout)
}

// scaled returns a number of things, of which there are so many in a run of the usual length.
func (c *runCommand) scaled(usual float64) int { return max(int(usual*c.Seconds/usualSeconds), 1) }

// lasting returns a time that is as long in a run of the usual length.
func (c *runCommand) lasting(usual time.Duration) time.Duration {
	return time.Duration(float64(usual) * c.Seconds / usualSeconds)
}

// machine names what the figures were seen on.
func machine() string {
	model := runtime.GOARCH
	info, _ := os.ReadFile("/proc/cpuinfo") // not everywhere
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = cmp.Or(strings.TrimSpace(value), model)
			break
		}
	}
	return fmt.Sprintf("%d cores, %s", runtime.NumCPU(), model)
}
