package exchange

import (
	"slices"
	"sync"
	"time"
)

// idle are the connections that wait for their next exchange, or the callers who wait for a connection. The connection
// that came last is the first to go, and the caller who came first.
type idle struct {
	most    int
	timeout time.Duration

	mu      sync.Mutex
	conns   []*conn
	waiting []chan *conn // each takes one without blocking
	timer   *time.Timer  // closes those that have waited for too long; nil while there are none
	closed  bool
}

// take returns a connection that is ready for an exchange until a deadline. If there is none, it returns nil, and the
// next that comes goes to waiter, unless that is nil.
func (i *idle) take(deadline time.Time, waiter chan *conn) *conn {
	for {
		c := i.pop(waiter)
		if c == nil || c.isReady(deadline) {
			return c
		}
		c.close()
	}
}

func (i *idle) pop(waiter chan *conn) *conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	last := len(i.conns) - 1
	if last < 0 {
		if waiter != nil {
			i.waiting = append(i.waiting, waiter)
		}
		return nil
	}
	c := i.conns[last]
	i.conns[last] = nil
	i.conns = i.conns[:last]
	return c
}

// leave takes back that waiter waits.
func (i *idle) leave(waiter chan *conn) {
	i.mu.Lock()
	if at := slices.Index(i.waiting, waiter); at >= 0 {
		i.waiting = slices.Delete(i.waiting, at, at+1)
	}
	i.mu.Unlock()
	select {
	case c := <-waiter:
		i.put(c)
	default:
	}
}

// put gives a connection to who waits for one, keeps it, or closes it if there are enough.
func (i *idle) put(c *conn) {
	c.since = time.Now()
	if !i.keep(c) {
		c.close()
	}
}

// keep does what put does, but reports whether the connection is not to be closed. That may take a while over TLS, and
// is done by no one who holds the lock.
func (i *idle) keep(c *conn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.closed:
		return false
	case len(i.waiting) > 0:
		i.waiting[0] <- c
		i.waiting = slices.Delete(i.waiting, 0, 1)
	case len(i.conns) >= i.most:
		return false
	default:
		i.conns = append(i.conns, c)
		if i.timer == nil {
			i.timer = time.AfterFunc(i.timeout, i.expire)
		}
	}
	return true
}

// expire closes the connections that have waited for too long.
func (i *idle) expire() {
	for _, c := range i.expired() {
		c.close()
	}
}

func (i *idle) expired() []*conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.timer = nil
	n := 0
	for n < len(i.conns) && time.Since(i.conns[n].since) >= i.timeout {
		n++
	}
	old := slices.Clone(i.conns[:n])
	i.conns = slices.Delete(i.conns, 0, n)
	if len(i.conns) > 0 && !i.closed {
		i.timer = time.AfterFunc(i.timeout-time.Since(i.conns[0].since), i.expire)
	}
	return old
}

// unlessClosed does what must not be done once all is closed, and reports whether it did.
func (i *idle) unlessClosed(do func()) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	do()
	return true
}

// close closes all connections, and those that come after.
func (i *idle) close() {
	i.mu.Lock()
	all := i.conns
	i.conns, i.closed = nil, true
	if i.timer != nil {
		i.timer.Stop()
	}
	i.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}
