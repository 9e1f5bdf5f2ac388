package resilience

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

const (
	maxIdle = 64 // goroutines that wait for a lookup to do

	// maxCalls bounds the calls that are in flight or wait: for admission, a token, a Retry-After or another call's
	// lookup. Each takes up to 30 KiB.
	maxCalls = 6 << 10
)

// Share makes one lookup of identical ones that are under way at the same time. Each caller keeps its own
// deadline and may leave; when the last one has left, the lookup ends. Lookups run in goroutines of their own,
// which are kept for the next ones: a new one would grow its stack anew, at a tenth of what a lookup costs.
type Share struct {
	next podero.Finder

	mu      sync.Mutex
	flights map[podero.Key]*flight
	calls   atomic.Int64
	shared  atomic.Int64

	running sync.WaitGroup
	waiting chan *flight // to a goroutine that is idle
	idle    atomic.Int32
	closed  chan struct{}
}

// NewShare returns a Share in front of a Finder.
func NewShare(next podero.Finder) *Share {
	return &Share{next: next, flights: map[podero.Key]*flight{}, waiting: make(chan *flight), closed: make(chan struct{})}
}

// flight is a lookup that is under way. It is the context of that lookup, too: its deadline is the
// latest of its callers', which changes as they join, and it ends when all have left.
type flight struct {
	context.Context
	cancel context.CancelCauseFunc
	share  *Share
	key    podero.Key

	callers  int       // guarded by share.mu
	deadline time.Time // guarded by share.mu

	done    chan struct{} // closed when message and err are valid
	message proto.Message
	err     error
}

// Deadline returns the latest deadline of the callers.
func (f *flight) Deadline() (time.Time, bool) {
	f.share.mu.Lock()
	defer f.share.mu.Unlock()
	return f.deadline, !f.deadline.IsZero()
}

// Find finds the document. ctx must have a deadline.
func (s *Share) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	f := s.join(ctx, key)
	if f == nil {
		return nil, &fault.Error{Kind: fault.Overloaded, RetryAfter: overloadRetryAfter, Local: true, Final: true}
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

// Shared returns how many lookups so far were answered with another's.
func (s *Share) Shared() int64 { return s.shared.Load() }

// Close waits for the lookups that no caller waits for any more. Call it once, after the last lookup.
func (s *Share) Close() {
	close(s.closed)
	s.running.Wait()
}

// join returns the flight of a key, which it begins if there is none. It returns nil if there are too many calls.
func (s *Share) join(ctx context.Context, key podero.Key) *flight {
	if s.calls.Add(1) > maxCalls {
		s.calls.Add(-1)
		return nil
	}
	deadline, _ := ctx.Deadline()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[key]; ok {
		f.callers++
		s.shared.Add(1)
		if deadline.After(f.deadline) {
			f.deadline = deadline
		}
		return f
	}
	f := &flight{share: s, key: key, callers: 1, deadline: deadline, done: make(chan struct{})}
	f.Context, f.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.flights[key] = f
	select {
	case s.waiting <- f:
	default:
		s.running.Go(func() { s.run(f) })
	}
	return f
}

// run does the lookup of a flight, and then those of others that come while the goroutine is idle.
func (s *Share) run(f *flight) {
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

// leave takes a caller off a flight. The last one ends it with the reason why it left, and it takes no other.
func (s *Share) leave(f *flight, reason error) {
	s.calls.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.callers--; f.callers == 0 {
		s.remove(f)
		f.cancel(reason)
	}
}

// remove makes the next lookup of a flight's key begin a flight of its own. The caller holds s.mu.
func (s *Share) remove(f *flight) {
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
}

// run does the lookup of a flight.
func (f *flight) run() {
	defer f.cancel(nil)
	defer close(f.done)
	defer func() {
		f.share.mu.Lock()
		f.share.remove(f)
		f.share.mu.Unlock()
	}()
	defer func() {
		// A panic here would end the process, as no interceptor is above this goroutine.
		if value := recover(); value != nil {
			f.message, f.err = nil, fault.New(fault.Internal, fmt.Errorf("panic of type %T\n%s", value, debug.Stack()))
		}
	}()
	f.message, f.err = f.share.next.Find(f, f.key)
}
