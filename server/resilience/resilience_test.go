package resilience

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	userv1 "example.com/podero-facade/gen/podero/user/v1"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

var (
	found     = &userv1.User{Id: "found"}
	broken    = &fault.Error{Kind: fault.UpstreamUnavailable, Transient: true}
	permanent = &fault.Error{Kind: fault.UserNotFound}
)

// script is a Finder that gives one outcome after the other, and the last one from then on.
type script struct {
	mu       sync.Mutex
	outcomes []error
	times    []time.Time
}

func (s *script) Find(context.Context, podero.Key) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Now())
	err := s.outcomes[min(len(s.times), len(s.outcomes))-1]
	if err != nil {
		return nil, err
	}
	return found, nil
}

// within returns a context that has some time.
func within(t *testing.T, duration time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	t.Cleanup(cancel)
	return ctx
}

func TestRetry(t *testing.T) {
	later := func(wait time.Duration) error {
		return &fault.Error{Kind: fault.UpstreamUnavailable, Transient: true, NotBefore: wait}
	}
	for name, c := range map[string]struct {
		outcomes []error
		time     time.Duration
		attempts int
		reason   string // "" if a user is found
		final    bool
		least    time.Duration // of the whole
		most     time.Duration
	}{
		"nothing fails":                   {[]error{nil}, 10 * time.Second, 1, "", false, 0, 0},
		"one fails":                       {[]error{broken, nil}, 10 * time.Second, 2, "", false, 0, 100 * time.Millisecond},
		"two fail":                        {[]error{broken, broken, nil}, 10 * time.Second, 3, "", false, 0, 300 * time.Millisecond},
		"all fail":                        {[]error{broken}, 10 * time.Second, 3, "UPSTREAM_UNAVAILABLE", true, 0, 300 * time.Millisecond},
		"what fails for good":             {[]error{permanent}, 10 * time.Second, 1, "USER_NOT_FOUND", false, 0, 0},
		"never before Retry-After":        {[]error{later(3 * time.Second), nil}, 10 * time.Second, 2, "", false, 3 * time.Second, 3100 * time.Millisecond},
		"never past the caller's time":    {[]error{later(3 * time.Second), nil}, 2 * time.Second, 1, "UPSTREAM_UNAVAILABLE", true, 0, 0},
		"no attempt that can't end":       {[]error{broken, nil}, 4 * time.Millisecond, 1, "UPSTREAM_UNAVAILABLE", true, 0, 0},
		"a 500 the second time":           {[]error{broken, fault.New(fault.UpstreamUnavailable, nil)}, 10 * time.Second, 2, "UPSTREAM_UNAVAILABLE", true, 0, 100 * time.Millisecond},
		"a 500":                           {[]error{fault.New(fault.UpstreamUnavailable, nil)}, 10 * time.Second, 1, "UPSTREAM_UNAVAILABLE", false, 0, 0},
		"another failure the second time": {[]error{broken, permanent}, 10 * time.Second, 2, "USER_NOT_FOUND", false, 0, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{outcomes: c.outcomes}
				begun := time.Now()
				user, err := NewRetry(3, s).Find(within(t, c.time), podero.Key{})
				if took := time.Since(begun); took < c.least || took > c.most {
					t.Errorf("took %v", took)
				}
				if len(s.times) != c.attempts {
					t.Errorf("%d attempts, want %d", len(s.times), c.attempts)
				}
				if c.reason == "" {
					if user != found || err != nil {
						t.Errorf("%v, %v", user, err)
					}
					return
				}
				failure := fault.From(err)
				if failure.Kind.Reason() != c.reason || failure.Final != c.final {
					t.Errorf("%v, final %v", err, failure.Final)
				}
			})
		})
	}
}

func TestACallerWhoLeavesEndsTheWaitForARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(within(t, time.Minute))
		time.AfterFunc(time.Second, leave)
		s := &script{outcomes: []error{&fault.Error{Kind: fault.UpstreamUnavailable, Transient: true, NotBefore: 10 * time.Second}}}
		if _, err := NewRetry(3, s).Find(ctx, podero.Key{}); !fault.Is(err, fault.CallerCancelled) {
			t.Errorf("%v", err)
		}
	})
}

func TestTheEndOfALookupsTimeIsFinalAndThatOfACallersIsNot(t *testing.T) {
	for patience, final := range map[time.Duration]bool{time.Minute: true, 5 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			s := NewSingleflight(newHeld())
			_, err := NewTimeout(10*time.Second, s).Find(within(t, patience), podero.Key{})
			if failure := fault.From(err); failure.Kind != fault.UpstreamTimeout || failure.Final != final {
				t.Errorf("%v, final %v, for a caller with %v", err, failure.Final, patience)
			}
			s.Close()
		})
	}
}

func TestRetriesHaveABudgetOverAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{outcomes: []error{broken}}
		r := NewRetry(3, s)
		const calls = 1000
		for range calls {
			_, _ = r.Find(within(t, 10*time.Second), podero.Key{})
		}
		if n := len(s.times); n < 1.2*calls || n > 1.2*calls+10 {
			t.Errorf("%d attempts for %d calls", n, calls)
		}
	})
}

func TestABackoffIsRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRetry(3, &script{outcomes: []error{broken}})
		took := map[time.Duration]bool{}
		for range 5 {
			begun := time.Now()
			_, _ = r.Find(within(t, 10*time.Second), podero.Key{})
			took[time.Since(begun)] = true
		}
		if len(took) < 4 {
			t.Errorf("waits %v", took)
		}
	})
}

