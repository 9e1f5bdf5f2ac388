package caller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/deadline"
	"example.com/podero-facade/server/renew"
)

const (
	// refreshEvery is how often the keys are fetched, at least. It is how long a key that its issuer
	// withdrew works on.
	refreshEvery = 5 * time.Minute

	// earlyEvery is the least time between two early fetches, which are caused by tokens that no known
	// key verifies. Anybody can make such tokens.
	earlyEvery = 10 * time.Second

	// maxTrust is how long keys are trusted that can't be fetched again: meanwhile their issuer may have withdrawn them.
	maxTrust = 24 * time.Hour

	// maxWait is how long a call waits for keys.
	maxWait = time.Second
)

// keySet keeps the keys that an issuer signs with. run renews them in the background.
type keySet struct {
	issuer  *issuer
	log     *slog.Logger
	renewal *renew.Loop
	current atomic.Pointer[fetchedKeys] // nil until they were fetched once

	mu     sync.Mutex
	coming bool          // whether a fetch is under way or was asked for
	done   chan struct{} // closed after the fetch under way, or after the next one
	early  time.Time     // when a call that had keys last asked for a fetch before its time

	expired bool // whether the log says that the keys are trusted no longer
}

// fetchedKeys are the keys of one fetch.
type fetchedKeys struct {
	keys []jose.JSONWebKey
	at   time.Time
}

// age returns how long ago the keys were fetched, and 0 if they never were.
func (k *keySet) age() time.Duration {
	if current := k.current.Load(); current != nil {
		return time.Since(current.at)
	}
	return 0
}

func newKeySet(issuer *issuer, log *slog.Logger) *keySet {
	return &keySet{issuer: issuer, log: log, renewal: renew.New("keys of --jwt-issuer", log), done: make(chan struct{})}
}

// verify returns the payload of a token that one of the keys signed. If none did, the issuer may have
// replaced its keys: verify waits for new ones, but no longer than maxWait and ctx allow, and tries those.
// If the call's time ends first, the error is a *fault.Error.
func (k *keySet) verify(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	payload, err := k.tryKeys(token)
	if err == nil {
		return payload, nil
	}
	fetched, ended := k.wait(ctx)
	if ended != nil {
		return nil, ended
	}
	if !fetched {
		return nil, err
	}
	return k.tryKeys(token)
}

// tryKeys verifies a token with each of the keys that fit it.
func (k *keySet) tryKeys(token *jose.JSONWebSignature) ([]byte, error) {
	current := k.current.Load()
	if current == nil {
		return nil, errors.New("the issuer's keys could not be fetched yet")
	}
	if time.Since(current.at) > maxTrust {
		return nil, fmt.Errorf("the issuer's keys could not be fetched for %v", maxTrust)
	}
	err := errors.New("the issuer has no key of its kid and alg")
	for _, key := range current.keys {
		if !fits(key, token.Signatures[0].Header) {
			continue
		}
		payload, failed := token.Verify(key.Key)
		if failed == nil {
			return payload, nil
		}
		err = errors.New("its signature is wrong") // the library's errors quote the token
	}
	return nil, err
}

// fits reports whether a key has the header's kid, if that has one, and is not meant for another algorithm.
func fits(key jose.JSONWebKey, header jose.Header) bool {
	return (header.KeyID == "" || key.KeyID == header.KeyID) && (key.Algorithm == "" || key.Algorithm == header.Algorithm)
}

// wait waits for the fetch that is coming or, if one before its time is allowed, for that. It reports
// whether that fetch ended. If the call's time ends first, the error is a *fault.Error.
func (k *keySet) wait(ctx context.Context) (fetched bool, err error) {
	done := k.want()
	if done == nil {
		return false, nil
	}
	most, isCallers := deadline.Left(ctx, maxWait)
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
		return true, nil
	case <-timer.C:
		if isCallers {
			return false, fault.New(fault.UpstreamTimeout, context.DeadlineExceeded)
		}
		return false, nil
	case <-ctx.Done():
		return false, fault.FromContext(ctx)
	}
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
	} else if k.age() > maxTrust && !k.expired {
		k.expired = true
		k.log.ErrorContext(ctx, "keys of --jwt-issuer could not be fetched for too long: all bearer tokens are refused", "limit", maxTrust.String())
	}
	k.renewal.Served()
	k.coming = false
	close(k.done)
	k.done = make(chan struct{})
	return err
}

// store replaces the keys and logs how many there are if that is new.
func (k *keySet) store(ctx context.Context, keys []jose.JSONWebKey, ignored int) {
	k.expired = false
	if old := k.current.Swap(&fetchedKeys{keys, time.Now()}); old == nil || len(old.keys) != len(keys) {
		k.log.InfoContext(ctx, "keys of --jwt-issuer", "usable", len(keys), "ignored", ignored)
	}
}
