package resilience

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

const (
	maxBlock       = 60 * time.Second // longest time for which calls are rejected
	shortBlock     = 2 * time.Second  // longest wait after which Retry may try again
	maxCredentials = 4096             // callers' tokens that are blocked; with more, all are forgotten
)

// RateLimit enforces the upstream's rate limit: after a response with status 429 and a Retry-After
// header, calls with the same credential are rejected without a request until that time is over.
type RateLimit struct {
	next podero.Finder

	mu    sync.Mutex
	until map[secret.Text]time.Time // by callers' token; empty for the service's own credentials
}

// NewRateLimit returns a RateLimit in front of a Finder.
func NewRateLimit(next podero.Finder) *RateLimit {
	return &RateLimit{next: next, until: map[secret.Text]time.Time{}}
}

// Find finds the document, unless calls with the key's credential are blocked.
func (r *RateLimit) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	if wait := r.left(key.Token); wait > 0 {
		return nil, &fault.Error{
			Kind: fault.UpstreamRateLimited, RetryAfter: wait, Local: true, Final: true,
			Transient: wait <= shortBlock, NotBefore: wait,
		}
	}
	message, err := r.next.Find(ctx, key)
	if fault.Is(err, fault.UpstreamRateLimited) {
		r.block(key.Token, fault.From(err).NotBefore)
	}
	return message, err
}

// left returns how much longer a credential is blocked.
func (r *RateLimit) left(credential secret.Text) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.until[credential]
	if !ok {
		return 0
	}
	wait := time.Until(until)
	if wait <= 0 {
		delete(r.until, credential)
	}
	return wait
}

// block rejects calls with a credential for a time. It never shortens an earlier block.
func (r *RateLimit) block(credential secret.Text, wait time.Duration) {
	if wait <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.until) >= maxCredentials {
		clear(r.until)
	}
	if until := time.Now().Add(min(wait, maxBlock)); until.After(r.until[credential]) {
		r.until[credential] = until
	}
}
