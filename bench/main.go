// Command bench measures podero-facade beside peers: servers that do a part of what it does, each as its author would
// write it. It starts all of them, the upstream and the load as processes of their own, on loopback.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are what the program does.
type commands struct {
	Run   runCommand   `cmd:"" default:"withargs" help:"Measure the scenarios and print what was seen."`
	Chart chartCommand `cmd:"" help:"Put the table and the charts of a run into the documentation."`
	Peer  peerCommand  `cmd:"" help:"Serve a peer, or the upstream, until a signal."`
	Load  loadCommand  `cmd:"" help:"Put load on a server and print the sample as JSON."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command := kong.Parse(&commands{},
		kong.Name("bench"),
		kong.Description("Measures podero-facade beside its peers."),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err := command.Run(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}
