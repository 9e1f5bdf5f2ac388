//go:build unix

package http1_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/podero-facade/server/internal/http1"
)

// limit is how long a request may take here.
const limit = 50 * time.Millisecond

func limited(c *http1.Config) { c.Timeout = limit }

// checkTimeout makes a request that must end at its limit.
func checkTimeout(t *testing.T, transport http.RoundTripper, target string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	began := time.Now()
	_, err := fetch(ctx, t, transport, target)
	took := time.Since(began)
	if timed, ok := errors.AsType[net.Error](err); !ok || !timed.Timeout() || took < limit || took > atOnce {
		t.Errorf("%v after %v, want a timeout after %v", err, took, limit)
	}
}

func TestARequestHasItsTimeAndNoMore(t *testing.T) {
	for name, raw := range map[string]string{
		"no header":     "",
		"half a header": ok + "Content-Length: 5\r\n",
		"half a body":   ok + "Content-Length: 5\r\n\r\nhel",
		"half a chunk":  chunked + "5\r\nhel",
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, secure bool) {
				p := newPeer(t, secure, func(l *link) {
					l.next()
					l.write(raw)
				})
				transport := newTransport(t, p.url, limited)
				checkTimeout(t, transport, p.url)
				eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
			})
		})
	}
}

func TestARequestThatWaitsForItsConnectionHasNoMoreTime(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url, limited, func(g *http1.Config) {
		g.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	checkTimeout(t, transport, p.url)
}

// TestEachRequestHasItsOwnTime makes requests one after another on a connection, which together
// take longer than one may.
func TestEachRequestHasItsOwnTime(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, (*link).echo)
		transport := newTransport(t, p.url, func(c *http1.Config) { c.Timeout = time.Second })
		for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
			expect(t, transport, p.url, "connection 1")
		}
	})
}
