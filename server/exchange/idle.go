package exchange

import (
	"slices"
	"sync"
	"time"
)

// idle are the connections that wait for their next exchange. The one that came last is the first to go.
type idle struct {
	most    int
	timeout time.Duration

	mu     sync.Mutex
	conns  []*conn
	timer  *time.Timer // closes those that have waited for too long; nil while there are none
	closed bool
}

// take returns a connection on which nothing has come since its last answer, for an exchange until a deadline. It
// returns nil if there is none.
func (i *idle) take(deadline time.Time) *conn {
	for {
		c := i.pop()
		if c == nil || c.SetDeadline(deadline) == nil && c.isClean(deadline) {
			return c
		}
		c.close()
	}
}

func (i *idle) pop() *conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	last := len(i.conns) - 1
	if last < 0 {
		return nil
	}
	c := i.conns[last]
	i.conns[last] = nil
	i.conns = i.conns[:last]
	return c
}

// put keeps a connection, or closes it if there are enough.
func (i *idle) put(c *conn) {
	c.since = time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || len(i.conns) >= i.most {
		c.close()
		return
	}
	i.conns = append(i.conns, c)
	if i.timer == nil {
		i.timer = time.AfterFunc(i.timeout, i.expire)
	}
}

// expire closes the connections that have waited for too long.
func (i *idle) expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.timer = nil
	old := 0
	for old < len(i.conns) && time.Since(i.conns[old].since) >= i.timeout {
		i.conns[old].close()
		old++
	}
	i.conns = slices.Delete(i.conns, 0, old)
	if len(i.conns) > 0 && !i.closed {
		i.timer = time.AfterFunc(i.timeout-time.Since(i.conns[0].since), i.expire)
	}
}

// close closes all connections, and those that come after.
func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	if i.timer != nil {
		i.timer.Stop()
	}
	for _, c := range i.conns {
		c.close()
	}
	i.conns = nil
}
