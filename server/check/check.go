// Package check tries one by one what the service needs: its configuration, its files, the hosts that it
// talks to, an access token and a lookup. It says what it saw and how to fix what is wrong.
package check

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.com/podero-facade/server"
)

// leastTime is how long all steps together may take, unless --upstream-timeout is longer.
const leastTime = 30 * time.Second

// Step is one thing that was to be tried.
type Step struct {
	Name    string `json:"name"`
	OK      *bool  `json:"ok"`                // nil if it was not tried
	Warning bool   `json:"warning,omitempty"` // OK, and yet something to look at
	Seen    string `json:"seen"`              // what was seen, or why it was not tried
	Remedy  string `json:"remedy"`            // what to do if it failed, or about a warning
}

// String returns the step as a line for people.
func (s Step) String() string {
	mark := "-"
	if s.OK != nil {
		mark = map[bool]string{true: "✓", false: "✗"}[*s.OK]
	}
	if s.Warning {
		mark = "!"
	}
	line := mark + " " + s.Name + ": " + s.Seen
	if s.Remedy != "" {
		line += "; " + s.Remedy
	}
	return line
}

// Run tries everything with a configuration that need not be valid, looking up a user of an organization. problems are
// what was wrong with the configuration before: values that could not be parsed. Run calls report after each step, and
// returns how many failed.
func Run(ctx context.Context, config server.Config, problems []error, orgID string, report func(Step)) (failed int) {
	ctx, cancel := context.WithTimeout(ctx, max(config.UpstreamTimeout, leastTime))
	defer cancel()
	r := &runner{config: &config, report: report, refused: map[string]bool{}}
	r.checkConfig(problems)
	r.checkFiles()
	r.checkPodero(ctx, orgID)
	r.checkRedis(ctx)
	r.checkKeys(ctx)
	return r.failed
}

// runner keeps what the steps before have shown.
type runner struct {
	config  *server.Config
	report  func(Step)
	refused map[string]bool // flags whose values are wrong
	failed  int
}

func (r *runner) pass(name, format string, args ...any) {
	ok := true
	r.tell(Step{Name: name, OK: &ok, Seen: fmt.Sprintf(format, args...)})
}

func (r *runner) fail(name, seen, remedy string) {
	ok := false
	r.failed++
	r.tell(Step{Name: name, OK: &ok, Seen: seen, Remedy: remedy})
}

// warn reports something that works, and is probably not meant.
func (r *runner) warn(name, seen, remedy string) {
	ok := true
	r.tell(Step{Name: name, OK: &ok, Warning: true, Seen: seen, Remedy: remedy})
}

// skip reports steps that could not be tried.
func (r *runner) skip(because string, names ...string) {
	for _, name := range names {
		r.tell(Step{Name: name, Seen: "not tried, because " + because})
	}
}

// tell reports a step without characters that a terminal could obey: certificates and answers have texts
// of others in them.
func (r *runner) tell(step Step) {
	plain := func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}
	step.Seen, step.Remedy = strings.Map(plain, step.Seen), strings.Map(plain, step.Remedy)
	r.report(step)
}

// refusal returns why a step that needs some flags can't be tried, or "".
func (r *runner) refusal(flags ...string) string {
	for _, flag := range flags {
		if r.refused[flag] {
			return "--" + flag + " is wrong"
		}
	}
	return ""
}

var flagOf = regexp.MustCompile(`^--([a-z-]+) `)

func (r *runner) checkConfig(problems []error) {
	const name = "configuration"
	for _, warning := range r.config.Warnings() {
		seen, remedy := split(warning, "")
		r.warn(name, seen, remedy)
	}
	problems = slices.Clone(problems)
	switch err := r.config.Check().(type) { //nolint:errorlint // it joins all problems
	case nil:
	case interface{ Unwrap() []error }:
		problems = append(problems, err.Unwrap()...)
	default:
		problems = append(problems, err)
	}
	if len(problems) == 0 {
		r.pass(name, "every setting is well formed")
	}
	for _, problem := range problems {
		if match := flagOf.FindStringSubmatch(problem.Error()); match != nil {
			r.refused[match[1]] = true
		}
		seen, remedy := split(problem.Error(), "")
		r.fail(name, seen, remedy)
	}
}

// split splits the text of an error into what is wrong and what to do about it. An error that does not say
// what to do gets the given remedy.
func split(text, remedy string) (seen, do string) {
	for _, before := range []string{"; ", ": check "} {
		if i := strings.LastIndex(text, before); i >= 0 {
			return text[:i], strings.TrimLeft(text[i:], ";: ")
		}
	}
	return text, remedy
}
