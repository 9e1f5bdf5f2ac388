package resilience

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// traffic is a Poisson stream of calls through a Finder, and what became of them.
type traffic struct {
	mu    sync.Mutex
	begun time.Time
	calls []call
}

// call is a call of the traffic. Its times are relative to the start of the traffic.
type call struct {
	begun, ended time.Duration
	reason       string // "OK" if it succeeded
}

// play calls a Finder at a rate, each call with the same deadline, and returns once all calls have
// ended.
func play(t *testing.T, f podero.Finder, rate float64, deadline, duration time.Duration, events map[time.Duration]func()) *traffic {
	t.Helper()
	p := &traffic{begun: time.Now()}
	for at, event := range events {
		time.AfterFunc(at, event)
	}
	var running sync.WaitGroup
	for time.Since(p.begun) < duration {
		running.Go(func() { p.call(t.Context(), f, deadline) })
		time.Sleep(poisson(rate))
	}
	running.Wait()
	return p
}

func (p *traffic) call(ctx context.Context, f podero.Finder, deadline time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	c := call{begun: time.Since(p.begun), reason: "OK"}
	_, err := f.Find(ctx, podero.Key{})
	if ctx.Err() != nil { // the caller left, even if its attempt went on
		err = ctx.Err()
	}
	if err != nil {
		c.reason = fault.From(err).Kind.Reason()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.ended = time.Since(p.begun)
	p.calls = append(p.calls, c)
}

// goodput returns how many calls per second succeeded, of those that ended in a period.
func (p *traffic) goodput(from, to time.Duration) float64 {
	n := 0
	for _, c := range p.calls {
		if c.reason == "OK" && from <= c.ended && c.ended < to {
			n++
		}
	}
	return float64(n) / (to - from).Seconds()
}

// success returns the share of calls that succeeded, of those that began in a period.
func (p *traffic) success(from, to time.Duration) float64 {
	succeeded, all := 0, 0
	for _, c := range p.calls {
		if from <= c.begun && c.begun < to {
			all++
			if c.reason == "OK" {
				succeeded++
			}
		}
	}
	return float64(succeeded) / float64(max(all, 1))
}

func atLeast(t *testing.T, what string, got, want float64) {
	t.Helper()
	t.Logf("%s: %.3f", what, got)
	if got < want {
		t.Errorf("%s: got %.3f, want at least %.2f", what, got, want)
	}
}

// An upstream that becomes twenty times slower has to be used to its capacity nevertheless,
// although it goes on serving requests that nobody waits for.
func TestBrownout(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			const start, end = 20 * time.Second, 65 * time.Second
			upstream := newWorkers(8, 50*time.Millisecond)
			upstream.oblivious = true
			p := play(t, chain(upstream, 0), 40, 10*time.Second, end+35*time.Second, map[time.Duration]func(){
				start: func() { upstream.service.Store(int64(time.Second)) },
				end:   func() { upstream.service.Store(int64(50 * time.Millisecond)) },
			})
			atLeast(t, "before", p.success(0, start-time.Second), 1)
			atLeast(t, "goodput from 15 s on", p.goodput(start+15*time.Second, end)/8, 0.70)
			atLeast(t, "goodput from 25 s on", p.goodput(start+25*time.Second, end)/8, 0.90)
			atLeast(t, "success from 15 s after it", p.success(end+15*time.Second, end+35*time.Second), 0.97)
			time.Sleep(time.Minute)
		})
	}
}

func TestOverloadFromTheFirstSecondOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := newWorkers(8, 50*time.Millisecond)
		upstream.oblivious = true
		p := play(t, chain(upstream, 0), 640, 10*time.Second, time.Minute, nil)
		atLeast(t, "goodput from 10 s on", p.goodput(10*time.Second, time.Minute)/160, 0.90)
		atLeast(t, "goodput from 10 s to 20 s", p.goodput(10*time.Second, 20*time.Second)/160, 0.90)
		time.Sleep(time.Minute)
	})
}

