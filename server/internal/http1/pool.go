package http1

import (
	"slices"
	"sync"
	"time"
)

// maxSilence is the time, in addition to twice the last latency, for which reused connections may
// yield no response. After that, the connections that have been idle since before are assumed to be
// dead. It is longer than a round trip to another continent and a typical request's processing time
// together.
const maxSilence = 250 * time.Millisecond

// pool holds either idle connections or waiters for one. Connections are reused last in, first out;
// waiters are served first in, first out.
//
// Connections may die silently, all at the same time: a firewall loses its state, or a server
// hangs. The pool closes all suspects once a request on one of them gets no response, so that such
// a fault costs one attempt in all and not one attempt per connection.
type pool struct {
	maxIdle     int
	idleTimeout time.Duration

	mu      sync.Mutex
	idle    []*conn      // in the order in which they became idle
	waiters []chan *conn // each takes one connection without blocking
	timer   *time.Timer  // closes connections that are idle for too long; nil while there are none
	closed  bool

	unanswered time.Time     // first reuse of a connection since the last response; zero if none
	latency    time.Duration // of the last response
}

// get returns an idle connection that is ready for a request. If there is none, it returns nil and
// adds waiter to the queue, unless waiter is nil.
func (p *pool) get(now, deadline time.Time, waiter chan *conn) *conn {
	for {
		c, dead := p.pop(now, waiter)
		closeAll(dead)
		if c == nil || c.isReady(deadline) {
			return c
		}
		c.close()
	}
}

// pop returns the connection that became idle last, and dead connections, which the caller closes.
func (p *pool) pop(now time.Time, waiter chan *conn) (c *conn, dead []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unanswered.IsZero() && p.isTooLong(now.Sub(p.unanswered)) {
		dead = p.takeIdleBefore(p.unanswered)
	}
	for last := len(p.idle) - 1; last >= 0; last-- {
		c = p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if now.Before(c.expires) {
			p.noteReuse(c, now)
			return c, dead
		}
		dead = append(dead, c)
	}
	if waiter != nil {
		p.waiters = append(p.waiters, waiter)
	}
	return nil, dead
}

// noteReuse records that a connection is handed out. The caller holds p.mu.
func (p *pool) noteReuse(c *conn, now time.Time) {
	if c.used && p.unanswered.IsZero() {
		p.unanswered = now
	}
}

// isTooLong reports whether idle connections are suspects after a time without any response. The
// caller holds p.mu.
func (p *pool) isTooLong(silence time.Duration) bool { return silence > maxSilence+2*p.latency }

// takeIdleBefore removes and returns the connections that became idle before start. The caller
// holds p.mu.
func (p *pool) takeIdleBefore(start time.Time) []*conn {
	n := 0
	for n < len(p.idle) && p.idle[n].idleSince.Before(start) {
		n++
	}
	taken := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	return taken
}

// closeSuspects closes the connections that were idle when a request began that got no response on
// a reused connection. A request that was cut short by its context proves nothing, unless it had
// waited for too long by then.
func (p *pool) closeSuspects(start time.Time, cut bool) {
	p.mu.Lock()
	var dead []*conn
	if !cut || p.isTooLong(time.Since(start)) {
		dead = p.takeIdleBefore(start)
	}
	p.mu.Unlock()
	closeAll(dead)
}

// removeWaiter removes waiter from the queue and returns any connection it was handed to the pool.
func (p *pool) removeWaiter(waiter chan *conn) {
	p.mu.Lock()
	if at := slices.Index(p.waiters, waiter); at >= 0 {
		p.waiters = slices.Delete(p.waiters, at, at+1)
	}
	p.mu.Unlock()
	select {
	case c := <-waiter:
		p.put(c, 0, true)
	default:
	}
}

// put hands a connection to a waiter, keeps it idle, or closes it. latency is that of its response,
// 0 if there was none.
func (p *pool) put(c *conn, latency time.Duration, reusable bool) {
	now := time.Now()
	p.mu.Lock()
	if latency > 0 {
		p.unanswered, p.latency = time.Time{}, latency
	}
	kept := reusable && p.keep(c, now)
	p.mu.Unlock()
	if !kept { // without the lock, as closing TLS may take a while
		c.close()
	}
}

// keep hands a connection to a waiter or keeps it idle, and reports whether it did either. The
// caller holds p.mu.
func (p *pool) keep(c *conn, now time.Time) bool {
	switch {
	case p.closed || !now.Before(c.expires):
		return false
	case len(p.waiters) > 0:
		p.noteReuse(c, now)
		p.waiters[0] <- c
		p.waiters = slices.Delete(p.waiters, 0, 1)
	case len(p.idle) >= p.maxIdle:
		return false
	default:
		c.idleSince = now
		p.idle = append(p.idle, c)
		if p.timer == nil {
			p.timer = time.AfterFunc(p.due(c).Sub(now), p.closeDue)
		}
	}
	return true
}

// due returns the time at which an idle connection is closed.
func (p *pool) due(c *conn) time.Time {
	if due := c.idleSince.Add(p.idleTimeout); due.Before(c.expires) {
		return due
	}
	return c.expires
}

// closeDue closes the connections that are due.
func (p *pool) closeDue() {
	now := time.Now()
	isDue := func(c *conn) bool { return !now.Before(p.due(c)) }
	p.mu.Lock()
	var due []*conn
	for _, c := range p.idle {
		if isDue(c) {
			due = append(due, c)
		}
	}
	p.idle = slices.DeleteFunc(p.idle, isDue)
	p.timer = nil
	if len(p.idle) > 0 {
		next := p.due(slices.MinFunc(p.idle, func(a, b *conn) int { return p.due(a).Compare(p.due(b)) }))
		p.timer = time.AfterFunc(next.Sub(now), p.closeDue)
	}
	p.mu.Unlock()
	closeAll(due)
}

// unlessClosed calls a function unless the pool is closed, and reports whether it did.
func (p *pool) unlessClosed(do func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	do()
	return true
}

// close closes all idle connections. Connections that are put back later are closed, too.
func (p *pool) close() {
	p.mu.Lock()
	all := p.idle
	p.idle, p.closed = nil, true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	closeAll(all)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
