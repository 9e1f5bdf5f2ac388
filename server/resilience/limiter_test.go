package resilience

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// finder is a Finder made of a function.
type finder func(ctx context.Context, key podero.Key) (proto.Message, error)

func (f finder) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	return f(ctx, key)
}

func TestACallThatCannotWaitFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		l := NewLimiter(1, 0, h)
		l.typical = time.Second
		var first sync.WaitGroup
		first.Go(func() { _, _ = l.Find(within(t, time.Minute), podero.Key{}) })
		synctest.Wait()
		for left, kind := range map[time.Duration]fault.Kind{
			1400 * time.Millisecond: fault.Overloaded,
			0:                       fault.UpstreamTimeout,
			-time.Millisecond:       fault.UpstreamTimeout,
		} {
			begun := time.Now()
			// The deadline of a coalesced lookup passes a moment before its callers have left.
			f := &flight{Context: t.Context(), group: NewSingleflight(nil), deadline: begun.Add(left)}
			if _, err := l.Find(f, podero.Key{}); !fault.Is(err, kind) || time.Since(begun) > 0 {
				t.Errorf("with %v left: %v after %v", left, err, time.Since(begun))
			}
		}
		close(h.release)
		first.Wait()
	})
}

// workers is an upstream with a number of workers and a FIFO queue in front of them. Each attempt
// has 3 s.
type workers struct {
	free      chan struct{}
	service   atomic.Int64 // nanoseconds for each lookup
	varied    bool         // whether that is an average: half of it is fixed, and half exponentially distributed
	oblivious bool         // whether requests stay in the queue when their callers leave
	witness   atomic.Bool  // whether an attempt goes on after its caller left, as one at a time does
	done      atomic.Int64 // lookups that succeeded
}

func newWorkers(n int, service time.Duration) *workers {
	w := &workers{free: make(chan struct{}, n)}
	w.service.Store(int64(service))
	return w
}

func (w *workers) time() time.Duration {
	service := float64(w.service.Load())
	if w.varied {
		service *= (1 + rand.ExpFloat64()) / 2
	}
	return time.Duration(service)
}

func (w *workers) Find(ctx context.Context, _ podero.Key) (proto.Message, error) {
	served, left := make(chan struct{}), make(chan struct{})
	go w.serve(served, left)
	timeout := time.NewTimer(3 * time.Second)
	defer timeout.Stop()
	ended := ctx.Done()
	for {
		select {
		case <-served:
			w.done.Add(1)
			return found, nil
		case <-timeout.C:
			close(left)
			return nil, &fault.Error{Kind: fault.UpstreamTimeout, Cause: errors.New("late"), Transient: true}
		case <-ended:
			if !w.witness.CompareAndSwap(false, true) {
				close(left)
				return nil, fault.FromContext(ctx)
			}
			defer w.witness.Store(false)
			ended = nil
		}
	}
}

// serve serves a request. Once it began it goes on to its end, whether anybody waits or not, as in
// most servers.
func (w *workers) serve(served, left chan struct{}) {
	if w.oblivious {
		left = nil
	}
	select {
	case w.free <- struct{}{}:
	case <-left:
		return
	}
	time.Sleep(w.time())
	<-w.free
	close(served)
}

// poisson returns the time until the next event of a Poisson process with a rate per second.
func poisson(rate float64) time.Duration {
	return time.Duration(rand.ExpFloat64() / rate * float64(time.Second))
}

// load calls a Finder at a steady rate for some time, each call with 10 s, and returns how many
// succeeded and failed, by reason, of those that ended by the end.
func load(t *testing.T, f podero.Finder, rate float64, duration time.Duration) map[string]int {
	t.Helper()
	return impatientLoad(t, f, rate, 10*time.Second, duration)
}

// impatientLoad is load with calls that have a given deadline.
func impatientLoad(t *testing.T, f podero.Finder, rate float64, patience, duration time.Duration) map[string]int {
	t.Helper()
	var (
		calls sync.WaitGroup
		mu    sync.Mutex
		ended = map[string]int{}
		end   = time.Now().Add(duration)
	)
	for time.Now().Before(end) {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := f.Find(ctx, podero.Key{})
			if ctx.Err() != nil { // the caller left, even if its attempt went on
				err = ctx.Err()
			}
			reason := "OK"
			if err != nil {
				reason = fault.From(err).Kind.Reason()
			}
			mu.Lock()
			defer mu.Unlock()
			if time.Now().Before(end) {
				ended[reason]++
			}
		})
		time.Sleep(poisson(rate))
	}
	mu.Lock()
	defer mu.Unlock()
	return ended
}

