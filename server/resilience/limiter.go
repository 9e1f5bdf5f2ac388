package resilience

import (
	"container/list"
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

const (
	// A call waits for its turn up to patience, or up to impatience once others have waited for that
	// long without a break: then the queue is no burst, and would only make all late. It never waits for
	// more than half of its time, nor until less is left than enough times what lookups usually take: those that
	// wait in an overload wait as long as they may, and would all begin too late.
	patience   = 2 * time.Second
	impatience = 500 * time.Millisecond
	enough     = 1.5

	averaged = 16 // lookups that make what is usual, about

	overloadedFor = time.Second // what callers are told to wait

	maxQueue = 4096 // calls that wait; each takes some kilobytes
)

// Limiter bounds how many lookups ask Podero at the same time.
type Limiter struct {
	next podero.Finder

	mu       sync.Mutex
	pacer    *pacer // nil for a fixed limit
	limit    int
	inFlight int
	queue    list.List     // of chan struct{}: who waits, the first in front
	standing time.Time     // since when there is a queue
	usual    time.Duration // what lookups take that are not late
}

// NewLimiter returns a Limiter in front of a Finder. A limit of 0 adapts to what Podero
// bears; timeout is that of an attempt.
func NewLimiter(limit int, timeout time.Duration, next podero.Finder) *Limiter {
	l := &Limiter{next: next, limit: limit}
	if limit == 0 {
		l.pacer = newPacer(timeout)
		l.limit = l.pacer.limit
	}
	return l
}

// Find finds the document when its turn comes.
func (l *Limiter) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	if err := l.acquire(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	completed := false
	defer func() {
		if !completed { // a panic
			l.release(begun, neutral)
		}
	}()
	message, err := l.next.Find(ctx, key)
	completed = true
	l.release(begun, l.resultOf(ctx, begun, err))
	return message, err
}

// Limit returns how many lookups may ask Podero at the same time, at present.
func (l *Limiter) Limit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

// InFlight returns how many lookups are asking Podero.
func (l *Limiter) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight
}

// resultOf returns what an attempt says about the load that Podero bears.
func (l *Limiter) resultOf(ctx context.Context, begun time.Time, err error) result {
	if err == nil {
		return inTime
	}
	now := time.Now()
	if deadline, ok := ctx.Deadline(); ok && !now.Before(deadline) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.usual == 0 || now.Sub(begun) < l.usual {
			return neutral // the callers' time was too short, which says nothing about Podero's
		}
		return outOfTime
	}
	switch {
	case ctx.Err() != nil:
		return neutral // the callers left
	case fault.Is(err, fault.UpstreamTimeout):
		return late
	default:
		return inTime
	}
}

// acquire waits for a turn.
func (l *Limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.inFlight < l.limit {
		l.inFlight++
		l.mu.Unlock()
		return nil
	}
	if l.queue.Len() == 0 {
		l.standing = time.Now()
	}
	wait := l.longest(ctx)
	if wait <= 0 || l.queue.Len() >= maxQueue {
		defer l.mu.Unlock()
		return l.turnAway(ctx)
	}
	turn := make(chan struct{})
	place := l.queue.PushBack(turn)
	l.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return l.giveUp(ctx, turn, place)
}

// longest returns how long a call may wait for its turn. The caller holds l.mu.
func (l *Limiter) longest(ctx context.Context) time.Duration {
	wait := patience
	if time.Since(l.standing) > patience {
		wait = impatience
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		wait = min(wait, left/2, left-time.Duration(enough*float64(l.usual)))
	}
	return wait
}

// giveUp ends a wait, unless the turn came at the last moment.
func (l *Limiter) giveUp(ctx context.Context, turn chan struct{}, place *list.Element) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-turn:
		return nil
	default:
	}
	l.queue.Remove(place)
	return l.turnAway(ctx)
}

// turnAway returns why a call gets no turn. The caller holds l.mu.
func (l *Limiter) turnAway(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.Ended(err)
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) { // a shared lookup's ends a moment later
		return fault.Ended(context.DeadlineExceeded)
	}
	if l.pacer != nil {
		l.pacer.round.refused = true
	}
	return &fault.Error{Kind: fault.Overloaded, RetryAfter: overloadedFor, Local: true, Final: true}
}

// release ends an attempt, and gives its place and what the limit has grown by to those who wait.
func (l *Limiter) release(begun time.Time, r result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == inTime {
		l.average(time.Since(begun))
	}
	if l.pacer != nil {
		l.limit = l.pacer.ended(begun, r, l.inFlight)
	}
	l.inFlight--
	for l.inFlight < l.limit && l.queue.Len() > 0 {
		l.inFlight++
		close(l.queue.Remove(l.queue.Front()).(chan struct{}))
	}
}

// average notes what a lookup took. The caller holds l.mu.
func (l *Limiter) average(took time.Duration) {
	if l.usual == 0 {
		l.usual = took
	}
	l.usual += (took - l.usual) / averaged
}
