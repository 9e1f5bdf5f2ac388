package resilience

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/deadline"
	"example.com/podero-facade/server/podero"
)

// Timeout caps the time of a lookup. A lookup also ends a moment before its caller's deadline, so
// that the error arrives in time. Timeout sits behind the cache, because hits need no timeout.
type Timeout struct {
	next    podero.Finder
	timeout time.Duration
}

// NewTimeout returns a Timeout in front of a Finder.
func NewTimeout(timeout time.Duration, next podero.Finder) *Timeout { return &Timeout{next, timeout} }

// Find finds the document, or returns UPSTREAM_TIMEOUT once the time is over.
func (t *Timeout) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	timeout, isCallers := deadline.Left(ctx, t.timeout)
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	message, err := t.next.Find(bounded, key)
	if !isCallers && bounded.Err() != nil && ctx.Err() == nil && fault.Is(err, fault.UpstreamTimeout) {
		err = final(err)
	}
	return message, err
}
