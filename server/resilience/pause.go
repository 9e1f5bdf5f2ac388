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
	maxHold   = 60 * time.Second
	shortHold = 2 * time.Second // of that length, a call may wait
	maxHolds  = 4096            // of callers' tokens; more are forgotten
)

// Pause respects a 429's wait on behalf of all calls with the same credential: until it is over, they
// fail without asking Podero.
type Pause struct {
	next podero.Finder

	mu    sync.Mutex
	until map[secret.Text]time.Time // by callers' token; empty for the service's own credentials
}

// NewPause returns a Pause in front of a Finder.
func NewPause(next podero.Finder) *Pause {
	return &Pause{next: next, until: map[secret.Text]time.Time{}}
}

// Find finds the document, unless Podero said to wait.
func (p *Pause) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	if wait := p.left(key.Token); wait > 0 {
		return nil, &fault.Error{
			Kind: fault.UpstreamRateLimited, RetryAfter: wait, Local: true, Final: true,
			Transient: wait <= shortHold, NotBefore: wait,
		}
	}
	message, err := p.next.Find(ctx, key)
	if fault.Is(err, fault.UpstreamRateLimited) {
		p.hold(key.Token, fault.From(err).NotBefore)
	}
	return message, err
}

// left returns how long a credential has to wait.
func (p *Pause) left(credential secret.Text) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.until[credential]
	if !ok {
		return 0
	}
	wait := time.Until(until)
	if wait <= 0 {
		delete(p.until, credential)
	}
	return wait
}

// hold makes a credential wait.
func (p *Pause) hold(credential secret.Text, wait time.Duration) {
	if wait <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.until) >= maxHolds {
		clear(p.until)
	}
	if until := time.Now().Add(min(wait, maxHold)); until.After(p.until[credential]) {
		p.until[credential] = until
	}
}
