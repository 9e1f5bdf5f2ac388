package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// scenario is a way to compare.
type scenario struct {
	name, what string
	play       func(ctx context.Context, lab *lab, run *runCommand) (*result, error)
}

// How steady loads are.
const (
	manyCallers = 64
	cachedUsers = 1000 // in the cache, of which callers ask for one after another
	usualWarmUp = time.Second
)

// The settings of podero-facade beside its default ones.
const cacheTTL = "1h"

var scenarios = []scenario{
	{"P1", "gRPC, uncached, another user with each call; 64 callers on 4 connections", steady(comparison{
		contenders: []contender{facade, barePeer, barePeerLazy, vanguardPeer},
		checks: []ratio{
			{of: cpu, what: "CPU / bare", a: "facade", b: "bare", target: 0.90},
			{of: cpu, what: "CPU / vanguard", a: "facade", b: "vanguard", target: 0.38},
			{of: cpu, what: "CPU / bare at our GOGC", a: "facade", b: "bare GOGC=300"},
			{of: cpu, what: "CPU, bare at our GOGC / bare", a: "bare GOGC=300", b: "bare"},
		},
	})},
	{"P2", "gRPC, cached; 64 callers on 4 connections", steady(comparison{
		contenders: []contender{cached, echoPeer},
		users:      cachedUsers,
		checks:     []ratio{{of: cpu, what: "CPU / echo", a: "facade", b: "echo", target: 1.35}},
	})},
	{"P3", "REST, uncached, another user with each call; 64 callers", steady(comparison{
		contenders: []contender{facadeREST, rproxyPeer, gwloopPeer},
		checks: []ratio{
			{of: cpu, what: "CPU / rproxy", a: "facade REST", b: "rproxy", target: 1.00},
			{of: cpu, what: "CPU / gwloop", a: "facade REST", b: "gwloop", target: 0.58},
		},
	})},
	{"P4", "REST, cached; 64 callers", steady(comparison{
		contenders: []contender{cachedREST, constantPeer},
		users:      cachedUsers,
		checks:     []ratio{{of: cpu, what: "CPU / httpconst", a: "facade REST", b: "httpconst", target: 1.50}},
	})},
	{"P5", "one call at a time, uncached; what is added to the upstream's own time is p50 less that of the upstream", steady(comparison{
		contenders: []contender{upstreamItself, facade, barePeer, vanguardPeer, facadeREST, rproxyPeer},
		callers:    []int{1},
		checks: []ratio{
			{of: p50, what: "added p50 / bare", a: "facade", b: "bare", less: "upstream", target: 1.00},
			{of: p50, what: "added p50 / vanguard", a: "facade", b: "vanguard", less: "upstream", target: 0.70},
			{of: p50, what: "added p50, REST / rproxy", a: "facade REST", b: "rproxy", less: "upstream", target: 1.15},
		},
	})},
	{"P6", "gRPC, uncached, another user with each call; on 4 connections", steady(comparison{
		contenders: []contender{facade, barePeer, vanguardPeer},
		callers:    []int{1, 8, manyCallers, 512},
		checks:     []ratio{{of: throughput, what: "calls/s / bare", a: "facade", b: "bare", target: 0.95, atLeast: true}},
		steps:      []step{{what: "calls/s, 512 callers / 64", of: "facade", a: 512, b: manyCallers, target: 0.95}},
	})},
	{"P7", "500 identical lookups at once, the upstream takes 500 ms", playBurst},
	{"P8", "the upstream takes 1 s, 5,000 callers with 500 ms call once a second; then it is well again", playStorm},
	{"P9", "what the program takes", playFootprint},
	{"P10", "the document to a User, and a User to REST's JSON; without network", playBenchmarks},
}

// contender is a server, and how to call it.
type contender struct {
	name     string
	start    func(lab *lab) (*process, error)
	rest     bool
	constant bool // whether it always answers with the same user
}

func startPeer(name string, environment ...string) func(*lab) (*process, error) {
	return func(lab *lab) (*process, error) { return lab.peer(name, environment...) }
}

func startFacade(lab *lab) (*process, error) { return lab.service() }

func startUpstream(lab *lab) (*process, error) { return lab.upstream, nil }

func startCached(lab *lab) (*process, error) { return lab.service("--cache-ttl", cacheTTL) }

