// Package dial opens TCP connections with Happy Eyeballs (RFC 8305): the addresses of a name are
// tried in parallel, each 250 ms after the one before, so that an address that does not respond
// costs a fraction of a second.
//
// Package net does so for the two address families only. Within a family it tries one address after
// another and gives each at least two seconds.
package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"example.com/podero-facade/server/internal/recovery"
)

// attemptDelay is the time after which the next address is tried, too (RFC 8305, section 5).
const attemptDelay = 250 * time.Millisecond

// keepAlive makes the kernel close a dead idle connection within 10 + 3*3 = 19 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}

// Dialer opens TCP connections. Of a name's addresses it prefers the last one that worked.
type Dialer struct {
	dialer net.Dialer

	mu     sync.Mutex
	last   map[string]netip.Addr          // that worked, by name
	failed map[string]map[netip.Addr]bool // since one worked, by name
}

// New returns a Dialer. timeout includes the resolution of the name.
func New(timeout time.Duration) *Dialer {
	return &Dialer{dialer: net.Dialer{Timeout: timeout, KeepAliveConfig: keepAlive}, last: map[string]netip.Addr{}, failed: map[string]map[netip.Addr]bool{}}
}

// DialContext connects to a host and port. If all addresses fail, the error is that of the first one
// to fail, except for EADDRNOTAVAIL: any other error replaces it.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return d.dialer.DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, d.dialer.Timeout)
	defer cancel() // ends the attempts that are still in flight
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return d.race(ctx, network, host, port, d.order(host, addresses))
}

// attempt is the outcome of connecting to one address.
type attempt struct {
	address netip.Addr
	conn    net.Conn
	err     error
}

// race tries addresses in order until one works. The next one is tried after attemptDelay, or once
// one has failed.
func (d *Dialer) race(ctx context.Context, network, host, port string, addresses []netip.Addr) (net.Conn, error) {
	if len(addresses) == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no address", Name: host, IsNotFound: true}}
	}
	ended := make(chan attempt)
	next := time.NewTimer(0)
	defer next.Stop()
	var failed error
	var begun []netip.Addr
	for inFlight := 0; ; {
		select {
		case <-next.C:
			if len(addresses) == 0 {
				continue
			}
			address := addresses[0]
			addresses = addresses[1:]
			inFlight++
			begun = append(begun, address)
			go d.try(ctx, network, address, port, ended)
			next.Reset(attemptDelay)
		case a := <-ended:
			if a.err == nil {
				d.noteWorking(host, a.address)
				return a.conn, nil
			}
			d.noteFailed(host, a.address)
			if failed == nil || errors.Is(failed, syscall.EADDRNOTAVAIL) { // each IPv6 address without IPv6
				failed = a.err
			}
			if inFlight--; inFlight == 0 && len(addresses) == 0 {
				return nil, failed
			}
			next.Reset(0)
		case <-ctx.Done():
			d.noteFailed(host, begun...)
			if failed == nil {
				failed = &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
			}
			return nil, failed
		}
	}
}

func (d *Dialer) noteFailed(host string, addresses ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed[host] == nil {
		d.failed[host] = map[netip.Addr]bool{}
	}
	for _, address := range addresses {
		d.failed[host][address] = true
	}
}

func (d *Dialer) noteWorking(host string, address netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[host] = address
	delete(d.failed, host)
}

// try connects to an address and reports the outcome, unless the race is over.
func (d *Dialer) try(ctx context.Context, network string, address netip.Addr, port string, ended chan<- attempt) {
	conn, err := d.connect(ctx, network, net.JoinHostPort(address.String(), port))
	select {
	case ended <- attempt{address, conn, err}:
	case <-ctx.Done():
		if err == nil {
			_ = conn.Close()
		}
	}
}

// connect connects to an address. A panic is an error: nobody above it could recover it.
func (d *Dialer) connect(ctx context.Context, network, address string) (conn net.Conn, err error) {
	defer func() {
		if value := recover(); value != nil {
			conn, err = nil, recovery.Error(value)
		}
	}()
	return d.dialer.DialContext(ctx, network, address)
}

// order returns the addresses of a name in the order in which to try them: the one that worked
// last, then the two families by turns, beginning with the one that the resolver prefers (RFC 8305,
// section 4). Those that failed come after the others: if there are more addresses than a dial has
// time for, the next dial goes on where it ended.
func (d *Dialer) order(host string, addresses []netip.Addr) []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, failed := d.last[host], d.failed[host]
	var first, preferred, other []netip.Addr
	for _, address := range addresses {
		address = address.Unmap()
		switch {
		case address == last:
			first = append(first, address)
		case address.Is4() == addresses[0].Unmap().Is4():
			preferred = append(preferred, address)
		default:
			other = append(other, address)
		}
	}
	ordered := first
	for len(preferred) > 0 || len(other) > 0 {
		for _, family := range []*[]netip.Addr{&preferred, &other} {
			if len(*family) > 0 {
				ordered = append(ordered, (*family)[0])
				*family = (*family)[1:]
			}
		}
	}
	slices.SortStableFunc(ordered, func(a, b netip.Addr) int { return rank(failed[a]) - rank(failed[b]) })
	if len(ordered) > 0 && failed[ordered[0]] { // all have failed, so that a new round begins
		delete(d.failed, host)
	}
	return ordered
}

func rank(failed bool) int {
	if failed {
		return 1
	}
	return 0
}
