// Package sharedcache shares answers of Podero's between replicas, through Redis (contract.md, section 5:
// --cache-redis-url). Redis need not be there, and learns nothing of what it keeps.
package sharedcache

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/liblog"
	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

const (
	readTimeout  = 5 * time.Millisecond // of a lookup that waits for Redis
	notFoundTime = 5 * time.Second      // as in package cache
	maxJobs      = 1024                 // exchanges that wait for a connection; what is more is left out
	upkeepEvery  = time.Second
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

	mu       sync.Mutex
	readings map[string]*reading // by name
	running  sync.WaitGroup      // of readings

	deletions deletions

	hits, misses, failures atomic.Int64
}

// Config is what a Cache needs.
type Config struct {
	Next   podero.Finder
	URL    secret.Text                    // of Redis
	Roots  func() (*x509.CertPool, error) // CAs by which Redis's certificate must verify; nil for the system's
	TTL    time.Duration
	Secret func() secret.Text // from which keys are derived; called every upkeepEvery, so that it may change
	Realm  string             // caches with the same secret and another realm share nothing
	Log    *slog.Logger
}

// New returns a Cache that has not connected to Redis yet. It shares something once it runs.
func New(config Config) (*Cache, error) {
	sealer, err := newSealer(config.Secret(), config.Realm)
	if err != nil {
		return nil, err
	}
	redis.SetLogger(liblog.New(config.Log, "go-redis"))
	client, err := newClient(config.URL, config.Roots)
	if err != nil {
		return nil, err
	}
	c := &Cache{
		config: config, log: config.Log, client: client, jobs: make(chan func(context.Context), maxJobs),
		wait: readTimeout, readings: map[string]*reading{},
	}
	c.sealer.Store(sealer)
	return c, nil
}

// Hits returns how many lookups so far were answered with what is in Redis.
func (c *Cache) Hits() int64 { return c.hits.Load() }

// Misses returns how many lookups so far had to be asked.
func (c *Cache) Misses() int64 { return c.misses.Load() }

// Failures returns how many exchanges with Redis failed or were left out, and how many entries could not be opened.
func (c *Cache) Failures() int64 { return c.failures.Load() }

// Close closes the connections to Redis. Call it after the last lookup.
func (c *Cache) Close() {
	c.running.Wait()
	_ = c.client.Close()
}

// Run talks with Redis until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	for range connections {
		workers.Go(func() { c.work(ctx) })
	}
	ticker := time.NewTicker(upkeepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.upkeep(ctx)
		}
	}
}

// upkeep does what has to be done every now and then. It sends pending deletions even while Redis is left
// alone, which makes them the first that Redis gets when it is back.
func (c *Cache) upkeep(ctx context.Context) {
	defer recovery.Log(ctx, c.log)
	c.rekey()
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	if c.deletions.send(ctx, c.client) != nil {
		c.failures.Add(1)
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
			c.exchange(ctx, do)
		}
	}
}

func (c *Cache) exchange(ctx context.Context, do func(context.Context)) {
	defer recovery.Log(ctx, c.log)
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	do(ctx)
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
	r := c.join(place, key)
	defer c.leave(place, r)
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, 0, fault.FromContext(ctx)
	}
	if e, age, ok := r.get(maxAge); ok {
		c.hits.Add(1)
		if e.message == nil {
			return nil, age, podero.NotFound(key)
		}
		return e.message, age, nil
	}
	c.misses.Add(1)
	fetched := time.Now()
	message, err := c.config.Next.Find(ctx, key)
	c.store(r, place, key, fetched, message, err)
	return message, 0, err
}

// store stores a response of Podero's, or deletes the entry that it denies, once for each reading.
func (c *Cache) store(r *reading, place place, key podero.Key, fetched time.Time, message proto.Message, err error) {
	found, missing, denied := err == nil && key.Matches(message), fault.Is(err, key.Resource.Missing), err != nil && refuses(err)
	if !found && !missing && !denied || !r.stored.CompareAndSwap(false, true) {
		return
	}
	switch {
	case found:
		c.write(place, entry{fetched, c.config.TTL, key.OrgID, message})
	case missing:
		c.write(place, entry{fetched, min(c.config.TTL, notFoundTime), key.OrgID, nil})
	default:
		c.deletions.add(place.name)
		c.do(func(ctx context.Context) error { return c.deletions.send(ctx, c.client) })
	}
}

// refuses reports whether Podero knows the lookup and does not give the document, so that no replica may any longer.
func refuses(err error) bool {
	if err == nil {
		return false
	}
	switch fault.From(err).Kind {
	case fault.UpstreamForbidden, fault.UpstreamUnauthenticated, fault.UpstreamRejectedRequest, fault.UpstreamContractViolation:
		return true
	default:
		return false
	}
}

// read returns the entry at a place and its age.
func (c *Cache) read(place place, key podero.Key) (e entry, age time.Duration, ok bool) {
	if c.deletions.has(place.name) || !c.pause.over() {
		return entry{}, 0, false
	}
	value, left, err := c.get(place.name)
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
	age = max(time.Since(e.asked), e.ttl-left, time.Millisecond)
	return e, age, !c.deletions.covers(place.name, time.Now().Add(-age))
}

// get returns the value of a name and how much longer it is kept, in time for a lookup.
func (c *Cache) get(name string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.wait)
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
		if c.deletions.covers(place.name, e.asked) {
			return nil
		}
		sealed, err := place.seal(e)
		left := e.ttl - time.Since(e.asked)
		if err != nil || len(sealed) > maxValue || left < time.Millisecond {
			return err
		}
		return set(ctx, c.client, place.name, sealed, left)
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
