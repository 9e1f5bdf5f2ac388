//go:build chaos

package main

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestChaosRollingRestarts repeatedly restarts the upstream and, one after the other, all replicas, under load.
func TestChaosRollingRestarts(t *testing.T) {
	parallelIfShort(t)
	const replicas, pace = 2, 7 * time.Second // as docs/clients.md wants it, with 5 s between two DNS queries
	rate, rounds := 200.0, int(10**scale)
	if *scale < 1 {
		rate, rounds = 100, max(rounds, 1)
	}
	f := emptyFleet(t)
	upstream := newRollingUpstream(t, http.HandlerFunc(f.answer))
	f.upstream = upstream.url()
	for range replicas {
		f.start()
	}
	f.startNginx()
	callers := []*caller{f.viaGRPC("gRPC", documentedConfig(t)), f.viaREST()}
	var ends []func()
	for _, c := range callers {
		ends = append(ends, c.load(rate/2, someone))
	}
	for range rounds {
		for _, old := range slices.Clone(f.replicas) {
			next := time.After(pace)
			upstream.restart()
			f.restart(old)
			<-next
		}
	}
	for _, end := range ends {
		end()
	}
	for _, c := range callers {
		calls, failures, attempts := c.count()
		if c.name == "REST" {
			attempts = f.nginxAttempts()
		}
		t.Logf("%d rolling restarts of the upstream and of %d replicas, %s: %d calls, %d failed, %d attempts failed",
			rounds, replicas, c.name, calls, len(failures), attempts)
		for _, failure := range failures[:min(5, len(failures))] {
			t.Errorf("%s: %s", failure.at.Format(time.StampMilli), failure.text)
		}
	}
}

// parallelIfShort runs a test beside others in a shortened run. In a whole one, it would disturb their figures.
func parallelIfShort(t *testing.T) {
	if *scale < 1 {
		t.Parallel()
	}
}
