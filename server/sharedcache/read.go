package sharedcache

import (
	"context"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/podero"
)

// reading is the read of an entry that identical lookups in flight have in common. It lasts until the first
// of them ends, so that a document which many callers miss at the same time is read and written once,
// however long Podero takes. Each caller waits for it with its own context.
type reading struct {
	done   chan struct{} // closed when the rest is valid
	ok     bool          // whether there is an entry
	entry  entry
	age    time.Duration // of the entry, at the time at
	at     time.Time
	stored atomic.Bool // whether a caller has already stored the response
}

// join returns the reading of a lookup, which it begins if there is none.
func (c *Cache) join(place place, key podero.Key) *reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.readings[place.name]; ok {
		return r
	}
	r := &reading{done: make(chan struct{})}
	c.readings[place.name] = r
	c.running.Go(func() {
		defer close(r.done)
		defer recovery.Log(context.Background(), c.log)
		r.entry, r.age, r.ok = c.read(place, key)
		r.at = time.Now()
	})
	return r
}

// leave ends a reading for lookups to come.
func (c *Cache) leave(place place, r *reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readings[place.name] == r {
		delete(c.readings, place.name)
	}
}

// get returns the entry if it is younger than maxAge, and its age.
func (r *reading) get(maxAge time.Duration) (entry, time.Duration, bool) {
	age := r.age + time.Since(r.at)
	return r.entry, age, r.ok && age < min(maxAge, r.entry.ttl)
}
