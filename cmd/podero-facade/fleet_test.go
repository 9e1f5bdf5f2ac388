//go:build fleet

package main

import (
	"encoding/json"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"
)

// withoutRetries returns a service config without its retry policies.
func withoutRetries(t *testing.T, config string) string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(config), &all); err != nil {
		t.Fatal(err)
	}
	for _, method := range all["methodConfig"].([]any) {
		delete(method.(map[string]any), "retryPolicy")
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFleet plays the life of a fleet under load over both protocols: rolling restarts, each replica coming back at a new
// address, with Redis killed in the middle of them; a replica that is killed; and one more replica.
func TestFleet(t *testing.T) {
	const replicas = 3
	rate, rounds, pace := 500.0, int(10**scale), 7*time.Second
	if *scale < 1 {
		rate, rounds, pace = 100, max(rounds, 1), 6*time.Second
	}
	f := newFleet(t, replicas, true)
	config := documentedConfig(t)
	callers := []*caller{f.viaGRPC("gRPC", config), f.viaGRPC("gRPC without a retry policy", withoutRetries(t, config)), f.viaREST()}
	for i, share := range []float64{0.25, 0.25, 0.5} {
		defer callers[i].load(rate*share, someone)()
	}

	// phase plays a part of the fleet's life, and tells what became of the calls.
	phase := func(name string, play func()) (calls int64, failed map[string][]failure) {
		type counts struct{ calls, failures, attempts int64 }
		before := map[string]counts{}
		for _, c := range callers {
			calls, failures, attempts := c.count()
			before[c.name] = counts{calls, int64(len(failures)), attempts}
		}
		repeated := f.nginxAttempts()
		play()
		<-time.After(time.Second)
		failed = map[string][]failure{}
		for _, c := range callers {
			now, failures, attempts := c.count()
			failed[c.name] = failures[before[c.name].failures:]
			calls += now - before[c.name].calls
			hidden := attempts - before[c.name].attempts - int64(len(failed[c.name]))
			if c.name == "REST" {
				hidden = f.nginxAttempts() - repeated
			}
			t.Logf("%s, %s: %d calls, %d failed, %d attempts failed that a retry mended", name, c.name, now-before[c.name].calls, len(failed[c.name]), hidden)
			for _, failure := range failed[c.name][:min(3, len(failed[c.name]))] {
				t.Logf("  %s: %s", failure.at.Format(time.StampMilli), failure.text)
			}
		}
		return calls, failed
	}

	total, failed := phase("rolling restarts", func() {
		for round := range rounds {
			for i, old := range slices.Clone(f.replicas) {
				next := time.After(pace)
				f.restart(old)
				if round == rounds/2 && i == 1 {
					_ = f.redis.Process.Signal(syscall.SIGKILL)
					_ = f.redis.Wait()
				}
				if round == rounds/2 && i == 2 {
					f.startRedis()
				}
				<-next
			}
		}
	})
	for name, failures := range failed {
		if len(failures) > 0 {
			t.Errorf("rolling restarts: %d calls failed over %s", len(failures), name)
		}
	}
	if least := int64(100_000 * *scale * *scale); total < least {
		t.Errorf("%d calls, want %d", total, least)
	}
	for _, r := range f.replicas {
		hits := func() float64 { return f.metric(r, "podero_facade_shared_cache_hits_total") }
		f.await("an answer of another replica's", func() bool { return hits() > 0 })
		t.Logf("%s has found %.0f answers of other replicas", r.host, hits())
	}

	var killed time.Time
	_, failed = phase("a replica killed", func() {
		victim := f.replicas[0]
		killed = time.Now()
		if err := victim.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-time.After(propagation)
		f.forget(victim)
		<-time.After(2 * time.Second)
		f.start()
	})
	if len(failed["gRPC"]) > 0 {
		t.Errorf("%d calls failed in spite of the documented service config", len(failed["gRPC"]))
	}
	for _, failure := range failed["REST"] {
		if failure.at.After(killed.Add(time.Second)) {
			t.Errorf("REST fails %v after a replica was killed", failure.at.Sub(killed))
		}
	}
	if *scale < 1 {
		return
	}

	// Clients look for replicas when a connection ends. From here on, none does but by its age.
	<-time.After(20 * time.Second)
	phase("a fourth replica", func() {
		begun := time.Now()
		fourth := f.start()
		share := func() float64 {
			before := map[*caller]map[string]int64{}
			for _, c := range callers[:2] {
				c.mu.Lock()
				before[c] = maps.Clone(c.hosts)
				c.mu.Unlock()
			}
			<-time.After(2 * time.Second)
			var all, its int64
			for _, c := range callers[:2] {
				c.mu.Lock()
				for host, calls := range c.hosts {
					all += calls - before[c][host]
				}
				its += c.hosts[fourth.host] - before[c][fourth.host]
				c.mu.Unlock()
			}
			return float64(its) / float64(all)
		}
		got := share()
		for got < 0.2 {
			if time.Since(begun) > 3*time.Minute {
				t.Fatalf("the fourth replica has %.0f %% of the calls after %v", 100*got, time.Since(begun))
			}
			got = share()
		}
		t.Logf("the fourth replica has %.0f %% of the calls after %v", 100*got, time.Since(begun).Round(time.Second))
	})
}