// total returns the number of calls that load has counted.
func total(ended map[string]int) (n int) {
	for _, count := range ended {
		n += count
	}
	return n
}

// A new replica of a busy service gets its part of the calls at once.
func TestNothingIsRejectedWhileTheLimitIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := chain(newWorkers(1000, 300*time.Millisecond), 0)
		if got := impatientLoad(t, f, 500, time.Second, 5*time.Second); got["OK"] < 2000 || len(got) > 1 {
			t.Errorf("%v", got)
		}
		time.Sleep(time.Minute)
	})
}

// chain returns the Finders from Retry to Limiter in front of an upstream.
func chain(upstream podero.Finder, limit int) podero.Finder {
	log := slog.New(slog.DiscardHandler)
	limiter := NewLimiter(limit, 4096, upstream)
	return NewRetry(3, NewRateLimit(NewBreaker(log, limiter.SlowStart, limiter)))
}

func TestGoodputUnderFourTimesTheCapacity(t *testing.T) {
	for _, n := range []int{16, 50, 200} {
		synctest.Test(t, func(t *testing.T) {
			upstream := newWorkers(n, 20*time.Millisecond)
			f := chain(upstream, 0)
			capacity := float64(n) / 2 // lookups a second, once each takes 2 s
			if got := load(t, f, 4*capacity, 10*time.Second); got["OK"] < int(0.8*4*capacity*10) {
				t.Errorf("before: %v", got)
			}
			upstream.service.Store(int64(2 * time.Second))
			load(t, f, 4*capacity, time.Minute) // finds the limit
			begun := upstream.done.Load()
			got := load(t, f, 4*capacity, 2*time.Minute)
			goodput := float64(upstream.done.Load()-begun) / (capacity * 120)
			t.Logf("%d workers: goodput %.2f of the capacity; %v", n, goodput, got)
			if goodput < 0.85 {
				t.Errorf("%d workers: goodput %.2f of the capacity; %v", n, goodput, got)
			}
			upstream.service.Store(int64(20 * time.Millisecond))
			load(t, f, 4*capacity, 2*time.Second)
			if got := load(t, f, 4*capacity, 10*time.Second); float64(got["OK"]) < 0.98*float64(total(got)) {
				t.Errorf("%d workers, after the recovery: %v", n, got)
			}
			time.Sleep(time.Minute)
		})
	}
}

