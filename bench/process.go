package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs.
type process struct {
	name       string
	cmd        *exec.Cmd
	GRPC, HTTP string        // its addresses
	Admin      string        // of podero-facade
	ready      time.Duration // after which it said that it serves
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// startTime is how long a server may take to start on a machine that is busy.
const startTime = time.Minute

// start starts a server and waits until it says that it serves. Of the environment it gets only what is given.
func start(name string, environment []string, program string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(program, args...)} //nolint:gosec // programs that this one has built
	p.cmd.Env = environment
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for this program to pass on
	log, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	timer := time.AfterFunc(startTime, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	lines, said := bufio.NewReader(log), ""
	for {
		line, err := lines.ReadString('\n')
		said += line
		var entry struct{ Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "serving" {
			p.ready = time.Since(begun)
			go func() { _, _ = io.Copy(io.Discard, lines) }() // until the process ends
			return p, json.Unmarshal([]byte(line), p)
		}
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("start %s: it ended, saying %s", name, said)
		}
	}
}

// stop ends the server.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// lab is what measuring takes: the programs, built, and the servers that run.
type lab struct {
	dir      string // for what is built
	root     string // of podero-facade's source
	facade   string // its binary
	self     string // this program
	upstream *process
	running  []*process
}

// open builds podero-facade and starts the upstream.
func open(ctx context.Context) (_ *lab, err error) {
	l := &lab{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "podero-facade-bench"); err != nil {
		return nil, err
	}
	if l.root, err = output(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}", "example.com/podero-facade"); err != nil {
		return nil, fmt.Errorf("find podero-facade; start this program in its directory: %w", err)
	}
	l.facade = filepath.Join(l.dir, "podero-facade")
	if _, err = output(ctx, l.root, "go", "build", "-trimpath", "-ldflags=-s", "-o", l.facade, "./cmd/podero-facade"); err != nil {
		return nil, err
	}
	l.upstream, err = l.peer("upstream")
	return l, err
}

func (l *lab) close() {
	for _, p := range l.running {
		p.stop()
	}
	_ = os.RemoveAll(l.dir)
}

// upstreamURL is where the upstream is, without a path.
func (l *lab) upstreamURL() string { return "http://" + l.upstream.HTTP }

// peer starts a peer.
func (l *lab) peer(name string, environment ...string) (*process, error) {
	args := []string{"peer", name}
	if l.upstream != nil {
		args = append(args, "--upstream", l.upstreamURL())
	}
	return l.keep(start(name, environment, l.self, args...))
}

// service starts podero-facade with its default settings and some more.
func (l *lab) service(args ...string) (*process, error) {
	environment := []string{"PODERO_FACADE_CLIENT_SECRET=bench"}
	return l.keep(start("facade", environment, l.facade, append([]string{"serve",
		"--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--upstream-url", l.upstreamURL() + apiPath, "--token-url", l.upstreamURL() + tokenPath, "--client-id", "bench",
	}, args...)...))
}

func (l *lab) keep(p *process, err error) (*process, error) {
	if err == nil {
		l.running = append(l.running, p)
	}
	return p, err
}

// load puts load on a server from a process of its own, and returns what that saw.
func (l *lab) load(ctx context.Context, server *process, args ...string) (*sample, error) {
	text, err := output(ctx, ".", l.self, append([]string{"load",
		"--server", fmt.Sprint(server.pid()), "--upstream", l.upstreamURL()}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("load on %s: %w", server.name, err)
	}
	seen := &sample{}
	return seen, json.Unmarshal([]byte(text), seen)
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the Go command, and programs that this one has built
	cmd.Dir = dir
	text, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	return strings.TrimSpace(string(text)), err
}
