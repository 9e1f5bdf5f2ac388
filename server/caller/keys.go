package caller

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/renew"
	"github.com/go-jose/go-jose/v4"
)

const (
	// refreshEvery is how often the keys are fetched, at least. It is how long a key that its issuer
	// withdrew works on.
	refreshEvery = 5 * time.Minute

	// earlyEvery is how often a token with an unknown key may cause a fetch before its time, at most.
	// Anybody can make such tokens.
	earlyEvery = 10 * time.Second

	// maxWait is how long a call waits for keys.
	maxWait = time.Second
)

// keySet keeps the keys that an issuer signs with. run renews them in the background.
type keySet struct {
	issuer  *issuer
	log     *slog.Logger
	renewal *renew.Loop
	current atomic.Pointer[[]jose.JSONWebKey] // nil until they were fetched once

	mu     sync.Mutex
	coming bool          // whether a fetch is under way or was asked for
	done   chan struct{} // closed after the fetch under way, or after the next one
	early  time.Time     // when a call that had keys last asked for a fetch before its time
}

func newKeySet(issuer *issuer, log *slog.Logger) *keySet {
	return &keySet{issuer: issuer, log: log, renewal: renew.New("keys of --jwt-issuer", log), done: make(chan struct{})}
}

// find returns the keys that may have signed a token with the given header. If there is none, it waits for
// new keys, but no longer than maxWait and ctx allow. If ctx ends, the error is its.
func (k *keySet) find(ctx context.Context, header jose.Header) ([]jose.JSONWebKey, error) {
	keys := k.fitting(header)
	if len(keys) > 0 {
		return keys, nil
	}
	if err := k.wait(ctx); err != nil {
		return nil, err
	}
	keys = k.fitting(header)
	switch {
	case len(keys) > 0:
		return keys, nil
	case k.current.Load() == nil:
		return nil, errors.New("the issuer's keys could not be fetched yet")
	default:
		return nil, errors.New("the issuer has no key of its kid and alg")
	}
}

// fitting returns the keys with the header's kid, if it has one, that are not meant for another algorithm.
func (k *keySet) fitting(header jose.Header) []jose.JSONWebKey {
	current := k.current.Load()
	if current == nil {
		return nil
	}
	var keys []jose.JSONWebKey
	for _, key := range *current {
		if (header.KeyID == "" || key.KeyID == header.KeyID) && (key.Algorithm == "" || key.Algorithm == header.Algorithm) {
			keys = append(keys, key)
		}
	}
	return keys
}

// wait waits for the fetch that is coming or, if one before its time is allowed, for that. It returns the
// error of ctx if that ended first.
func (k *keySet) wait(ctx context.Context) error {
	done := k.want()
	if done == nil {
		return nil
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// want returns what is closed after the fetch that is coming. If none is, it asks for one; if it may not,
// it returns nil.
func (k *keySet) want() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.coming {
		return k.done
	}
	if k.current.Load() != nil {
		if time.Since(k.early) < earlyEvery {
			return nil
		}
		k.early = time.Now()
	}
	k.coming = true
	k.renewal.Want()
	return k.done
}

// run fetches the keys until ctx ends.
func (k *keySet) run(ctx context.Context) {
	k.renewal.Run(ctx, func(ctx context.Context) (time.Duration, error) {
		return refreshEvery - rand.N(refreshEvery/10), k.fetch(ctx) // not all replicas at the same time
	})
}

// fetch fetches the keys once and tells all that wait for them.
func (k *keySet) fetch(ctx context.Context) error {
	k.mu.Lock()
	k.coming = true
	k.mu.Unlock()
	keys, ignored, err := k.issuer.fetch(ctx)

	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.store(ctx, keys, ignored)
	}
	k.renewal.Served()
	k.coming = false
	close(k.done)
	k.done = make(chan struct{})
	return err
}

// store replaces the keys and logs how many there are if that is new.
func (k *keySet) store(ctx context.Context, keys []jose.JSONWebKey, ignored int) {
	if old := k.current.Swap(&keys); old == nil || len(*old) != len(keys) {
		k.log.InfoContext(ctx, "keys of --jwt-issuer", "usable", len(keys), "ignored", ignored)
	}
}