// A caller with hardly more time than a lookup takes must not wait for a slot until it is too late.
// Otherwise all lookups are late.
func TestGoodputWithImpatientCallers(t *testing.T) {
	for name, c := range map[string]struct {
		workers  int
		service  time.Duration
		varied   bool
		limit    int
		load     float64 // in capacities
		patience time.Duration
		least    float64 // goodput, as a share of the lookups that the upstream could do in time
	}{
		"a little too many":         {100, 400 * time.Millisecond, false, 0, 1.2, 500 * time.Millisecond, 0.4},
		"far too many":              {100, 400 * time.Millisecond, false, 0, 4, 500 * time.Millisecond, 0.9},
		"a limit of the operator's": {100, 400 * time.Millisecond, false, 100, 1.2, 500 * time.Millisecond, 0.9},
		"times vary":                {100, 400 * time.Millisecond, true, 0, 2, time.Second, 0.4},
		"a small, fast upstream":    {16, 20 * time.Millisecond, true, 0, 2, 100 * time.Millisecond, 0.6},
		// The upstream can handle the load, but only 0.78 and 0.50 of the responses are in time.
		"well, but some are late": {1000, 400 * time.Millisecond, true, 0, 0.16, 500 * time.Millisecond, 0.7},
		"well, but half are late": {1000, time.Second, true, 0, 0.2, 850 * time.Millisecond, 0.4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := newWorkers(c.workers, c.service)
				upstream.varied = c.varied
				f := chain(upstream, c.limit)
				capacity := float64(c.workers) / c.service.Seconds()
				impatientLoad(t, f, c.load*capacity, c.patience, 20*time.Second) // finds the limit
				got := impatientLoad(t, f, c.load*capacity, c.patience, 40*time.Second)
				goodput := float64(got["OK"]) / (min(c.load, 1) * capacity * 40)
				t.Logf("goodput %.2f; %v", goodput, got)
				if goodput < c.least {
					t.Errorf("goodput %.2f; %v", goodput, got)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// Callers with too little time for any response neither lower the limit nor take slots from others.
func TestHopelessCallersDoNotLowerTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := chain(newWorkers(1000, time.Second), 0)
		var both sync.WaitGroup
		both.Go(func() { impatientLoad(t, f, 100, 500*time.Millisecond, time.Minute) })
		load(t, f, 100, 20*time.Second) // finds the limit
		if got := load(t, f, 100, 40*time.Second); got["OK"] < 3500 || len(got) > 1 {
			t.Errorf("%v", got)
		}
		both.Wait()
		time.Sleep(time.Minute)
	})
}

// An impatient first caller must not have a patient one rejected who joined its lookup.
func TestAQueuedLookupHasTheTimeOfItsMostPatientCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1, 0, finder(func(context.Context, podero.Key) (proto.Message, error) {
			time.Sleep(3 * time.Second)
			return found, nil
		}))
		s := NewSingleflight(l)
		var calls sync.WaitGroup
		call := func(path string, deadline time.Duration) (err error) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			_, err = s.Find(ctx, podero.Key{Path: path})
			return err
		}
		calls.Go(func() { _ = call("a", time.Minute) }) // takes the slot
		synctest.Wait()
		calls.Go(func() { _ = call("b", time.Second) })
		time.Sleep(100 * time.Millisecond)
		calls.Go(func() {
			if err := call("b", time.Minute); err != nil {
				t.Errorf("the patient caller: %v", err)
			}
		})
		calls.Wait()
		s.Close()
	})
}

// use has some calls in flight at the same time, again and again.
func use(t *testing.T, l *Limiter, calls int, duration time.Duration) {
	t.Helper()
	begun := time.Now()
	var running sync.WaitGroup
	for range calls {
		running.Go(func() {
			for time.Since(begun) < duration {
				_, _ = l.Find(within(t, time.Minute), podero.Key{})
			}
		})
	}
	running.Wait()
}

func TestTheAdaptiveLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := newWorkers(100000, time.Second)
		l := NewLimiter(0, 500, upstream)
		step := func(what string, want int) {
			t.Helper()
			if got := l.Limit(); got != want {
				t.Errorf("%s: limit %d, want %d", what, got, want)
			}
		}
		step("new", initialLimit)
		use(t, l, 1000, 10*time.Second)
		step("at its maximum", 500)
		l.SlowStart()
		step("slow start", minLimit)
		var running sync.WaitGroup
		running.Go(func() { use(t, l, 1000, 25*time.Second) })
		time.Sleep(2500 * time.Millisecond)
		step("after 2 round trips", 4*minLimit)
		running.Wait()
		step("after the recovery time", 500)
		use(t, l, 50, 25*time.Second)
		step("partly used", 200)
		use(t, l, 1, 25*time.Second)
		step("unused", initialLimit)
	})
}

func TestAClosedBreakerMeansASlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		upstream := newWorkers(100000, time.Second)
		limiter := NewLimiter(0, 4096, finder(func(ctx context.Context, key podero.Key) (proto.Message, error) {
			if fails {
				return nil, broken
			}
			return upstream.Find(ctx, key)
		}))
		b := NewBreaker(slog.New(slog.DiscardHandler), limiter.SlowStart, limiter)
		use(t, limiter, 1000, 10*time.Second)
		if got := limiter.Limit(); got < 900 {
			t.Fatalf("limit %d, want 900 or more", got)
		}
		fails = true
		for range breakerAttempts {
			_, _ = b.Find(within(t, time.Minute), podero.Key{})
		}
		fails = false
		time.Sleep(firstProbe)
		if _, err := b.Find(within(t, time.Minute), podero.Key{}); err != nil {
			t.Fatal(err)
		}
		if got := limiter.Limit(); got != minLimit {
			t.Errorf("limit %d, want %d", got, minLimit)
		}
	})
}
