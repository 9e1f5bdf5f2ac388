package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// loadCommand is the load generator. It ends with an error on the first answer that is wrong.
type loadCommand struct {
	GRPC string `help:"Address to call over gRPC."`
	REST string `help:"Address to call over REST."`

	Plan        string        `enum:"steady,burst,storm" default:"steady" help:"steady: callers call one after another. burst: all call for the same user at once. storm: callers with little time, while the upstream is slow."`
	Callers     int           `default:"64" help:"How many call at the same time."`
	Connections int           `default:"4" help:"How many gRPC connections they share."`
	IDs         int           `name:"ids" help:"How many users to ask for; 0 for another one with each call."`
	Constant    bool          `help:"Whether all answers are of the same user."`
	WarmUp      time.Duration `default:"1s" help:"How long to call before what is measured."`
	Time        time.Duration `default:"5s" help:"How long to measure."`
	Requests    int64         `help:"How many calls to end after, instead."`

	Server   int    `help:"Process ID of the server."`
	Upstream string `help:"URL of the upstream."`
}

// sample is what a load saw.
type sample struct {
	Requests  int           `json:"requests"`
	Time      time.Duration `json:"time_ns"`
	ServerCPU time.Duration `json:"server_cpu_ns"`
	LoadCPU   time.Duration `json:"load_cpu_ns"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	P999      time.Duration `json:"p999_ns"`
	Max       time.Duration `json:"max_ns"`
	InTime    float64       `json:"in_time,omitempty"`   // storm: the share answered in time
	Recovered float64       `json:"recovered,omitempty"` // storm: the share that succeeds once the upstream is well again
	Upstream  int           `json:"upstream,omitempty"`  // burst: how many calls the upstream got
}

// loadIsLimit reports whether the load used more CPU than the server. Where both share the machine's cores, throughput
// and latencies then say more about the load; CPU per request does not depend on it.
func (s *sample) loadIsLimit() bool { return s.LoadCPU > s.ServerCPU }

// Run puts the load on the server.
func (c *loadCommand) Run(ctx context.Context) error {
	var callers []caller
	var err error
	if c.REST != "" {
		callers = newRESTCallers(c.REST, c.Callers, c.Constant)
	} else if callers, err = newGRPCCallers(c.GRPC, c.Callers, c.Connections, c.Constant); err != nil {
		return err
	}
	plan := map[string]func(context.Context, []caller) (*sample, error){"steady": c.steady, "burst": c.burst, "storm": c.storm}
	seen, err := plan[c.Plan](ctx, callers)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// ids returns the external IDs that a caller asks for.
func (c *loadCommand) ids(number int) func() string {
	next := number
	return func() string {
		next += c.Callers
		if c.IDs > 0 {
			return "user" + strconv.Itoa(next%c.IDs)
		}
		return "user" + strconv.Itoa(os.Getpid()) + "x" + strconv.Itoa(next)
	}
}

// steady lets every caller call again once it has its answer.
func (c *loadCommand) steady(ctx context.Context, callers []caller) (*sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	var measuring, ended atomic.Bool
	var calls atomic.Int64
	latencies := make([][]time.Duration, len(callers))
	for i, call := range callers {
		running.Go(func() {
			next := c.ids(i)
			for !ended.Load() {
				begun := time.Now()
				if err := call(ctx, next()); err != nil {
					cancel(err)
					return
				}
				if measuring.Load() {
					latencies[i] = append(latencies[i], time.Since(begun))
				}
				if calls.Add(1) == c.Requests {
					ended.Store(true)
				}
			}
		})
	}
	measured, err := c.measure(ctx, &measuring, &ended)
	ended.Store(true)
	running.Wait()
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return nil, err
	}
	measured.summarize(slices.Concat(latencies...))
	return measured, nil
}

// measure takes the clocks around the time that is measured.
func (c *loadCommand) measure(ctx context.Context, measuring, ended *atomic.Bool) (*sample, error) {
	if !wait(ctx, c.WarmUp) {
		return nil, ctx.Err()
	}
	server, err := cpuTime(c.Server)
	if err != nil {
		return nil, err
	}
	load, err := cpuTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	measuring.Store(true)
	for !ended.Load() && ctx.Err() == nil && (c.Requests > 0 || time.Since(begun) < c.Time) {
		time.Sleep(min(c.Time, 10*time.Millisecond))
	}
	measuring.Store(false)
	seen := &sample{Time: time.Since(begun)}
	serverAfter, err := cpuTime(c.Server)
	if err != nil {
		return nil, err
	}
	loadAfter, err := cpuTime(os.Getpid())
	seen.ServerCPU, seen.LoadCPU = serverAfter-server, loadAfter-load
	return seen, err
}

// wait waits, and reports whether ctx lets it.
func wait(ctx context.Context, duration time.Duration) bool {
	select {
	case <-time.After(duration):
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *sample) summarize(latencies []time.Duration) {
	slices.Sort(latencies)
	s.Requests = len(latencies)
	if s.Requests == 0 {
		return
	}
	at := func(share float64) time.Duration { return latencies[int(share*float64(len(latencies)-1))] }
	s.P50, s.P99, s.P999, s.Max = at(0.5), at(0.99), at(0.999), at(1)
}
