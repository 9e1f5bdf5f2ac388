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

	userv1 "example.com/podero-facade/gen/podero/user/v1"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// finder is a Finder made of a function.
type finder func(ctx context.Context, key podero.Key) (proto.Message, error)

func (f finder) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	return f(ctx, key)
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		l := NewLimiter(1, time.Second, h)
		var calls sync.WaitGroup
		var found, refused atomic.Int64
		for range 1 + maxQueue + 100 {
			calls.Go(func() {
				begun := time.Now()
				switch _, err := l.Find(within(t, time.Minute), podero.Key{}); {
				case err == nil:
					found.Add(1)
				case fault.Is(err, fault.Overloaded) && time.Since(begun) == 0:
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		close(h.release)
		calls.Wait()
		if found.Load() != 1+maxQueue || refused.Load() != 100 {
			t.Errorf("%d were found and %d refused at once", found.Load(), refused.Load())
		}
	})
}

func TestACallThatCannotWaitIsToldWhyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		l := NewLimiter(1, time.Second, h)
		l.usual = time.Second
		var first sync.WaitGroup
		first.Go(func() { _, _ = l.Find(within(t, time.Minute), podero.Key{}) })
		synctest.Wait()
		for left, kind := range map[time.Duration]fault.Kind{
			1400 * time.Millisecond: fault.Overloaded,
			0:                       fault.UpstreamTimeout,
			-time.Millisecond:       fault.UpstreamTimeout,
		} {
			begun := time.Now()
			// The deadline of a shared lookup passes a moment before its callers have left.
			f := &flight{Context: t.Context(), share: NewShare(nil), deadline: begun.Add(left)}
			if _, err := l.Find(f, podero.Key{}); !fault.Is(err, kind) || time.Since(begun) > 0 {
				t.Errorf("with %v left: %v after %v", left, err, time.Since(begun))
			}
		}
		close(h.release)
		first.Wait()
	})
}

// workers is an upstream with a number of workers and a queue before them. Each attempt has 3 s.
type workers struct {
	free    chan struct{}
	service atomic.Int64 // nanoseconds for each lookup
	varied  bool         // whether that is an average: half of it is fixed, and half exponentially distributed
	done    atomic.Int64 // lookups that were answered
}

func (w *workers) time() time.Duration {
	service := float64(w.service.Load())
	if w.varied {
		service *= (1 + rand.ExpFloat64()) / 2
	}
	return time.Duration(service)
}

func newWorkers(n int, service time.Duration) *workers {
	w := &workers{free: make(chan struct{}, n)}
	w.service.Store(int64(service))
	return w
}

func (w *workers) Find(ctx context.Context, _ podero.Key) (proto.Message, error) {
	attempt, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	late := func() error {
		if err := ctx.Err(); err != nil {
			return fault.Ended(err)
		}
		failure := fault.New(fault.UpstreamTimeout, errors.New("late"))
		failure.Transient = true
		return failure
	}
	select {
	case w.free <- struct{}{}:
	case <-attempt.Done():
		return nil, late()
	}
	served := make(chan struct{})
	go func() { // to its end, whether anybody waits or not, as most servers do
		time.Sleep(w.time())
		<-w.free
		close(served)
	}()
	select {
	case <-served:
		w.done.Add(1)
		return &userv1.User{}, nil
	case <-attempt.Done():
		return nil, late()
	}
}

// load calls a Finder at a steady rate for some time, each call with 10 s, and returns how many
// succeeded and failed, by reason, of those that ended by the end.
func load(t *testing.T, f podero.Finder, rate float64, duration time.Duration) map[string]int {
	t.Helper()
	return impatientLoad(t, f, rate, 10*time.Second, duration)
}

// impatientLoad is load, of calls with a given time.
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
		time.Sleep(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
	}
	mu.Lock()
	defer mu.Unlock()
	return ended
}

// A new replica of a busy service gets its share of the calls at once.
func TestNothingIsTurnedAwayWhileTheLimitIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := chain(newWorkers(1000, 300*time.Millisecond), 0)
		if got := impatientLoad(t, f, 500, time.Second, 5*time.Second); got["OK"] < 2000 || len(got) > 1 {
			t.Errorf("%v", got)
		}
		time.Sleep(time.Minute)
	})
}

// chain is the whole of the resilience in front of an upstream.
func chain(upstream podero.Finder, limit int) podero.Finder {
	log := slog.New(slog.DiscardHandler)
	return NewRetry(3, NewPause(NewBreaker(log, NewLimiter(limit, 3*time.Second, upstream))))
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
			if got := load(t, f, 4*capacity, 10*time.Second); got["OK"] < int(0.98*4*capacity*10) {
				t.Logf("after: %v", got)
			}
			time.Sleep(time.Minute)
		})
	}
}

// Who has hardly more time than a lookup takes must not wait for a turn until it is too late, or all are.
func TestGoodputWithImpatientCallers(t *testing.T) {
	for name, c := range map[string]struct {
		workers  int
		service  time.Duration
		varied   bool
		limit    int
		load     float64 // in capacities
		patience time.Duration
		least    float64 // of the lookups that Podero could do in time
	}{
		"a little too many":         {100, 400 * time.Millisecond, false, 0, 1.2, 500 * time.Millisecond, 0.4},
		"far too many":              {100, 400 * time.Millisecond, false, 0, 4, 500 * time.Millisecond, 0.9},
		"a limit of the operator's": {100, 400 * time.Millisecond, false, 100, 1.2, 500 * time.Millisecond, 0.9},
		"times vary":                {100, 400 * time.Millisecond, true, 0, 2, time.Second, 0.4},
		"a small, fast upstream":    {16, 20 * time.Millisecond, true, 0, 2, 100 * time.Millisecond, 0.6},
		// Of a load that Podero bears, 0.78 and 0.50 are in time.
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

// Callers with too little time say nothing about what Podero bears, and take no turn from the others.
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
