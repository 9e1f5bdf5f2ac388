package resilience

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

const (
	// minHeadroom is the multiple of the typical latency that a call keeps when it queues. Without it,
	// every call would start too late to finish under overload.
	minHeadroom = 1.5

	ewmaWindow = 16 // number of latencies that the moving average covers, about
)

// Limiter bounds the number of concurrent upstream requests. Calls beyond the limit wait for a slot
// in a FIFO queue, for half of their time at most. Singleflight bounds the length of the queue.
type Limiter struct {
	next podero.Finder

	mu       sync.Mutex
	adaptive *adaptiveLimit // nil if the limit is fixed
	limit    int
	inFlight int
	queue    list.List     // of chan struct{}, closed when the call gets a slot
	typical  time.Duration // latency of successful lookups; 0 before the first
}

// NewLimiter returns a Limiter in front of a Finder. A limit of 0 stands for one that adapts to the
// upstream's capacity, up to maxLimit.
func NewLimiter(limit, maxLimit int, next podero.Finder) *Limiter {
	l := &Limiter{next: next, limit: limit}
	if limit == 0 {
		l.adaptive = newAdaptiveLimit(maxLimit)
		l.limit = int(l.adaptive.limit)
	}
	return l
}

// Find finds the document once there is a slot.
func (l *Limiter) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	if err := l.acquire(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	result := notAttempted // if next panics
	defer func() { l.release(begun, result) }()
	message, err := l.next.Find(ctx, key)
	result = classify(err)
	if result == succeeded && ctx.Err() != nil {
		result = cut // too late for its callers
	}
	return message, err
}

// Limit returns the present limit.
func (l *Limiter) Limit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

// InFlight returns the number of lookups that have a slot.
func (l *Limiter) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight
}

// SlowStart lowers an adaptive limit to its minimum, for an upstream that has just recovered.
func (l *Limiter) SlowStart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.adaptive != nil {
		l.adaptive.lower(minLimit, time.Now())
		l.limit = int(l.adaptive.limit)
	}
}

// acquire waits for a slot.
func (l *Limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.inFlight < l.limit {
		l.inFlight++
		l.mu.Unlock()
		return nil
	}
	slot, queued := make(chan struct{}), time.Now()
	elem := l.queue.PushBack(slot)
	l.mu.Unlock()
	for ctx.Err() == nil {
		// The deadline of a coalesced lookup moves when a more patient caller joins.
		wait := l.maxWait(ctx, queued)
		if wait <= 0 {
			break
		}
		select {
		case <-slot:
			return nil
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return l.abandon(ctx, slot, elem)
}

// maxWait returns how much longer a queued call may wait for a slot.
func (l *Limiter) maxWait(ctx context.Context, queued time.Time) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return math.MaxInt64
	}
	l.mu.Lock()
	headroom := time.Duration(minHeadroom * float64(l.typical))
	l.mu.Unlock()
	headroom = max(headroom, deadline.Sub(queued)/2)
	return time.Until(deadline.Add(-headroom))
}

// abandon ends a wait, unless the call got a slot at the last moment.
func (l *Limiter) abandon(ctx context.Context, slot chan struct{}, elem *list.Element) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-slot:
		return nil
	default:
	}
	l.queue.Remove(elem)
	// A coalesced lookup outlives its deadline by a moment, until its callers have left.
	if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok && !time.Now().Before(deadline) {
		return fault.FromContext(ctx)
	}
	return fault.NewOverloaded(nil)
}

// release frees the slot of an attempt and hands all free slots to queued calls.
func (l *Limiter) release(begun time.Time, result outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learn(begun, result)
	l.inFlight--
	for l.inFlight < l.limit && l.queue.Len() > 0 {
		l.inFlight++
		close(l.queue.Remove(l.queue.Front()).(chan struct{}))
	}
}

// learn takes the outcome of an attempt into account. The caller holds l.mu.
func (l *Limiter) learn(begun time.Time, result outcome) {
	elapsed := time.Since(begun)
	switch result {
	case succeeded:
		if l.typical == 0 {
			l.typical = elapsed
		}
		l.typical += (elapsed - l.typical) / ewmaWindow
	case cut:
		if l.typical == 0 || elapsed < l.typical {
			return // the deadline was too short at any load
		}
	case failed, notAttempted:
		return
	}
	if l.adaptive != nil {
		l.adaptive.record(begun, result, l.inFlight)
		l.limit = int(l.adaptive.limit)
	}
}
