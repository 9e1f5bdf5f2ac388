//go:build chaos

package server_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// newWorkers returns an upstream with a fixed number of workers and an unbounded FIFO queue. It
// does not notice that a client has disconnected, and processes the request all the same.
func newWorkers(workers int, takes *atomic.Int64) http.HandlerFunc {
	free := make(chan struct{}, workers)
	return func(w http.ResponseWriter, r *http.Request) {
		free <- struct{}{}
		time.Sleep(time.Duration(takes.Load()))
		<-free
		good(w, r)
	}
}

func TestChaosBrownout(t *testing.T) {
	t.Parallel()
	const workers, before = 8, 3 * time.Second
	slowFor, pause, wellFor := 45*time.Second, 15*time.Second, max(15*time.Second, scaled(30*time.Second))
	if *scale < 1 {
		slowFor, pause, wellFor = 28*time.Second, 8*time.Second, 5*time.Second
	}
	var takes atomic.Int64
	takes.Store(int64(50 * time.Millisecond))
	s := newBackend(t, newHandler(newWorkers(workers, &takes)), false).start(t, nil)
	lookup := s.lookups(t)
	warmUp(t, lookup)
	slow := time.Now().Add(before)
	for at, duration := range map[time.Duration]time.Duration{before: time.Second, before + slowFor: 50 * time.Millisecond} {
		timer := time.AfterFunc(at, func() { takes.Store(int64(duration)) })
		defer timer.Stop()
	}
	all := play(40, before+slowFor+pause+wellFor, 10*time.Second, lookup)
	well := slow.Add(slowFor)
	early := all.goodput(slow.Add(15*time.Second), well) / workers
	late := all.goodput(slow.Add(25*time.Second), well) / workers
	recovered := all.between(well.Add(pause), forever())
	t.Logf("brownout: %.2f of the capacity from 15 s into it, %.2f from 25 s; %.4f of %d calls succeed from %v after it %s",
		early, late, recovered.succeeded(), len(recovered), pause, recovered.failures())
	if early < target(0.7, 0.5) || late < target(0.9, 0) { // a shortened brownout ends just after 25 s, up to when the limit is found
		t.Error("want 0.7 of the capacity from 15 s into it, and 0.9 from 25 s")
	}
	if recovered.succeeded() < 0.97 {
		t.Error("want 0.97 of the calls to succeed afterwards")
	}
}

func TestChaosOverloadFromTheStart(t *testing.T) {
	const capacity, settle = 160.0, 10 * time.Second
	var takes atomic.Int64
	takes.Store(int64(50 * time.Millisecond))
	s := newBackend(t, newHandler(newWorkers(8, &takes)), false).start(t, nil)
	lookup := s.lookups(t)
	begun, measured := time.Now(), max(4*time.Second, scaled(30*time.Second))
	all := play(4*capacity, settle+measured, 10*time.Second, lookup)
	goodput := all.goodput(begun.Add(settle), begun.Add(settle+measured)) / capacity
	t.Logf("four times the capacity from the start: %.2f of it from %v on; in the first seconds %.2f; %d calls, %s",
		goodput, settle, all.goodput(begun, begun.Add(settle))/capacity, len(all), all.failures())
	if goodput < target(0.9, 0.75) {
		t.Error("want 0.9 of the capacity")
	}
}

func TestChaosLatencyRises(t *testing.T) {
	parallelIfShort(t)
	var takes atomic.Int64
	takes.Store(int64(50 * time.Millisecond))
	s := newBackend(t, newHandler(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(takes.Load()))
		good(w, r)
	}), false).start(t, nil)
	const before = 2 * time.Second
	lookup := s.lookups(t)
	warmUp(t, lookup)
	timer := time.AfterFunc(before, func() { takes.Store(int64(1500 * time.Millisecond)) })
	defer timer.Stop()
	all := play(100, before+max(8*time.Second, scaled(30*time.Second)), 10*time.Second, lookup)
	checkShare(t, "latency rises from 50 ms to 1.5 s", all, target(0.97, 0.9))
}

func TestChaosColdStart(t *testing.T) {
	parallelIfShort(t)
	s := newBackend(t, newHandler(after(time.Second, good)), false).start(t, nil)
	checkShare(t, "cold start at 400 calls a second and 1 s each", play(400, max(8*time.Second, scaled(30*time.Second)), 10*time.Second, s.lookups(t)), target(0.95, 0.9))
}

// target returns the target of a whole run, or the lower one of a shortened run: the seconds after
// a change weigh more in it.
func target(whole, short float64) float64 {
	if *scale < 1 {
		return short
	}
	return whole
}

// parallelIfShort runs a test beside others in a shortened run. In a whole one, it would disturb
// their figures.
func parallelIfShort(t *testing.T) {
	if *scale < 1 {
		t.Parallel()
	}
}

func checkShare(t *testing.T, what string, all calls, want float64) {
	t.Helper()
	t.Logf("%s: %.4f of %d calls succeed, p50 %v, p99 %v %s", what, all.succeeded(), len(all),
		all.quantile(0.5).Round(time.Millisecond), all.quantile(0.99).Round(time.Millisecond), all.failures())
	if all.succeeded() < want {
		t.Errorf("want %.2f", want)
	}
}
