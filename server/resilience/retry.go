// Package resilience is Finders that keep a lookup from failing, or from being slow, where that can be
// avoided (contract.md, section 6). Each wraps the Finder behind it; one that is left out is off.
package resilience

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

const (
	firstBackoff = 100 * time.Millisecond // doubles with each attempt
	maxBackoff   = 2 * time.Second
	leastAttempt = 5 * time.Millisecond // in less, no attempt ends
)

// Retry tries again what failed for a moment: with exponential backoff and full jitter, within the
// caller's time, and within a budget over all calls.
type Retry struct {
	next        podero.Finder
	maxAttempts int
	budget      budget
}

// NewRetry returns a Retry in front of a Finder. maxAttempts counts the first attempt.
func NewRetry(maxAttempts int, next podero.Finder) *Retry {
	return &Retry{next: next, maxAttempts: maxAttempts, budget: budget{retries: maxBudget}}
}

// Find finds the document.
func (r *Retry) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	r.budget.call()
	for attempt := 1; ; attempt++ {
		message, err := r.next.Find(ctx, key)
		if err == nil {
			return message, nil
		}
		failure := fault.From(err)
		if !failure.Transient {
			if attempt > 1 && failure.Kind == fault.UpstreamUnavailable {
				return nil, final(failure)
			}
			return nil, failure
		}
		wait := failure.NotBefore + rand.N(min(firstBackoff<<min(attempt-1, 10), maxBackoff))
		if attempt >= r.maxAttempts || !fits(ctx, wait+leastAttempt) || !failure.Local && !r.budget.retry() {
			return nil, final(failure)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// final returns a failure, which others may share, as one that no caller is to try again.
func final(err error) *fault.Error {
	failure := *fault.From(err)
	failure.Final = true
	return &failure
}

// fits reports whether what takes some time ends before ctx's deadline.
func fits(ctx context.Context, duration time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > duration
}

// sleep waits, and returns an error if ctx ends before.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fault.FromContext(ctx)
	}
}

const (
	retriesPerCall = 0.2
	maxBudget      = 10
)

// budget bounds retries: over any time there are at most 0.2 for each call, and 10.
type budget struct {
	mu      sync.Mutex
	retries float64 // how many are left
}

// call adds what a call is good for.
func (b *budget) call() {
	b.mu.Lock()
	b.retries = min(b.retries+retriesPerCall, maxBudget)
	b.mu.Unlock()
}

// retry takes a retry, and reports whether there was one.
func (b *budget) retry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.retries < 1 {
		return false
	}
	b.retries--
	return true
}
