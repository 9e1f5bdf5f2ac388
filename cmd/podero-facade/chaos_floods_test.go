//go:build chaos

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

var only = flag.String("flood", "", "the only flood to play, of those that floods names, or connections")

const (
	mostMemory = 200 << 10 // in KiB
	floodConns = 3
	mostInFull = 160 // streams of a connection that the service allows
)

// floods returns the floods to play: all of them with a share of the streams, or one with all streams.
func floods() []flood {
	fewLarge, manySmall := metadata(63<<10, strings.Repeat("x", 8000)), metadata(63<<10, "")
	lookup := userv1.UserService_GetUserByExternalId_FullMethodName
	stall := func(more []byte, announced uint32, sent, frame int) func(*attacker, uint32) error {
		return func(a *attacker, id uint32) error {
			return errors.Join(a.headers(id, lookup, more), a.body(id, announced, sent, frame))
		}
	}
	withMetadata := func(more []byte) func(*attacker, uint32) error {
		return func(a *attacker, id uint32) error { return a.headers(id, lookup, more) }
	}
	all := []flood{
		{"reflection", 4, false, askForFiles},
		{"watch", 4, false, func(a *attacker, id uint32) error {
			return errors.Join(a.headers(id, healthpb.Health_Watch_FullMethodName, nil), a.body(id, 0, 0, 5))
		}},
		{"bodies", 20, false, stall(nil, 64<<10, 63<<10, 16<<10)},
		{"bodies in small frames", 20, false, stall(nil, 64<<10, 63<<10, 1025)},
		{"shorter bodies in small frames", 20, false, stall(nil, 16<<10, 15<<10, 1025)},
		{"small metadata and bodies", 36, false, stall(manySmall, 16<<10, 15<<10, 1025)},
		{"metadata", 20, false, withMetadata(fewLarge)},
		{"small metadata", 20, false, withMetadata(manySmall)},
		{"resets", 16, true, withMetadata(nil)},
	}
	for _, f := range all {
		if f.name == *only {
			f.streams = mostInFull
			return []flood{f}
		}
	}
	if *only != "" {
		return nil
	}
	return all
}

// TestChaosFloods attacks the service from three connections in all ways at once, beside thousands of connections of one client,
// and readers of its output that stall, while others call it.
func TestChaosFloods(t *testing.T) {
	parallelIfShort(t)
	f := emptyFleet(t)
	f.upstream = newRollingUpstream(t, http.HandlerFunc(f.answer)).url()
	f.stalled = true
	f.flags = []string{"--log-level=info", "--audit-log=-"}
	r := f.start()
	good := f.goodCallers(r)
	var ends []func()
	for _, c := range good {
		ends = append(ends, c.load(50/float64(len(good)), someone))
	}
	time.Sleep(2 * time.Second)
	heap := f.heap(r)
	begun := f.flood(r, time.Duration(*scale*float64(time.Minute)))
	time.Sleep(time.Duration(min(1, *scale*5) * float64(10*time.Second)))
	after := f.heap(r)
	for _, end := range ends {
		end()
	}
	var calls, lost int
	for _, c := range good {
		n, failures, _ := c.count()
		calls, lost = calls+int(n), lost+len(failures)
		for _, failure := range failures[:min(5, len(failures))] {
			t.Errorf("%s at %s: %s", c.name, failure.at.Format(time.StampMilli), failure.text)
		}
	}
	peak := peakMemory(t, r)
	t.Logf("floods %s: %d streams begun; peak RSS %d MiB; %d good calls, %d lost; connections rejected %.0f, evicted %.0f; "+
		"audit lines dropped %.0f; heap in use %d MiB before, %d after", *only, begun, peak>>10, calls, lost,
		f.metric(r, `podero_facade_connections_rejected_total{port="grpc"}`), f.metric(r, `podero_facade_connections_evicted_total{port="grpc"}`),
		f.metric(r, "podero_facade_audit_lines_dropped_total"), heap>>20, after>>20)
	if peak > mostMemory {
		t.Errorf("the service took %d MiB", peak>>10)
	}
	if after > heap+16<<20 {
		t.Errorf("the heap is at %d MiB, after %d", after>>20, heap>>20)
	}
	f.endInTime(r)
}

// flood plays the floods for a time, and returns how many streams were begun.
func (f *fleet) flood(r *replica, most time.Duration) int64 {
	ctx, stop := context.WithTimeout(f.t.Context(), most)
	defer stop()
	var running sync.WaitGroup
	var begun atomic.Int64
	address := r.host + ":" + f.grpcPort
	for range floodConns {
		running.Go(func() { attack(ctx, address, floods(), &begun) })
	}
	if *only == "" || *only == "connections" {
		running.Go(func() { crowd(ctx, address, 4200) })
	}
	running.Wait()
	return begun.Load()
}

// goodCallers returns callers over both protocols, with connections that last and with new ones.
func (f *fleet) goodCallers(r *replica) []*caller {
	over := func(name string, lookup func(context.Context) string) *caller {
		return &caller{name: name, hosts: map[string]int64{}, lookup: func(ctx context.Context, _ string) (string, error) {
			if outcome := lookup(ctx); outcome != "OK" {
				return "", errors.New(outcome)
			}
			return "", nil
		}}
	}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + r.host + ":" + f.httpPort + "/api/partners/v2.0/org/" + fleetOrg + "/users/by-ext-id/"
	return []*caller{
		over("gRPC", f.singleConnection(r, true)),
		over("REST", f.singleConnection(r, false)),
		over("new connections over REST", func(ctx context.Context) string { return lookupREST(ctx, fresh, url+someone()) }),
		over("new connections over gRPC", func(ctx context.Context) string {
			conn, err := grpc.NewClient(r.host+":"+f.grpcPort, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return err.Error()
			}
			defer func() { _ = conn.Close() }()
			return lookupGRPC(ctx, userv1.NewUserServiceClient(conn))
		}),
	}
}

// heap returns how much of the heap is in use after collections, the second of which empties the pools.
func (f *fleet) heap(r *replica) int64 {
	for range 3 {
		get(f.t, "http://"+r.admin+"/debug/pprof/heap?gc=1")
	}
	return int64(f.metric(r, "go_memstats_heap_inuse_bytes"))
}

// peakMemory returns the largest resident size of a replica so far, in KiB.
func peakMemory(t *testing.T, r *replica) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	peak, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return peak
}

// endInTime asks a replica to end, and checks that it does.
func (f *fleet) endInTime(r *replica) {
	const most = 15 * time.Second // the drain delay of 2 s, what is to be flushed, and a busy machine
	f.t.Helper()
	begun := time.Now()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	select {
	case err := <-ended:
		f.t.Logf("SIGTERM ended the service after %.1f s: %v", time.Since(begun).Seconds(), err)
	case <-time.After(most):
		_ = r.cmd.Process.Kill()
		f.t.Errorf("SIGTERM did not end the service within %v", most)
	}
}
