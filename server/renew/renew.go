// Package renew keeps something that expires fresh in the background, such as an access token or the keys
// of an issuer: before its time, after failures with a backoff, and early if somebody asks.
package renew

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"example.com/podero-facade/server/internal/recovery"
)

// After a failure, the next attempt waits for a random part of a time that doubles from firstPause: up to
// maxPause while nobody asks, and up to maxWantedPause when somebody does.
const (
	firstPause     = 100 * time.Millisecond
	maxWantedPause = time.Second
	maxPause       = 30 * time.Second
)

// Loop renews something. Create it with New.
type Loop struct {
	what   string // for the log
	log    *slog.Logger
	wanted chan struct{} // has an element while somebody asks for a renewal before its time
}

// New returns a Loop. what names in the log what it renews.
func New(what string, log *slog.Logger) *Loop {
	return &Loop{what: what, log: log, wanted: make(chan struct{}, 1)}
}

// Want asks for a renewal before its time.
func (l *Loop) Want() {
	select {
	case l.wanted <- struct{}{}:
	default: // somebody did already
	}
}

// Served says that a renewal served whoever asked so far.
func (l *Loop) Served() {
	select {
	case <-l.wanted:
	default:
	}
}

// Run renews until ctx ends: at once, and then again after the time that renew returns. Failures are
// logged once, until a renewal succeeds.
func (l *Loop) Run(ctx context.Context, renew func(context.Context) (next time.Duration, err error)) {
	failures := 0
	for ctx.Err() == nil {
		next, err := l.try(ctx, renew)
		if err == nil {
			if failures > 0 {
				l.log.InfoContext(ctx, l.what+": fetched again", "failures", failures)
			}
			failures = 0
			l.rest(ctx, next, 0)
			continue
		}
		if failures++; failures == 1 && ctx.Err() == nil {
			l.log.WarnContext(ctx, l.what+": can't be fetched", "error", err.Error())
		}
		l.rest(ctx, pause(failures, maxPause), pause(failures, maxWantedPause))
	}
}

// try renews once. A panic is a failure.
func (l *Loop) try(ctx context.Context, renew func(context.Context) (time.Duration, error)) (next time.Duration, err error) {
	returned := false
	defer func() {
		if !returned {
			err = errPanic
		}
	}()
	defer recovery.Log(ctx, l.log)
	next, err = renew(ctx)
	returned = true
	return next, err
}

var errPanic = errors.New("a panic, see the log")

// rest waits for the longest time or, after the least time, for somebody who asks.
func (l *Loop) rest(ctx context.Context, longest, least time.Duration) {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-time.After(least):
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-l.wanted:
	}
}

// pause returns how long to wait after a number of failures: exponential, with full jitter.
func pause(failures int, most time.Duration) time.Duration {
	return rand.N(min(most, firstPause<<min(failures, 16)))
}
