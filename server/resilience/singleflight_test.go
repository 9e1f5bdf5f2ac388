package resilience

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

// held is a Finder that waits until it is released or its context ends.
type held struct {
	release chan struct{}
	mu      sync.Mutex
	begun   []podero.Key
	ended   int // by their context
}

func newHeld() *held { return &held{release: make(chan struct{})} }

func (h *held) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	h.mu.Lock()
	h.begun = append(h.begun, key)
	h.mu.Unlock()
	select {
	case <-h.release:
		return found, nil
	case <-ctx.Done():
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ended++
		return nil, fault.FromContext(ctx)
	}
}

func TestIdenticalLookupsAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s := NewSingleflight(h)
		var calls sync.WaitGroup
		for i := range 1000 {
			ctx, cancel := context.WithCancel(within(t, time.Minute))
			if i%2 == 0 { // the first one, too
				time.AfterFunc(time.Second, cancel)
			}
			calls.Go(func() {
				defer cancel()
				user, err := s.Find(ctx, podero.Key{Path: "x"})
				if left := i%2 == 0; left != fault.Is(err, fault.CallerCancelled) || !left && user != found {
					t.Errorf("caller %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		close(h.release)
		calls.Wait()
		s.Close()
		if len(h.begun) != 1 || h.ended != 0 || len(s.flights) != 0 {
			t.Errorf("%d lookups, %d ended, %d kept", len(h.begun), h.ended, len(s.flights))
		}
	})
}

func TestDifferentLookupsAreNotCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s := NewSingleflight(h)
		keys := []podero.Key{
			{OrgID: "a", Path: "x"}, {OrgID: "b", Path: "x"}, {OrgID: "a", Path: "y"},
			{OrgID: "a", Path: "x?include_deleted=true"}, {OrgID: "a", Path: "x", Token: secret.New("t")},
		}
		var calls sync.WaitGroup
		for _, key := range keys {
			calls.Go(func() { _, _ = s.Find(within(t, time.Minute), key) })
		}
		synctest.Wait()
		if len(h.begun) != len(keys) {
			t.Errorf("%d lookups, want %d", len(h.begun), len(keys))
		}
		close(h.release)
		calls.Wait()
		s.Close()
	})
}

func TestFewGoroutinesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s := NewSingleflight(h)
		var calls sync.WaitGroup
		for i := range 10 * maxIdle {
			calls.Go(func() { _, _ = s.Find(within(t, time.Minute), podero.Key{Path: fmt.Sprint(i)}) })
		}
		synctest.Wait()
		close(h.release)
		calls.Wait()
		synctest.Wait()
		if idle := s.idle.Load(); idle != maxIdle {
			t.Errorf("%d goroutines wait for lookups, want %d", idle, maxIdle)
		}
		if user, err := s.Find(within(t, time.Minute), podero.Key{}); user != found || s.idle.Load() < maxIdle-1 {
			t.Errorf("%v, with %d idle", err, s.idle.Load())
		}
		s.Close()
	})
}

func TestALookupIsCancelledWithItsLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s := NewSingleflight(h)
		begun := time.Now()
		var calls sync.WaitGroup
		for i := range 3 {
			calls.Go(func() {
				wait := time.Duration(i+1) * time.Second
				_, err := s.Find(within(t, wait), podero.Key{})
				if !fault.Is(err, fault.UpstreamTimeout) || time.Since(begun) != wait {
					t.Errorf("caller %d: %v after %v", i, err, time.Since(begun))
				}
			})
		}
		calls.Wait()
		synctest.Wait()
		if len(h.begun) != 1 || h.ended != 1 || time.Since(begun) != 3*time.Second {
			t.Errorf("%d lookups, %d ended after %v", len(h.begun), h.ended, time.Since(begun))
		}
		go func() { close(h.release) }()
		if user, err := s.Find(within(t, time.Second), podero.Key{}); user != found {
			t.Errorf("the next lookup: %v", err)
		}
		s.Close()
	})
}

