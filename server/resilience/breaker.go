package resilience

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// When a Breaker opens, and how it tries to close (contract.md, section 6).
const (
	breakerSlices   = 10 // of a second each
	breakerAttempts = 20
	firstTrial      = 5 * time.Second
	nextTrial       = time.Second
)

// Breaker leaves Podero alone once it fails too often: at least half of 20 or more attempts within 10 s.
// It then answers at once, and lets one call through after 5 s and one a second from then on, until one
// succeeds.
type Breaker struct {
	next podero.Finder
	log  *slog.Logger

	mu     sync.Mutex
	epoch  time.Time
	slices [breakerSlices]slice // of the last 10 s, by second
	open   bool
	trial  time.Time // while open, when to let a call through
}

// slice is what happened in a second.
type slice struct{ second, attempts, failures int }

// NewBreaker returns a closed Breaker in front of a Finder.
func NewBreaker(log *slog.Logger, next podero.Finder) *Breaker {
	return &Breaker{next: next, log: log, epoch: time.Now()}
}

// Find finds the document, unless the breaker is open.
func (b *Breaker) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	trial, wait := b.admit()
	if wait > 0 {
		return nil, &fault.Error{Kind: fault.UpstreamCircuitOpen, RetryAfter: wait, Local: true, Final: true}
	}
	message, err := b.next.Find(ctx, key)
	if failed, counts := outcome(ctx, err); counts {
		b.record(trial, failed)
	}
	return message, err
}

// IsOpen reports whether callers are answered without asking Podero.
func (b *Breaker) IsOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// outcome reports whether an attempt failed for Podero's fault, and whether it says anything about Podero.
func outcome(ctx context.Context, err error) (failed, counts bool) {
	if err == nil {
		return false, true
	}
	failure := fault.From(err)
	if failure.Local || ctx.Err() != nil {
		return false, false
	}
	return failure.Kind == fault.UpstreamUnavailable || failure.Kind == fault.UpstreamTimeout, true
}

// admit reports whether a call is a trial, or how long callers have to wait.
func (b *Breaker) admit() (trial bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return false, 0
	}
	now := time.Now()
	if wait := b.trial.Sub(now); wait > 0 {
		return false, wait
	}
	b.trial = now.Add(nextTrial)
	return true, 0
}

func (b *Breaker) record(trial, failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open && trial && !failed:
		b.open, b.slices = false, [breakerSlices]slice{}
		b.log.Info("Podero answers again: breaker closed")
	case b.open: // what was under way when it opened says nothing new
	case b.tooMany(failed):
		b.open, b.trial = true, time.Now().Add(firstTrial)
		b.log.Warn("Podero fails too often: breaker opened")
	}
}

// tooMany counts an attempt and reports whether too many of the last ones failed.
func (b *Breaker) tooMany(failed bool) bool {
	second := int(time.Since(b.epoch) / time.Second)
	s := &b.slices[second%breakerSlices]
	if s.second != second {
		*s = slice{second: second}
	}
	s.attempts++
	if !failed {
		return false
	}
	s.failures++
	attempts, failures := 0, 0
	for _, s := range b.slices {
		if second-s.second < breakerSlices {
			attempts += s.attempts
			failures += s.failures
		}
	}
	return attempts >= breakerAttempts && 2*failures >= attempts
}
