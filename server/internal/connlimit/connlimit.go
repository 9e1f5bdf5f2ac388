// Package connlimit provides a listener that bounds the connections of a port and the share that one peer may have.
package connlimit

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// idleTime is how long a connection must have received nothing to be closed in favour of a new one. It is longer than
// a lookup takes, so that no call in flight is lost.
const idleTime = 30 * time.Second

// Listener bounds the connections that are accepted and not yet closed. Beyond the bound of a peer, connections are
// closed at once. Beyond the bound of the port, the connection that has been idle the longest is closed; if none is
// idle, new ones wait.
type Listener struct {
	net.Listener
	most, mostPerPeer int
	idleTime          time.Duration

	mu     sync.Mutex
	freed  sync.Cond
	open   list.List // of *conn, in the order in which they were accepted
	peers  map[netip.Addr]int
	closed bool

	rejected, evicted atomic.Int64
}

// New returns a Listener with bounds for all connections and for those of one peer.
func New(listener net.Listener, most, mostPerPeer int) *Listener {
	l := &Listener{Listener: listener, most: most, mostPerPeer: mostPerPeer, idleTime: idleTime, peers: map[netip.Addr]int{}}
	l.freed.L = &l.mu
	return l
}

// Rejected returns how many connections were closed because their peer had too many.
func (l *Listener) Rejected() int64 { return l.rejected.Load() }

// Evicted returns how many idle connections were closed in favour of new ones.
func (l *Listener) Evicted() int64 { return l.evicted.Load() }

// Accept returns the next connection within the bounds.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(accepted); c != nil {
			return c, nil
		}
		_ = accepted.Close()
	}
}

// Close closes the listener, and ends an Accept that waits.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.freed.Broadcast()
	return l.Listener.Close()
}

// admit returns an accepted connection as one that is counted, or nil if it is to be closed.
func (l *Listener) admit(accepted net.Conn) net.Conn {
	c := &conn{Conn: accepted, listener: l, peer: peerOf(accepted.RemoteAddr())}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[c.peer] >= l.mostPerPeer {
		l.rejected.Add(1)
		return nil
	}
	for l.open.Len() >= l.most && !l.closed {
		if idle := l.longestIdle(); idle != nil {
			l.evicted.Add(1)
			l.mu.Unlock()
			_ = idle.Close()
			l.mu.Lock()
			continue
		}
		l.freed.Wait()
	}
	if l.closed {
		return nil
	}
	l.peers[c.peer]++
	c.element = l.open.PushBack(c)
	return withReadiness(c)
}

// longestIdle returns the connection that has received nothing for the longest time, if that is long enough. The
// caller holds l.mu.
func (l *Listener) longestIdle() (longest *conn) {
	most := l.idleTime
	for e := l.open.Front(); e != nil; e = e.Next() {
		c := e.Value.(*conn)
		if idle := sinceReceived(c.Conn); idle >= most {
			longest, most = c, idle
		}
	}
	return longest
}

// remove stops counting a connection.
func (l *Listener) remove(c *conn) {
	l.mu.Lock()
	l.open.Remove(c.element)
	if l.peers[c.peer]--; l.peers[c.peer] == 0 {
		delete(l.peers, c.peer)
	}
	l.mu.Unlock()
	l.freed.Signal()
}

// peerOf returns a peer's address: of IPv6 the first 64 bits, as one peer may have all others.
func peerOf(address net.Addr) netip.Addr {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.Is6() {
		if prefix, err := ip.WithZone("").Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return ip
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	listener *Listener
	peer     netip.Addr
	element  *list.Element
	once     sync.Once
}

// Close closes the connection.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.listener.remove(c) })
	return err
}