func TestACoalescedLookupHasTheLatestDeadlineOfItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []time.Duration
		s := NewSingleflight(finder(func(ctx context.Context, _ podero.Key) (proto.Message, error) {
			for range 2 {
				deadline, _ := ctx.Deadline()
				seen = append(seen, time.Until(deadline))
				time.Sleep(time.Second)
			}
			return found, nil
		}))
		impatient, patient := within(t, 5*time.Second), within(t, 60*time.Second)
		var calls sync.WaitGroup
		calls.Go(func() { _, _ = s.Find(impatient, podero.Key{}) })
		synctest.Wait()
		calls.Go(func() { _, _ = s.Find(patient, podero.Key{}) })
		calls.Wait()
		s.Close()
		if fmt.Sprint(seen) != "[5s 59s]" {
			t.Errorf("time left %v", seen)
		}
	})
}

func TestAPanicInALookupIsAnError(t *testing.T) {
	s := NewSingleflight(finder(func(context.Context, podero.Key) (proto.Message, error) { panic(errors.New("Peter Schmidt")) }))
	_, err := s.Find(t.Context(), podero.Key{})
	if !fault.Is(err, fault.Internal) || strings.Contains(err.Error(), "Peter") || !strings.Contains(err.Error(), "singleflight_test.go") {
		t.Errorf("%v", err)
	}
	s.Close()
}

func TestAFixedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		l := NewLimiter(10, 0, h)
		var (
			calls   sync.WaitGroup
			mu      sync.Mutex
			refused []time.Duration
		)
		for range 30 {
			calls.Go(func() {
				begun := time.Now()
				_, err := l.Find(within(t, 10*time.Second), podero.Key{})
				if err == nil {
					return
				}
				failure := fault.From(err)
				if failure.Kind != fault.Overloaded || failure.RetryAfter == 0 || !failure.Final {
					t.Errorf("%v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				refused = append(refused, time.Since(begun))
			})
		}
		synctest.Wait()
		if len(h.begun) != 10 {
			t.Errorf("%d at the same time, want 10", len(h.begun))
		}
		time.Sleep(5500 * time.Millisecond)
		mu.Lock()
		if len(refused) != 20 {
			t.Errorf("%d refused, want 20", len(refused))
		}
		mu.Unlock()
		begun := time.Now()
		if _, err := l.Find(within(t, time.Second), podero.Key{}); !fault.Is(err, fault.Overloaded) || time.Since(begun) != time.Second/2 {
			t.Errorf("%v after %v, want half of the caller's time", err, time.Since(begun))
		}
		close(h.release)
		calls.Wait()
		if _, err := l.Find(within(t, time.Second), podero.Key{}); err != nil || l.inFlight != 0 {
			t.Errorf("%v, %d in flight", err, l.inFlight)
		}
	})
}

func TestAPanicGivesItsPlaceBack(t *testing.T) {
	l := NewLimiter(1, 0, finder(func(context.Context, podero.Key) (proto.Message, error) { panic("x") }))
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			_, err := l.Find(within(t, time.Second), podero.Key{})
			t.Errorf("no panic, %v", err)
		}()
	}
}

func TestASlowButHealthyUpstreamIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := newWorkers(100000, 2500*time.Millisecond)
		f := chain(upstream, 0)
		load(t, f, 200, 2*time.Minute) // 500 at the same time
		if got := load(t, f, 200, time.Minute); got["OK"] < 200*50 || len(got) != 1 {
			t.Errorf("%v", got)
		}
		time.Sleep(time.Minute) // for those under way
	})
}

func TestABurstFindsItsWayThrough(t *testing.T) {
	for _, service := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			f := chain(newWorkers(100000, service), 0)
			var calls sync.WaitGroup
			for range 1000 {
				calls.Go(func() {
					if _, err := f.Find(within(t, 10*time.Second), podero.Key{}); err != nil {
						t.Errorf("an upstream of %v: %v", service, err)
					}
				})
			}
			calls.Wait()
		})
	}
}