func limited(wait time.Duration) error {
	return &fault.Error{Kind: fault.UpstreamRateLimited, NotBefore: wait, RetryAfter: max(wait, time.Second), Transient: wait <= 2*time.Second}
}

func TestARateLimitBlocksAllCallsWithTheCredential(t *testing.T) {
	for name, c := range map[string]struct{ wait, held time.Duration }{
		"a second":   {time.Second, time.Second},
		"17 seconds": {17 * time.Second, 17 * time.Second},
		"an hour":    {time.Hour, time.Minute},
		"none given": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{outcomes: []error{limited(c.wait), nil}}
				p := NewRateLimit(s)
				mine, other := podero.Key{Token: secret.New("a")}, podero.Key{Token: secret.New("b")}
				if _, err := p.Find(t.Context(), mine); !fault.Is(err, fault.UpstreamRateLimited) {
					t.Fatal(err)
				}
				for begun := time.Now(); time.Since(begun) < c.held; time.Sleep(c.held / 10) {
					_, err := p.Find(t.Context(), mine)
					failure := fault.From(err)
					if failure.Kind != fault.UpstreamRateLimited || !failure.Local || failure.RetryAfter != c.held-time.Since(begun) {
						t.Errorf("after %v: %v, retry after %v", time.Since(begun), err, failure.RetryAfter)
					}
				}
				if len(s.times) != 1 {
					t.Errorf("%d requests", len(s.times))
				}
				if _, err := p.Find(t.Context(), other); err != nil {
					t.Errorf("another credential: %v", err)
				}
				if _, err := p.Find(t.Context(), mine); err != nil {
					t.Errorf("after the wait: %v", err)
				}
			})
		})
	}
}

func TestRateLimitForgetsOldCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewRateLimit(&script{outcomes: []error{limited(time.Minute)}})
		for i := range 3 * maxCredentials {
			_, _ = p.Find(t.Context(), podero.Key{Token: secret.New(fmt.Sprint(i))})
		}
		if len(p.until) > maxCredentials {
			t.Errorf("%d credentials are kept", len(p.until))
		}
	})
}

func TestRetryWaitsForAShortRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{outcomes: []error{limited(2 * time.Second), nil}}
		f := NewRetry(3, NewRateLimit(s))
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				if _, err := f.Find(within(t, 10*time.Second), podero.Key{}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		calls.Wait()
		for _, at := range s.times[1:] {
			if at.Sub(s.times[0]) < 2*time.Second {
				t.Errorf("a request %v after the 429", at.Sub(s.times[0]))
			}
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &script{outcomes: []error{broken}}
		b := NewBreaker(slog.New(slog.NewTextHandler(&log, nil)), func() {}, s)
		call := func() *fault.Error {
			_, err := b.Find(t.Context(), podero.Key{})
			if err == nil {
				return nil
			}
			return fault.From(err)
		}
		for range breakerAttempts {
			if call().Kind != fault.UpstreamUnavailable {
				t.Fatal("opened too early")
			}
		}
		opened := time.Now()
		failure := call()
		if failure.Kind != fault.UpstreamCircuitOpen || failure.RetryAfter != 5*time.Second || !failure.Final {
			t.Fatalf("%v, retry after %v", failure, failure.RetryAfter)
		}
		for time.Since(opened) < 20*time.Second {
			_ = call()
			time.Sleep(10 * time.Millisecond)
		}
		probes := s.times[breakerAttempts:]
		for i, at := range probes {
			if want := 5*time.Second + time.Duration(i)*time.Second; at.Sub(opened).Round(20*time.Millisecond) != want {
				t.Errorf("probe %d after %v, want %v", i, at.Sub(opened), want)
			}
		}
		if len(probes) != 15 {
			t.Errorf("%d probes in 20 s, want 15", len(probes))
		}
		s.outcomes = []error{nil}
		time.Sleep(time.Second)
		for range 100 {
			if failure := call(); failure != nil {
				t.Fatalf("after a probe that succeeded: %v", failure)
			}
		}
		if strings.Count(log.String(), "opened") != 1 || strings.Count(log.String(), "closed") != 1 {
			t.Errorf("log %s", &log)
		}
	})
}

func TestWhatDoesNotOpenTheBreaker(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx      context.Context
		outcomes []error
		pause    time.Duration
	}{
		"not found":            {t.Context(), []error{permanent}, 0},
		"rate limit":           {t.Context(), []error{limited(0)}, 0},
		"overload here":        {t.Context(), []error{&fault.Error{Kind: fault.Overloaded, Local: true}}, 0},
		"callers who left":     {cancelled, []error{fault.New(fault.CallerCancelled, nil)}, 0},
		"fewer than a half":    {t.Context(), []error{nil, nil, broken, nil, broken, nil, broken, nil, broken, nil, nil}, 0},
		"fewer than 20 in 10s": {t.Context(), []error{broken}, 600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBreaker(slog.New(slog.DiscardHandler), func() {}, &script{outcomes: c.outcomes})
				for range 100 {
					if _, err := b.Find(c.ctx, podero.Key{}); fault.Is(err, fault.UpstreamCircuitOpen) {
						t.Fatal("opened")
					}
					time.Sleep(c.pause)
				}
			})
		})
	}
}
