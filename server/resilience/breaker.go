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

const (
	breakerBuckets  = 10 // of a second each
	breakerAttempts = 20 // with fewer attempts, the breaker does not open
	firstProbe      = 5 * time.Second
	nextProbe       = time.Second
)

// Breaker is a circuit breaker. It opens when at least half of 20 or more attempts within 10 s
// fail. While it is open, calls fail at once, except for probes: one after 5 s, and one a second
// from then on. It closes when a probe succeeds.
type Breaker struct {
	next   podero.Finder
	log    *slog.Logger
	closed func()

	mu      sync.Mutex
	epoch   time.Time
	buckets [breakerBuckets]bucket // the last 10 s
	open    bool
	probe   time.Time // while open, when the next probe may begin

	cut       int // number of attempts cut so far
	resolved  int // value of cut at the last failure that spoke for others
	successes int
}

// ticket is the state of the Breaker when an attempt began.
type ticket struct {
	probe          bool // whether the attempt is a probe
	cut, successes int  // values of the Breaker's
}

// bucket counts the attempts of one second, by the time at which they ended.
type bucket struct{ second, attempts, failures int }

// NewBreaker returns a closed Breaker in front of a Finder. closed is called each time it closes
// again.
func NewBreaker(log *slog.Logger, closed func(), next podero.Finder) *Breaker {
	return &Breaker{next: next, log: log, closed: closed, epoch: time.Now()}
}

// Find finds the document, unless the breaker is open.
func (b *Breaker) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	ticket, wait := b.admit()
	if wait > 0 {
		return nil, &fault.Error{Kind: fault.UpstreamCircuitOpen, RetryAfter: wait, Local: true, Final: true}
	}
	message, err := b.next.Find(ctx, key)
	b.record(ticket, classify(err))
	return message, err
}

// IsOpen reports whether the breaker is open.
func (b *Breaker) IsOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// admit returns a ticket, or the time until the next probe.
func (b *Breaker) admit() (ticket, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return ticket{cut: b.cut, successes: b.successes}, 0
	}
	now := time.Now()
	if wait := b.probe.Sub(now); wait > 0 {
		return ticket{}, wait
	}
	b.probe = now.Add(nextProbe)
	return ticket{probe: true}, 0
}

// record takes the outcome of an attempt into account. An attempt that its callers cut has no
// result of its own. One that fails speaks for those that were cut while it ran, unless another
// attempt succeeded in that time: then the upstream is not dead, and the attempt fails alone.
func (b *Breaker) record(t ticket, result outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open: // only a probe's outcome matters
		if t.probe && result == succeeded {
			b.close()
		}
	case result == cut:
		b.cut++
	case result == succeeded:
		b.successes++
		b.count(1, 0)
	case result == failed, result == timedOut:
		failures := 1
		if b.successes == t.successes {
			failures += b.cut - max(b.resolved, t.cut)
			b.resolved = b.cut
		}
		if b.count(failures, failures) {
			b.open, b.probe = true, time.Now().Add(firstProbe)
			b.log.Warn("circuit breaker opened: too many failures")
		}
	}
}

// close closes the breaker. The caller holds b.mu.
func (b *Breaker) close() {
	b.open, b.buckets, b.resolved = false, [breakerBuckets]bucket{}, b.cut
	b.closed()
	b.log.Info("circuit breaker closed: probe succeeded")
}

// count adds attempts to the current bucket and reports whether the failures of the last 10 s are
// enough to open the breaker. The caller holds b.mu.
func (b *Breaker) count(attempts, failures int) bool {
	second := int(time.Since(b.epoch) / time.Second)
	current := &b.buckets[second%breakerBuckets]
	if current.second != second {
		*current = bucket{second: second}
	}
	current.attempts += attempts
	current.failures += failures
	if failures == 0 {
		return false
	}
	attempts, failures = 0, 0
	for _, recent := range b.buckets {
		if second-recent.second < breakerBuckets {
			attempts += recent.attempts
			failures += recent.failures
		}
	}
	return attempts >= breakerAttempts && 2*failures >= attempts
}
