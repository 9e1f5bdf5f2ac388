package resilience

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// Timeout gives a lookup as much time as is left to its caller, and no more than its own. It stands behind the cache,
// as what is in there takes no time.
type Timeout struct {
	next    podero.Finder
	timeout time.Duration
}

// NewTimeout returns a Timeout in front of a Finder.
func NewTimeout(timeout time.Duration, next podero.Finder) *Timeout { return &Timeout{next, timeout} }

// Find finds the document in time.
func (t *Timeout) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	bounded, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	message, err := t.next.Find(bounded, key)
	if bounded.Err() != nil && ctx.Err() == nil && fault.Is(err, fault.UpstreamTimeout) {
		err = final(err) // a limit of ours
	}
	return message, err
}
