package resilience

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/podero"
)

const (
	maxIdle = 64 // idle goroutines that are kept for the next lookups

	// maxCalls bounds the calls that are in flight or wait: for a slot of the Limiter, for an access
	// token, for the end of a Retry-After, or for another call's lookup. Each takes up to 30 KiB.
	maxCalls = 6 << 10
)

// Singleflight coalesces identical concurrent lookups into one. Each caller keeps its own deadline
// and may leave; when the last one has left, the lookup is cancelled. Lookups run in goroutines of
// their own, which are reused: a new goroutine would first grow its stack, at a tenth of a lookup's
// cost.
type Singleflight struct {
	next podero.Finder

	mu        sync.Mutex
	flights   map[podero.Key]*flight
	calls     atomic.Int64
	coalesced atomic.Int64

	running sync.WaitGroup
	waiting chan *flight // to an idle goroutine
	idle    atomic.Int32
	closed  chan struct{}
}

// NewSingleflight returns a Singleflight in front of a Finder.
func NewSingleflight(next podero.Finder) *Singleflight {
	return &Singleflight{
		next: next, flights: map[podero.Key]*flight{},
		waiting: make(chan *flight), closed: make(chan struct{}),
	}
}

// flight is a lookup in flight, and the context of that lookup. Its deadline is the latest of its
// callers' deadlines and moves as callers join. It is cancelled when the last caller has left.
type flight struct {
	context.Context
	cancel context.CancelCauseFunc
	group  *Singleflight
	key    podero.Key

	callers  int       // guarded by group.mu
	deadline time.Time // guarded by group.mu

	done    chan struct{} // closed when message and err are valid
	message proto.Message
	err     error
}

// Deadline returns the latest deadline of the callers.
func (f *flight) Deadline() (time.Time, bool) {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	return f.deadline, !f.deadline.IsZero()
}

// Find finds the document. ctx must have a deadline.
func (s *Singleflight) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	f := s.join(ctx, key)
	if f == nil {
		return nil, fault.NewOverloaded(nil)
	}
	select {
	case <-f.done:
		s.calls.Add(-1)
		return f.message, f.err
	case <-ctx.Done():
		failure, reason := fault.FromContext(ctx), context.Canceled
		if failure.Kind == fault.UpstreamTimeout {
			reason = context.DeadlineExceeded
		}
		s.leave(f, reason)
		return nil, failure
	}
}

// Coalesced returns how many calls have joined the lookup of another call so far.
func (s *Singleflight) Coalesced() int64 { return s.coalesced.Load() }

// Close waits for lookups that go on although their callers have left. Call it once, after the last
// lookup.
func (s *Singleflight) Close() {
	close(s.closed)
	s.running.Wait()
}

// join returns the flight of a key and starts one if there is none. It returns nil if there are too
// many calls.
func (s *Singleflight) join(ctx context.Context, key podero.Key) *flight {
	if s.calls.Add(1) > maxCalls {
		s.calls.Add(-1)
		return nil
	}
	deadline, _ := ctx.Deadline()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[key]; ok {
		f.callers++
		s.coalesced.Add(1)
		if deadline.After(f.deadline) {
			f.deadline = deadline
		}
		return f
	}
	f := &flight{group: s, key: key, callers: 1, deadline: deadline, done: make(chan struct{})}
	f.Context, f.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.flights[key] = f
	select {
	case s.waiting <- f:
	default:
		s.running.Go(func() { s.run(f) })
	}
	return f
}

// run does the lookup of a flight, and then those of later flights while few goroutines are idle.
func (s *Singleflight) run(f *flight) {
	for {
		f.run()
		if s.idle.Add(1) > maxIdle {
			s.idle.Add(-1)
			return
		}
		select {
		case f = <-s.waiting:
			s.idle.Add(-1)
		case <-s.closed:
			return
		}
	}
}

// leave removes a caller from a flight. The last caller cancels the flight with the reason why it
// left; no other call can join it from then on.
func (s *Singleflight) leave(f *flight, reason error) {
	s.calls.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.callers--; f.callers == 0 {
		s.remove(f)
		f.cancel(reason)
	}
}

// remove forgets a flight, so that the next lookup of its key starts a new one. The caller holds
// s.mu.
func (s *Singleflight) remove(f *flight) {
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
}

// run does the lookup of a flight.
func (f *flight) run() {
	defer f.cancel(nil)
	defer close(f.done)
	defer func() {
		f.group.mu.Lock()
		f.group.remove(f)
		f.group.mu.Unlock()
	}()
	defer func() {
		// A panic here would end the process, as no interceptor is above this goroutine.
		if value := recover(); value != nil {
			f.message, f.err = nil, fault.New(fault.Internal, recovery.Error(value))
		}
	}()
	f.message, f.err = f.group.next.Find(f, f.key)
}