// Callers with less time than the attempt timeout leave before any attempt times out, so that the
// limit must fall because of the cut attempts alone. A run depends on chance, so the mean of several
// is what counts.
func TestOverloadWithDeadlinesBelowTheAttemptTimeout(t *testing.T) {
	const runs, end = 8, time.Minute
	for name, c := range map[string]struct {
		workers  int
		service  time.Duration
		rate     float64
		deadline time.Duration
		want     float64
	}{
		"8 x 50 ms at 320/s, 200 ms": {8, 50 * time.Millisecond, 320, 200 * time.Millisecond, 0.7},
		"4 x 400 ms at 20/s, 2 s":    {4, 400 * time.Millisecond, 20, 2 * time.Second, 0.7},
		"4 x 400 ms at 20/s, 1 s":    {4, 400 * time.Millisecond, 20, time.Second, 0.6},
		"4 x 400 ms at 20/s, 700 ms": {4, 400 * time.Millisecond, 20, 700 * time.Millisecond, 0.6},
		"8 x 400 ms at 22/s, 2 s":    {8, 400 * time.Millisecond, 22, 2 * time.Second, 0.7},
	} {
		for _, oblivious := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, oblivious %t", name, oblivious), func(t *testing.T) {
				t.Parallel()
				least, sum := 1.0, 0.0
				for range runs {
					synctest.Test(t, func(t *testing.T) {
						upstream := newWorkers(c.workers, c.service)
						upstream.oblivious = oblivious
						p := play(t, chain(upstream, 0), c.rate, c.deadline, end, nil)
						capacity := float64(c.workers) / c.service.Seconds()
						goodput := p.goodput(15*time.Second, end) / capacity
						least, sum = min(least, goodput), sum+goodput
						time.Sleep(time.Minute)
					})
				}
				atLeast(t, "least goodput from 15 s on", least, 0.2)
				atLeast(t, "mean goodput from 15 s on", sum/runs, c.want)
			})
		}
	}
}

// An upstream that is slow but healthy must not be mistaken for one that is overloaded.
func TestAHealthyUpstreamBecomesSlow(t *testing.T) {
	for name, c := range map[string]struct {
		rate          float64
		before, after time.Duration
		want          float64
	}{
		"50 ms to 1.5 s at 100/s": {100, 50 * time.Millisecond, 1500 * time.Millisecond, 0.97},
		"50 ms to 2 s at 400/s":   {400, 50 * time.Millisecond, 2 * time.Second, 0.95},
		"1 s at 400/s, at once":   {400, 0, time.Second, 0.95},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := newWorkers(100000, c.before)
				f := chain(upstream, 0)
				if c.before > 0 {
					p := play(t, f, c.rate, 10*time.Second, 10*time.Second, nil)
					atLeast(t, "before", p.success(0, 10*time.Second), 1)
				}
				upstream.service.Store(int64(c.after))
				p := play(t, f, c.rate, 10*time.Second, 20*time.Second, nil)
				atLeast(t, "after", p.success(0, 20*time.Second), c.want)
			})
		})
	}
}

// Scenario P8 of bench/storm.go: callers that leave before any response must not delay the
// recovery.
func TestAStormOfImpatientCallers(t *testing.T) {
	const rate, deadline, service = 5000, 500 * time.Millisecond, 5 * time.Millisecond
	for name, warm := range map[string]bool{"from the start": false, "after a healthy second": true} {
		// The attempts that hold all slots at the recovery end at once, or a while later.
		for _, storm := range []time.Duration{5 * time.Second, 5150 * time.Millisecond} {
			t.Run(name+", "+storm.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					upstream := newWorkers(100000, service)
					f := chain(upstream, 0)
					if warm {
						play(t, f, rate, time.Second, time.Second, nil)
					}
					upstream.service.Store(int64(time.Second))
					p := &traffic{begun: time.Now()}
					time.AfterFunc(storm, func() { upstream.service.Store(int64(service)) })
					var running sync.WaitGroup
					for time.Since(p.begun) < storm+time.Second {
						running.Go(func() { p.call(t.Context(), f, deadline) })
						time.Sleep(time.Second / rate)
					}
					running.Wait()
					atLeast(t, "success in the second after the recovery", p.success(storm, storm+time.Second), 0.99)
					time.Sleep(time.Minute)
				})
			})
		}
	}
}
