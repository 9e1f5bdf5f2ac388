// Package resilience provides the Finders that protect lookups against failures and overload of the
// upstream, and the upstream against too many requests. Each wraps the next Finder of the chain.
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
	minAttempt   = 5 * time.Millisecond // no attempt can finish in less
)

// Retry repeats attempts that failed transiently, with exponential backoff and full jitter, within
// the caller's deadline and within a budget over all calls.
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
	r.budget.deposit()
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
		if attempt >= r.maxAttempts || !fits(ctx, wait+minAttempt) || !failure.Local && !r.budget.withdraw() {
			return nil, final(failure)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// final returns a copy of a failure that tells callers not to try again.
func final(err error) *fault.Error {
	failure := *fault.From(err)
	failure.Final = true
	return &failure
}

// fits reports whether a duration ends before ctx's deadline.
func fits(ctx context.Context, duration time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > duration
}

// sleep waits. It returns an error if ctx ends first.
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

// budget is a token bucket of retries. Over any time there are at most 0.2 retries per call, plus
// 10.
type budget struct {
	mu      sync.Mutex
	retries float64 // that are left
}

// deposit adds the retries that one call brings.
func (b *budget) deposit() {
	b.mu.Lock()
	b.retries = min(b.retries+retriesPerCall, maxBudget)
	b.mu.Unlock()
}

// withdraw takes one retry and reports whether there was one.
func (b *budget) withdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.retries < 1 {
		return false
	}
	b.retries--
	return true
}
