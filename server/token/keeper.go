// Package token gets the service's access tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4)
// and keeps them.
package token

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/renew"
	"example.com/podero-facade/server/secret"
)

const (
	// maxMargin is how long before its end a token is no longer handed out, at most. A token that lives
	// less than ten times as long loses a tenth of its life.
	maxMargin = 30 * time.Second

	// freshTime is how long it is no use to replace a token that Podero has never accepted and that was
	// itself a replacement: the next one would fare no better.
	freshTime = 5 * time.Second
)

// Keeper keeps one access token. Run renews it in the background, well before it expires, so that only
// the first calls wait for a token, and those after Podero revoked one.
type Keeper struct {
	endpoint *Endpoint
	renewal  *renew.Loop
	current  atomic.Pointer[grant]
	fetched  atomic.Int64
	failed   atomic.Int64

	mu       sync.Mutex
	next     *attempt // the request under way, or the next one
	replaces bool     // whether the next token replaces one that Podero refused
}

// grant is a token that the endpoint gave.
type grant struct {
	token    secret.Text
	asked    time.Time // by the monotonic clock, as all times here
	renew    time.Time // when to ask for the next one
	until    time.Time // when to stop handing it out
	replaces bool      // whether it was asked for because Podero refused another
	accepted atomic.Bool
}

// attempt is a token request. err is valid once done is closed.
type attempt struct {
	done chan struct{}
	err  error
}

func newAttempt() *attempt { return &attempt{done: make(chan struct{})} }

// NewKeeper returns a Keeper without a token. It gets one while Run runs.
func NewKeeper(endpoint *Endpoint, log *slog.Logger) *Keeper {
	return &Keeper{endpoint: endpoint, renewal: renew.New("access token", log), next: newAttempt()}
}

// Token returns a valid access token. If there is none, it waits for the next token request, but no
// longer than ctx allows. Its errors are *fault.Error.
func (k *Keeper) Token(ctx context.Context) (secret.Text, error) {
	for {
		if g := k.current.Load(); g != nil && time.Now().Before(g.until) {
			return g.token, nil
		}
		next := k.want()
		if next == nil {
			continue // a token came in between
		}
		select {
		case <-next.done:
			if next.err != nil {
				return secret.Text{}, next.err
			}
		case <-ctx.Done():
			return secret.Text{}, fault.FromContext(ctx)
		}
	}
}

// want asks for a token request and returns it, or nil if there is a token by now.
func (k *Keeper) want() *attempt {
	k.mu.Lock()
	defer k.mu.Unlock()
	if g := k.current.Load(); g != nil && time.Now().Before(g.until) {
		return nil
	}
	k.renewal.Want()
	return k.next
}

// Accepted says that Podero accepted the token.
func (k *Keeper) Accepted(token secret.Text) {
	if g := k.current.Load(); g != nil && g.token == token && !g.accepted.Load() {
		g.accepted.Store(true)
	}
}

// Refused says that Podero did not accept the token. If it is still the one that Token returns, it is
// forgotten. Refused reports whether another token may help.
func (k *Keeper) Refused(token secret.Text) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.current.Load()
	if g == nil || g.token != token {
		return true
	}
	if g.replaces && !g.accepted.Load() && time.Since(g.asked) < freshTime {
		return false
	}
	k.current.Store(nil)
	k.replaces = true
	return true
}

// Age returns how long ago the token was asked for, and 0 while there is none.
func (k *Keeper) Age() time.Duration {
	if g := k.current.Load(); g != nil {
		return time.Since(g.asked)
	}
	return 0
}

// Fetched returns how many tokens the endpoint has given so far.
func (k *Keeper) Fetched() int64 { return k.fetched.Load() }

// Failed returns how many token requests have failed so far.
func (k *Keeper) Failed() int64 { return k.failed.Load() }

// Run asks for tokens until ctx ends: for the first one at once, for the next one in time.
func (k *Keeper) Run(ctx context.Context) {
	k.renewal.Run(ctx, func(ctx context.Context) (time.Duration, error) {
		err := k.ask(ctx)
		return k.untilRenewal(), err
	})
}

// untilRenewal returns how long to wait before asking for the next token.
func (k *Keeper) untilRenewal() time.Duration {
	if g := k.current.Load(); g != nil {
		return time.Until(g.renew)
	}
	return 0 // Podero refused it already
}

// ask makes one token request and tells all that wait for it.
func (k *Keeper) ask(ctx context.Context) error {
	asked := time.Now()
	token, lifetime, err := k.endpoint.Fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.current.Store(&grant{
			token: token,
			asked: asked,
			// Not all replicas at the same time.
			renew:    asked.Add(lifetime/2 + rand.N(lifetime/10)),
			until:    asked.Add(lifetime - min(lifetime/10, maxMargin)),
			replaces: k.replaces,
		})
		k.replaces = false
		k.fetched.Add(1)
	} else {
		k.failed.Add(1)
	}
	k.renewal.Served()
	k.next.err = err
	close(k.next.done)
	k.next = newAttempt()
	return err
}
