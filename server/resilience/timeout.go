package resilience

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// callerReserve is how long before its caller's deadline a lookup ends, so that the error's status and details arrive
// in time. A lookup with little time ends when a tenth of it is left.
const callerReserve = 15 * time.Millisecond

// Timeout caps a lookup at a timeout of the service's own; a shorter caller deadline still applies. It sits behind the
// cache, because hits need no timeout.
type Timeout struct {
	next    podero.Finder
	timeout time.Duration
}

// NewTimeout returns a Timeout in front of a Finder.
func NewTimeout(timeout time.Duration, next podero.Finder) *Timeout { return &Timeout{next, timeout} }

// Find finds the document in time.
func (t *Timeout) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	timeout, isOwn := t.timeout, true
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left -= min(left/10, callerReserve); left < timeout {
			timeout, isOwn = left, false
		}
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	message, err := t.next.Find(bounded, key)
	if isOwn && bounded.Err() != nil && ctx.Err() == nil && fault.Is(err, fault.UpstreamTimeout) {
		err = final(err)
	}
	return message, err
}
