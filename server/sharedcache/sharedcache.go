// Package sharedcache shares answers of Podero's between replicas, through Redis (contract.md, section 5:
// --cache-redis-url). Redis need not be there, and learns nothing of what it keeps.
package sharedcache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

const (
	readTimeout  = 5 * time.Millisecond // of a lookup that waits for Redis
	notFoundTime = 5 * time.Second      // as in package cache
	maxJobs      = 1024                 // exchanges that wait for a connection; what is more is left out
	rekeyEvery   = 10 * time.Second
)

// Cache answers a lookup with what any replica was answered. Whatever goes wrong with Redis is a miss.
type Cache struct {
	config Config
	log    *slog.Logger
	client redis.UniversalClient
	sealer atomic.Pointer[sealer]
	pause  pause
	jobs   chan func(context.Context)
	wait   time.Duration // how long a lookup waits for Redis

	hits, misses, failures atomic.Int64
}

// Config is what a Cache needs.
type Config struct {
	Next   podero.Finder
	URL    secret.Text // of Redis
	TTL    time.Duration
	Secret func() secret.Text // from which keys are derived; called every rekeyEvery, so that it may change
	Realm  string             // caches with the same secret and another realm share nothing
	Log    *slog.Logger
}

// New returns a Cache that has not connected to Redis yet. It shares something once it runs.
func New(config Config) (*Cache, error) {
	sealer, err := newSealer(config.Secret(), config.Realm)
	if err != nil {
		return nil, err
	}
	client, err := newClient(config.URL)
	if err != nil {
		return nil, err
	}
	c := &Cache{config: config, log: config.Log, client: client, jobs: make(chan func(context.Context), maxJobs), wait: readTimeout}
	c.sealer.Store(sealer)
	return c, nil
}

// Hits returns how many lookups so far were answered with what is in Redis.
func (c *Cache) Hits() int64 { return c.hits.Load() }

// Misses returns how many lookups so far had to be asked.
func (c *Cache) Misses() int64 { return c.misses.Load() }

// Failures returns how many exchanges with Redis failed or were left out, and how many entries could not be opened.
func (c *Cache) Failures() int64 { return c.failures.Load() }

// Close closes the connections to Redis.
func (c *Cache) Close() { _ = c.client.Close() }

// Run talks with Redis until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	for range connections {
		workers.Go(func() { c.work(ctx) })
	}
	ticker := time.NewTicker(rekeyEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.rekey()
		}
	}
}

// work does exchanges. They are no part of a lookup, because go-redis connects in the middle of one, which may well
// take longer than a lookup may wait, and would never be done with.
func (c *Cache) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-c.jobs:
			limited, cancel := context.WithTimeout(ctx, exchangeTimeout)
			do(limited)
			cancel()
		}
	}
}

// rekey derives keys anew if the client secret has changed.
func (c *Cache) rekey() {
	from := c.config.Secret()
	if from == c.sealer.Load().secret {
		return
	}
	if sealer, err := newSealer(from, c.config.Realm); err == nil {
		c.sealer.Store(sealer)
	}
}

// FindWithin finds the document in Redis, if an entry is there that is younger than maxAge, or behind it. It returns the
// age of an entry, and 0 for what was asked now.
func (c *Cache) FindWithin(ctx context.Context, key podero.Key, maxAge time.Duration) (proto.Message, time.Duration, error) {
	place, err := c.sealer.Load().place(key)
	if err != nil {
		return nil, 0, fault.New(fault.Internal, err)
	}
	if e, age, ok := c.read(ctx, place, key); ok && age < min(maxAge, e.ttl) {
		c.hits.Add(1)
		if e.message == nil {
			return nil, age, podero.NotFound(key)
		}
		return e.message, age, nil
	}
	c.misses.Add(1)
	asked := time.Now()
	message, err := c.config.Next.Find(ctx, key)
	switch {
	case err == nil:
		c.write(place, entry{asked, c.config.TTL, key.OrgID, message})
	case fault.Is(err, key.Resource.Missing):
		c.write(place, entry{asked, min(c.config.TTL, notFoundTime), key.OrgID, nil})
	case refuses(err):
		c.do(func(ctx context.Context) error { return c.client.Del(ctx, place.name).Err() })
	}
	return message, 0, err
}

// refuses reports whether Podero knows the lookup and does not give the document, so that no replica may any longer.
func refuses(err error) bool {
	switch fault.From(err).Kind {
	case fault.UpstreamForbidden, fault.UpstreamUnauthenticated, fault.UpstreamRejectedRequest, fault.UpstreamContractViolation:
		return true
	default:
		return false
	}
}

// read returns the entry at a place and its age.
func (c *Cache) read(ctx context.Context, place place, key podero.Key) (e entry, age time.Duration, ok bool) {
	if !c.pause.over() {
		return entry{}, 0, false
	}
	value, left, err := c.get(ctx, place.name)
	if ctx.Err() != nil { // which is nothing of Redis's
		return entry{}, 0, false
	}
	if changed := c.pause.note(err == nil); changed && err == nil {
		c.log.Info("the shared cache is used again")
	} else if changed {
		c.log.Warn("the shared cache can't be used", "error", describe(err))
	}
	if err != nil {
		c.failures.Add(1)
		return entry{}, 0, false
	}
	if value == "" || left == 0 {
		return entry{}, 0, false
	}
	e, err = place.open(value, key.Resource)
	if err != nil || e.orgID != key.OrgID {
		c.failures.Add(1)
		return entry{}, 0, false
	}
	// Clocks of replicas may differ. What has passed of the expiry does not depend on them; that somebody may have
	// changed, but not the time in the entry.
	return e, max(time.Since(e.asked), e.ttl-left, time.Millisecond), true
}

// get returns the value of a name and how much longer it is kept, in time for a lookup.
func (c *Cache) get(ctx context.Context, name string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	type result struct {
		value string
		left  time.Duration
		err   error
	}
	done := make(chan result, 1)
	select {
	case c.jobs <- func(connected context.Context) {
		if ctx.Err() != nil {
			return
		}
		value, left, err := get(connected, c.client, name)
		done <- result{value, left, err}
	}:
	default:
		return "", 0, errBusy
	}
	select {
	case r := <-done:
		return r.value, r.left, r.err
	case <-ctx.Done():
		return "", 0, errSlow
	}
}

var (
	errSlow = errors.New("no answer in time")
	errBusy = errors.New("too many exchanges wait")
)

// write keeps an answer for the time that is left of it.
func (c *Cache) write(place place, e entry) {
	c.do(func(ctx context.Context) error {
		sealed, err := place.seal(e)
		left := e.ttl - time.Since(e.asked)
		if err != nil || len(sealed) > maxValue || left < time.Millisecond {
			return err
		}
		return c.client.Set(ctx, place.name, sealed, left).Err()
	})
}

// do does an exchange for which nobody waits, unless Redis is left alone or has too many to do.
func (c *Cache) do(exchange func(context.Context) error) {
	if c.pause.until.Load() != nil {
		return
	}
	select {
	case c.jobs <- func(ctx context.Context) {
		if exchange(ctx) != nil {
			c.failures.Add(1)
		}
	}:
	default:
		c.failures.Add(1)
	}
}
