//go:build unix

package http1_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/podero-facade/server/internal/http1"
)

// newFreezing starts a peer whose connections stop responding, all at the same time. Later ones
// work.
func newFreezing(t *testing.T, secure bool) (p *peer, freeze func()) {
	t.Helper()
	var frozen atomic.Int64 // number of the last frozen connection
	p = newPeer(t, secure, func(l *link) {
		for {
			if _, ok := l.next(); !ok {
				return
			}
			if int64(l.number) <= frozen.Load() {
				return
			}
			l.write(okResponse("hello"))
		}
	})
	return p, func() { frozen.Store(int64(p.made.Load())) }
}

// fillPool makes n connections that are idle afterwards.
func fillPool(t *testing.T, transport http.RoundTripper, url string, n int) {
	t.Helper()
	var responses []*http.Response
	for range n {
		response, err := get(t.Context(), t, transport, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		responses = append(responses, response)
	}
	for _, response := range responses {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
}

func TestIdleConnectionsThatDieTogetherCostOneAttempt(t *testing.T) {
	for name, within := range map[string]time.Duration{
		"one that waited for its timeout":  0,
		"one that was cut by its deadline": 400 * time.Millisecond,
		"some with little time each":       60 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, secure bool) {
				p, freeze := newFreezing(t, secure)
				transport := newTransport(t, p.url, func(c *http1.Config) { c.Timeout = time.Second })
				fillPool(t, transport, p.url, 20)
				freeze()
				failed := 0
				for begun := time.Now(); time.Since(begun) < 3*time.Second; failed++ {
					ctx, cancel := t.Context(), func() {}
					if within > 0 {
						ctx, cancel = context.WithTimeout(ctx, within)
					}
					_, err := fetch(ctx, t, transport, p.url)
					cancel()
					if err == nil {
						break
					}
				}
				if within == 0 && failed != 1 || within > 0 && failed > 1+int(600*time.Millisecond/within) {
					t.Errorf("%d requests failed", failed)
				}
				eventually(t, "the dead connections are closed", func() bool { return p.open.Load() <= p.made.Load()-20 })
			})
		})
	}
}

func TestAConcurrentRequestShowsThatConnectionsAreDead(t *testing.T) {
	p, freeze := newFreezing(t, false)
	transport := newTransport(t, p.url)
	fillPool(t, transport, p.url, 20)
	freeze()
	ctx, cancel := context.WithCancel(t.Context())
	var first sync.WaitGroup
	first.Go(func() { _, _ = fetch(ctx, t, transport, p.url) })
	<-time.After(500 * time.Millisecond)
	expect(t, transport, p.url, "hello") // although the first request still waits
	cancel()
	first.Wait()
}

func TestCallersThatLeaveEarlyCloseNoOthersConnections(t *testing.T) {
	p := newPeer(t, false, func(l *link) {
		for {
			if _, ok := l.next(); !ok {
				return
			}
			<-time.After(20 * time.Millisecond)
			l.write(okResponse("hello"))
		}
	})
	transport := newTransport(t, p.url)
	fillPool(t, transport, p.url, 20)
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if _, err := fetch(ctx, t, transport, p.url); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	expect(t, transport, p.url, "hello")
	if made := p.made.Load(); made != 20 {
		t.Errorf("%d connections were made, want 20", made)
	}
}

// TestTicketsLeaveAConnectionUsable has a server that sends session tickets after the handshake.
// The client reads them when it checks the connection before a request, or with a response.
func TestTicketsLeaveAConnectionUsable(t *testing.T) {
	p := newPeer(t, true, (*link).echo)
	var cache countingCache
	transport := newTransport(t, p.url, func(c *http1.Config) { c.TLS.ClientSessionCache = &cache })
	for range 3 {
		expect(t, transport, p.url, "connection 1")
	}
	if cache.put.Load() == 0 {
		t.Error("the server sent no session ticket")
	}
}

// countingCache is a tls.ClientSessionCache without sessions.
type countingCache struct{ put atomic.Int32 }

func (c *countingCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *countingCache) Put(string, *tls.ClientSessionState)        { c.put.Add(1) }

