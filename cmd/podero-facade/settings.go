package main

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"example.com/podero-facade/server"
)

// problems are what is wrong with flags and variables before the rules of a command are applied.
type problems []error

// with returns all problems and those of err, or nil if there are none.
func (p problems) with(err error) error {
	if err := errors.Join(append(slices.Clone(p), err)...); err != nil {
		return &usageError{err}
	}
	return nil
}

// wrongValues collects the values that can't be parsed. Package kong stops at the first; here each is taken note of, and
// its flag has its default.
type wrongValues map[*kong.Value]error

// collectWrongValues makes a parser collect wrong values.
func collectWrongValues(parser *kong.Kong) wrongValues {
	wrong := wrongValues{}
	for flag := range allFlags(parser.Model.Node) {
		flag.Mapper = &collectingMapper{flag.Mapper, wrong}
	}
	return wrong
}

// of returns the problems with the flags of the command that was given. Those of others may share a variable with it.
func (w wrongValues) of(command *kong.Context) (found problems) {
	if command == nil {
		return nil
	}
	for _, path := range command.Path {
		for _, flag := range path.Flags {
			if err, ok := w[flag.Value]; ok {
				found = append(found, err)
			}
		}
	}
	return found
}

// collectingMapper is a Mapper that takes note of values that another can't parse.
type collectingMapper struct {
	kong.Mapper
	wrong wrongValues
}

// Decode parses a value, or else the default.
func (m *collectingMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	token := ctx.Scan.Peek()
	err := m.Mapper.Decode(ctx, target)
	text, isText := token.Value.(string)
	if err == nil || !isText || !token.IsValue() { // a flag without a value is wrong usage
		return err
	}
	m.wrong[ctx.Value] = fmt.Errorf("--%s (%s): %s", ctx.Value.Name, server.Variable(ctx.Value.Name), complaint(text, target))
	target.SetZero()
	if !ctx.Value.HasDefault {
		return nil
	}
	byDefault := kong.Scan().PushTyped(ctx.Value.Default, kong.FlagValueToken)
	return m.Mapper.Decode(&kong.DecodeContext{Value: ctx.Value, Scan: byDefault}, target)
}

// complaint says that a value is not of the type of a flag, and what to give.
func complaint(value string, target reflect.Value) string {
	want := "give another value"
	switch target.Interface().(type) {
	case time.Duration:
		want = "give a duration with its unit, like 500ms, 10s or 1m30s"
	case int:
		want = "give a whole number"
	case bool:
		want = "give true or false"
	case slog.Level:
		want = "give debug, info, warn or error"
	}
	if value == "" {
		return "is empty; " + want + ", or unset it"
	}
	return fmt.Sprintf("%q is not known; %s", value, want)
}

// allFlags yields the flags of all commands.
func allFlags(node *kong.Node) func(yield func(*kong.Flag) bool) {
	return func(yield func(*kong.Flag) bool) {
		for _, flag := range node.Flags {
			if !yield(flag) {
				return
			}
		}
		for _, child := range node.Children {
			for flag := range allFlags(child) {
				if !yield(flag) {
					return
				}
			}
		}
	}
}

// serviceLink matches the variables, with their values, that Kubernetes sets in each container for a Service whose name
// begins with podero-facade.
var serviceLink = regexp.MustCompile(`^[A-Z0-9_]+(_SERVICE_HOST=|_SERVICE_PORT(_[A-Z0-9_]+)?=|_PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://|_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=)`)

// unknownVariables returns a problem for each variable of an environment that looks like one of the service's, and is
// none of any command.
func unknownVariables(parser *kong.Kong, environ []string) (found problems) {
	known := []string{server.SecretVariable}
	for flag := range allFlags(parser.Model.Node) {
		known = append(known, flag.Tag.Envs...)
	}
	slices.Sort(environ)
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, server.EnvPrefix+"_") || slices.Contains(known, name) || serviceLink.MatchString(variable) {
			continue
		}
		found = append(found, fmt.Errorf("%s: no flag has this variable; if you mean %s, give that, else unset it", name, nearest(name, known)))
	}
	return found
}

// nearest returns that of some names to which the fewest edits lead.
func nearest(name string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int { return distance(name, a) - distance(name, b) })
}

// distance returns how many characters have to be inserted, deleted or replaced to get from one text to another
// (Levenshtein distance).
func distance(from, to string) int {
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(to) {
			cost := 1
			if from[i] == to[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}
