// Command podero-facade serves Podero's user lookup as a typed gRPC API and, on Podero's own paths, as
// REST.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	_ "golang.org/x/crypto/x509roots/fallback" // CAs to trust where the system has none, as in an image without a distribution
	"google.golang.org/grpc/grpclog"

	"example.com/podero-facade/server"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands are what the program does.
type commands struct {
	Serve       serveCommand       `cmd:"" help:"Run the service."`
	Demo        demoCommand        `cmd:"" help:"Run the service in front of an embedded sandbox upstream, with nothing to configure."`
	Sandbox     sandboxCommand     `cmd:"" help:"Run the sandbox upstream alone, for integration tests. Client ID and secret are both \"sandbox\"."`
	Check       checkCommand       `cmd:"" help:"Try configuration, network, token and upstream step by step, and say what is wrong and how to fix it."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask the service on this machine whether it is ready; for containers."`
	Version     versionCommand     `cmd:"" help:"Print the versions of the program, of Go and of the source."`
}

// streams are the program's outputs.
type streams struct{ out, err io.Writer }

func main() {
	// net/http quotes to package log what an upstream sent at the wrong time, which may be a person's
	// data. What an operator needs of either is in the service's own log. A process may set the logger of
	// grpc only before it first uses grpc, so this is no part of run.
	log.SetOutput(io.Discard)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// run runs the command that args name, until ctx ends, and returns the exit status.
func run(ctx context.Context, args []string, std streams) int {
	exit := -1
	parser, err := kong.New(&commands{},
		kong.Name("podero-facade"),
		kong.Description("Podero's user lookup over gRPC and REST. Every flag may be given as an environment variable: "+
			"--client-id is "+server.EnvPrefix+"_CLIENT_ID. Lists are separated by commas."),
		kong.DefaultEnvars(server.EnvPrefix),
		kong.Writers(std.out, std.err),
		kong.Exit(func(status int) { exit = status }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		return report(std, err, exitFailed)
	}
	wrong := collectWrongValues(parser)
	command, err := parser.Parse(args)
	if exit >= 0 { // of --help
		return exit
	}
	unknown := unknownVariables(parser, os.Environ())
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		found := append(wrong.of(parse.Context), describe(err))
		return report(std, errors.Join(append(found, unknown...)...), exitUsage)
	}
	var usage *usageError
	switch err := command.Run(append(wrong.of(command), unknown...)); {
	case errors.As(err, &usage):
		return report(std, err, exitUsage)
	case err != nil:
		return report(std, err, exitFailed)
	default:
		return exitOK
	}
}

// usageError is an error that other flags or variables would fix.
type usageError struct{ error }

// report writes an error, a line for each of its lines, and returns the exit status.
func report(std streams, err error, status int) int {
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(std.err, "podero-facade: %s\n", strings.TrimSuffix(line, "\n"))
	}
	return status
}

var flagName = regexp.MustCompile(`^--([a-z-]+)`)

// describe adds to an error about a flag's value the variable that may have set it.
func describe(err error) error {
	text := err.Error()
	match := flagName.FindStringSubmatch(text)
	if match == nil {
		return fmt.Errorf("%s; see podero-facade --help", text)
	}
	return fmt.Errorf("--%s (%s)%s; see podero-facade --help", match[1], server.Variable(match[1]), text[len(match[0]):])
}