func TestSessionsAreResumed(t *testing.T) {
	var resumed atomic.Bool
	p := newPeer(t, true, func(l *link) {
		l.next()
		resumed.Store(l.Conn.(*tls.Conn).ConnectionState().DidResume)
		l.write(ok + "Connection: close\r\nContent-Length: 5\r\n\r\nhello")
	})
	transport := newTransport(t, p.url, func(c *http1.Config) { c.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	expect(t, transport, p.url, "hello")
	expect(t, transport, p.url, "hello")
	if !resumed.Load() {
		t.Error("the second handshake was a full one")
	}
}

func TestAConnectionHasAMaximumAge(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		const age = 300 * time.Millisecond
		p := newPeer(t, secure, (*link).echo)
		transport := newTransport(t, p.url, func(c *http1.Config) { c.MaxAge = age })
		begun := time.Now()
		for time.Since(begun) < age-age/10-50*time.Millisecond {
			expect(t, transport, p.url, "connection 1")
		}
		<-time.After(age) // which may have begun after a slow handshake
		expect(t, transport, p.url, "connection 2")
		eventually(t, "no connection outlives its age", func() bool { return p.open.Load() == 0 })
	})
}

func TestUnsolicitedBytesAreCounted(t *testing.T) {
	twice := func(l *link) {
		for {
			if _, ok := l.next(); !ok {
				return
			}
			l.writeTogether(okResponse("mine"), okResponse("not yours"))
		}
	}
	early := func(l *link) {
		l.write(okResponse("not yours"))
		l.echo()
	}
	for name, c := range map[string]struct {
		secure bool
		serve  func(*link)
	}{
		"two responses to a request":           {false, twice},
		"two responses to a request, over TLS": {true, twice},
		"a response before its request":        {false, early},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, c.secure, c.serve)
			transport := newTransport(t, p.url, func(config *http1.Config) {
				dial := config.DialContext
				config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					<-time.After(20 * time.Millisecond) // for what the server says first
					return conn, err
				}
			})
			for range 10 {
				if body, err := fetch(t.Context(), t, transport, p.url); err == nil && body != "mine" {
					t.Errorf("got %q", body)
				}
				<-time.After(5 * time.Millisecond)
			}
			if n := transport.Unsolicited(); n < 9 {
				t.Errorf("%d of 10 were counted", n)
			}
		})
	}
}

// TestAPartOfARecordIsUnsolicited has a server that sends most of a TLS record before the request that is then taken
// for its cause.
func TestAPartOfARecordIsUnsolicited(t *testing.T) {
	p := newPeer(t, true, func(l *link) {
		l.next()
		l.write(okResponse("mine"))
		if l.number > 1 {
			l.echo()
			return
		}
		l.batch.hold = true
		l.write(okResponse("not yours"))
		l.batch.hold = false
		record := bytes.Clone(l.batch.held.Bytes())
		l.batch.held.Reset()
		_, _ = l.batch.Conn.Write(record[:len(record)-10])
		l.next()
		_, _ = l.batch.Conn.Write(record[len(record)-10:])
	})
	transport := newTransport(t, p.url)
	expect(t, transport, p.url, "mine")
	<-time.After(100 * time.Millisecond)
	expect(t, transport, p.url, "mine")
	if made := p.made.Load(); made != 2 || transport.Unsolicited() != 1 {
		t.Errorf("%d connections, of which %d are counted as unsolicited", made, transport.Unsolicited())
	}
}

func TestConnectionsHaveABound(t *testing.T) {
	const bound = 3
	var most, inFlight atomic.Int32
	p := newPeer(t, false, func(l *link) {
		for {
			if _, ok := l.next(); !ok {
				return
			}
			if n := inFlight.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-time.After(10 * time.Millisecond)
			inFlight.Add(-1)
			l.write(okResponse("hello"))
		}
	})
	transport := newTransport(t, p.url, func(c *http1.Config) { c.MaxConns, c.MaxIdle = bound, 1 })
	var calling sync.WaitGroup
	for range 30 {
		calling.Go(func() { expect(t, transport, p.url, "hello") })
	}
	calling.Wait()
	if most.Load() != bound {
		t.Errorf("%d requests at the same time, want %d", most.Load(), bound)
	}
}