// The contenders.
var (
	facade         = contender{name: "facade", start: startFacade}
	facadeREST     = contender{name: "facade REST", start: startFacade, rest: true}
	cached         = contender{name: "facade", start: startCached}
	cachedREST     = contender{name: "facade REST", start: startCached, rest: true}
	echoPeer       = contender{name: "echo", start: startPeer("echo"), constant: true}
	barePeer       = contender{name: "bare", start: startPeer("bare")}
	barePeerLazy   = contender{name: "bare GOGC=300", start: startPeer("bare", "GOGC=300")}
	vanguardPeer   = contender{name: "vanguard", start: startPeer("vanguard")}
	rproxyPeer     = contender{name: "rproxy", start: startPeer("rproxy"), rest: true}
	gwloopPeer     = contender{name: "gwloop", start: startPeer("gwloop"), rest: true}
	upstreamItself = contender{name: "upstream", start: startUpstream, rest: true}
	constantPeer   = contender{name: "httpconst", start: startPeer("httpconst"), rest: true, constant: true}
)

// comparison is contenders under the same load.
type comparison struct {
	contenders []contender
	callers    []int // at the same time; 64 if there are none
	users      int   // how many are asked for; 0 for another one with each call
	checks     []ratio
	steps      []step
}

// ratio is a check of two contenders, a to b, with each number of callers.
type ratio struct {
	of      func(row) float64
	what    string
	a, b    string
	less    string // a contender to subtract from both
	target  float64
	atLeast bool
}

// step is a check of a contender's throughput with two numbers of callers, a to b.
type step struct {
	what   string
	of     string
	a, b   int
	target float64
}

func cpu(r row) float64        { return r.CPU }
func p50(r row) float64        { return r.P50 }
func throughput(r row) float64 { return r.Throughput }

// steady returns a scenario in which callers call one after another: each round measures every contender, so that what
// disturbs one disturbs all.
func steady(c comparison) func(context.Context, *lab, *runCommand) (*result, error) {
	return func(ctx context.Context, lab *lab, run *runCommand) (*result, error) {
		callers := c.callers
		if len(callers) == 0 {
			callers = []int{manyCallers}
		}
		seen, err := c.measure(ctx, lab, run, callers)
		if err != nil {
			return nil, err
		}
		for _, n := range callers {
			for _, check := range c.checks {
				seen.Checks = append(seen.Checks, check.check(seen, n, len(callers) > 1))
			}
		}
		for _, step := range c.steps {
			value := seen.find(step.of, step.a).Throughput / seen.find(step.of, step.b).Throughput
			seen.Checks = append(seen.Checks, check{What: step.what, Value: value, Target: step.target, AtLeast: true})
		}
		return seen, nil
	}
}

func (r ratio) check(seen *result, callers int, name bool) check {
	what := r.what
	if name {
		what = fmt.Sprintf("%s, %d callers", what, callers)
	}
	a, b := r.of(seen.find(r.a, callers)), r.of(seen.find(r.b, callers))
	if r.less != "" {
		less := r.of(seen.find(r.less, callers))
		a, b = a-less, b-less
	}
	return check{What: what, Value: a / b, Target: r.target, AtLeast: r.atLeast}
}

// measure measures every contender under every number of callers, in rounds.
func (c *comparison) measure(ctx context.Context, lab *lab, run *runCommand, callers []int) (*result, error) {
	servers := make([]*process, len(c.contenders))
	for i, contender := range c.contenders {
		server, err := contender.start(lab)
		if err != nil {
			return nil, err
		}
		servers[i] = server
		if server != lab.upstream {
			defer server.stop()
		}
	}
	type place struct{ contender, callers int }
	samples := map[place][]*sample{}
	for round := range run.Rounds {
		for _, n := range callers {
			for i := range c.contenders {
				at := (i + round) % len(c.contenders) // none is always the first
				sample, err := lab.load(ctx, servers[at], c.args(at, n, servers[at], run)...)
				if err != nil {
					return nil, err
				}
				samples[place{at, n}] = append(samples[place{at, n}], sample)
			}
		}
	}
	seen := &result{}
	for _, n := range callers {
		for i, contender := range c.contenders {
			seen.Rows = append(seen.Rows, newRow(contender.name, n, samples[place{i, n}]))
		}
	}
	return seen, nil
}

// args are the load's.
func (c *comparison) args(contender, callers int, server *process, run *runCommand) []string {
	address := []string{"--grpc", server.GRPC}
	if c.contenders[contender].rest {
		address = []string{"--rest", server.HTTP}
	}
	return append(address,
		"--callers", strconv.Itoa(callers), "--ids", strconv.Itoa(c.users),
		"--constant="+strconv.FormatBool(c.contenders[contender].constant),
		"--warm-up", run.lasting(usualWarmUp).String(), "--time", run.lasting(usualSeconds*time.Second).String())
}
