package resilience

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// newBreaker returns a Breaker without a log.
func newBreaker(next podero.Finder) *Breaker {
	return NewBreaker(slog.New(slog.DiscardHandler), func() {}, next)
}

// opens calls a Breaker at a rate and returns when it opens; ok is false if it does not.
func opens(t *testing.T, b *Breaker, rate int, deadline, duration time.Duration) (after time.Duration, ok bool) {
	t.Helper()
	begun := time.Now()
	var calls sync.WaitGroup
	for !b.IsOpen() && time.Since(begun) < duration {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			_, _ = b.Find(ctx, podero.Key{})
		})
		time.Sleep(time.Second / time.Duration(rate))
	}
	after, ok = time.Since(begun), b.IsOpen()
	calls.Wait()
	return after, ok
}

func TestADeadUpstreamOpensTheBreakerWhateverItsCallersDeadlines(t *testing.T) {
	for _, deadline := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			upstream := newWorkers(100000, time.Hour)
			b := newBreaker(upstream)
			after, ok := opens(t, b, 50, deadline, time.Minute)
			if !ok || after > 5*time.Second {
				t.Errorf("deadline %v: open %v, after %v, want within 5s", deadline, ok, after)
			}
			time.Sleep(time.Hour)
		})
	}
}

func TestASlowUpstreamDoesNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if after, ok := opens(t, newBreaker(newWorkers(100000, time.Second)), 500, 500*time.Millisecond, time.Minute); ok {
			t.Errorf("opened after %v", after)
		}
		time.Sleep(time.Minute)
	})
}

// A few failures must not speak for callers that leave too soon for any response.
func TestCancellationsDoNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		b := newBreaker(finder(func(ctx context.Context, _ podero.Key) (proto.Message, error) {
			n++
			fails := n%200 == 0
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return nil, fault.FromContext(ctx)
			}
			if fails {
				return nil, broken
			}
			return found, nil
		}))
		stop := time.Now().Add(time.Minute)
		for time.Now().Before(stop) && !b.IsOpen() {
			for range 9 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_, _ = b.Find(ctx, podero.Key{})
				cancel()
			}
			_, _ = b.Find(t.Context(), podero.Key{})
		}
		if b.IsOpen() {
			t.Error("opened")
		}
	})
}

func TestAProbeThatIsCutIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := newWorkers(100000, time.Hour)
		b := newBreaker(upstream)
		if _, ok := opens(t, b, 50, time.Second, time.Minute); !ok {
			t.Fatal("did not open")
		}
		time.Sleep(time.Minute)
		if _, err := b.Find(within(t, 10*time.Millisecond), podero.Key{}); fault.Is(err, fault.UpstreamCircuitOpen) {
			t.Fatalf("no probe: %v", err)
		}
		upstream.service.Store(0)
		time.Sleep(time.Second)
		if _, err := b.Find(within(t, time.Second), podero.Key{}); err != nil || b.IsOpen() {
			t.Errorf("%v, open %v", err, b.IsOpen())
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestOneHangingLookupDoesNotOpenTheBreaker has an upstream that hangs for one ID and responds to all others. Most
// callers leave before it can; the hanging attempt is the one that runs on.
func TestOneHangingLookupDoesNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := finder(func(_ context.Context, key podero.Key) (proto.Message, error) {
			switch key.Path {
			case "hangs":
				time.Sleep(3 * time.Second)
				return nil, &fault.Error{Kind: fault.UpstreamTimeout, Transient: true}
			case "cut":
				time.Sleep(20 * time.Millisecond)
				return nil, fault.New(fault.UpstreamTimeout, context.DeadlineExceeded)
			default:
				time.Sleep(30 * time.Millisecond)
				return &userv1.User{}, nil
			}
		})
		b := NewBreaker(slog.New(slog.DiscardHandler), func() {}, upstream)
		var calls sync.WaitGroup
		find := func(path string) {
			calls.Go(func() { _, _ = b.Find(t.Context(), podero.Key{Path: path}) })
		}
		for range 5 { // attempts that hang, one after the other
			find("hangs")
			for i := range 600 { // 200 a second are cut, and 2 a second succeed
				find("cut")
				if i%100 == 0 {
					find("good")
				}
				time.Sleep(5 * time.Millisecond)
			}
			if b.IsOpen() {
				t.Fatal("the breaker is open")
			}
		}
		calls.Wait()
	})
}
