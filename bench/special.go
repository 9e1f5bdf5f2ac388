package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// playBurst lets many callers ask for the same user at once.
func playBurst(ctx context.Context, lab *lab, run *runCommand) (*result, error) {
	server, err := lab.service()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	var samples []*sample
	for range run.Rounds {
		seen, err := lab.load(ctx, server, "--grpc", server.GRPC, "--plan", "burst", "--callers", "500")
		if err != nil {
			return nil, err
		}
		samples = append(samples, seen)
	}
	return &result{Checks: []check{
		{What: "calls of the upstream", Value: median(samples, func(s *sample) float64 { return float64(s.Upstream) }), Target: 1},
		{What: "longest call, beyond the upstream's time", Target: 30, Unit: "ms", Value: median(samples, func(s *sample) float64 {
			return milliseconds(s.Max - burstDelay)
		})},
	}}, nil
}

// playStorm lets callers with little time meet a slow upstream.
func playStorm(ctx context.Context, lab *lab, run *runCommand) (*result, error) {
	server, err := lab.service()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	seen, err := lab.load(ctx, server, "--grpc", server.GRPC, "--plan", "storm",
		"--callers", strconv.Itoa(run.scaled(5000)), "--connections", "16", "--time", run.lasting(stormTime).String())
	if err != nil {
		return nil, err
	}
	peak, err := memory(server.pid(), "VmHWM")
	return &result{Checks: []check{
		{What: "answered within 600 ms", Value: 100 * seen.InTime, Unit: "%", Target: 99.9, AtLeast: true},
		{What: "succeed in the second after the upstream is well again", Value: 100 * seen.Recovered, Unit: "%", Target: 95, AtLeast: true},
		{What: "peak memory", Value: mebibytes(peak), Unit: "MiB", Target: 100},
	}}, err
}

const (
	stormTime = 10 * time.Second
	idleTime  = 2 * time.Second
	manyCalls = 100_000
	idleConns = 1000
	starts    = 5
)

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func mebibytes(bytes int64) float64        { return float64(bytes) / (1 << 20) }

// playFootprint sees what the program takes of the disk, of time to start and of memory.
func playFootprint(ctx context.Context, lab *lab, run *runCommand) (*result, error) {
	binary, err := os.Stat(lab.facade)
	if err != nil {
		return nil, err
	}
	ready, err := readyTime(ctx, lab)
	if err != nil {
		return nil, err
	}
	server, err := lab.service()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	wait(ctx, run.lasting(idleTime))
	idle, err := memory(server.pid(), "VmRSS")
	if err != nil {
		return nil, err
	}
	connections := run.scaled(idleConns)
	connected, err := connectedMemory(ctx, server, connections)
	if err != nil {
		return nil, err
	}
	server.stop()

	// A process of its own, as what connections took comes back slowly.
	if server, err = lab.service(); err != nil {
		return nil, err
	}
	defer server.stop()
	calls := run.scaled(manyCalls)
	if _, err := lab.load(ctx, server, "--grpc", server.GRPC, "--warm-up", "0s", "--requests", strconv.Itoa(calls)); err != nil {
		return nil, err
	}
	after, err := memory(server.pid(), "VmRSS")
	return &result{Checks: []check{
		{What: "from start to ready", Value: milliseconds(ready), Unit: "ms", Target: 60},
		{What: "binary, stripped", Value: mebibytes(binary.Size()), Unit: "MiB", Target: 40},
		{What: "memory when idle", Value: mebibytes(idle), Unit: "MiB", Target: 35},
		{What: fmt.Sprintf("memory after %d calls", calls), Value: mebibytes(after), Unit: "MiB", Target: 50},
		{What: fmt.Sprintf("memory for each of %d idle connections", connections), Unit: "KiB", Target: 28,
			Value: float64(connected-idle) / float64(connections) / (1 << 10)},
	}}, err
}

// readyTime returns how long the program takes until /readyz says that it takes calls: the median of some starts.
func readyTime(ctx context.Context, lab *lab) (time.Duration, error) {
	var times []time.Duration
	for range starts {
		begun := time.Now()
		server, err := lab.service()
		if err != nil {
			return 0, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Admin+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("/readyz: status %d", response.StatusCode)
		}
		times = append(times, time.Since(begun))
		server.stop()
	}
	return time.Duration(median(times, func(d time.Duration) float64 { return float64(d) })), nil
}

// connectedMemory returns a server's memory while it has so many connections.
func connectedMemory(ctx context.Context, server *process, connections int) (int64, error) {
	for range connections {
		conn, err := grpc.NewClient(server.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close() }()
		conn.Connect()
		for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
			if !conn.WaitForStateChange(ctx, state) {
				return 0, ctx.Err()
			}
		}
	}
	return memory(server.pid(), "VmRSS")
}

// benchmark is what package testing printed about one.
type benchmark struct{ nanoseconds, allocations float64 }

// playBenchmarks runs benchmarks of podero-facade's own that compare.
func playBenchmarks(ctx context.Context, lab *lab, run *runCommand) (*result, error) {
	text, err := output(ctx, lab.root, "go", "test", "-run", "^$", "-bench", "^Benchmark(Document|Marshal)$", "-benchmem",
		"-count", strconv.Itoa(run.Rounds), "-benchtime", run.lasting(time.Second).String(), "./server/podero", "./server/gateway")
	if err != nil {
		return nil, err
	}
	all := map[string][]benchmark{}
	for line := range strings.Lines(text) {
		// BenchmarkMarshal/protojson-2  100000  12345 ns/op  678 B/op  9 allocs/op
		fields := strings.Fields(line)
		if len(fields) != 8 || fields[7] != "allocs/op" {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		var b benchmark
		if b.nanoseconds, err = strconv.ParseFloat(fields[2], 64); err != nil {
			return nil, err
		}
		if b.allocations, err = strconv.ParseFloat(fields[6], 64); err != nil {
			return nil, err
		}
		all[name] = append(all[name], b)
	}
	seen := &result{}
	for _, c := range []struct {
		what, than, ours, theirs string
		target                   float64
	}{
		{"document to User", "encoding/json into structs", "Document/ours", "Document/encoding_json", 0.5},
		{"User to JSON", "protojson", "Marshal/ours", "Marshal/protojson", 0.3},
	} {
		ours, theirs := all[c.ours], all[c.theirs]
		if len(ours) == 0 || len(theirs) == 0 {
			return nil, fmt.Errorf("no benchmarks %s and %s in %s", c.ours, c.theirs, text)
		}
		time := func(b benchmark) float64 { return b.nanoseconds }
		allocations := func(b benchmark) float64 { return b.allocations }
		seen.Checks = append(seen.Checks,
			check{What: c.what + ", time", Value: median(ours, time) / 1000, Unit: "µs"},
			check{What: c.what + ", time / " + c.than, Value: median(ours, time) / median(theirs, time), Target: c.target},
			check{What: c.what + ", allocations", Value: median(ours, allocations)},
			check{What: c.what + ", allocations / " + c.than, Value: median(ours, allocations) / median(theirs, allocations), Target: c.target})
	}
	return seen, nil
}
