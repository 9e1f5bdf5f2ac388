//go:build unix

package exchange_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// limit is how long an exchange may take here.
const limit = 50 * time.Millisecond

// checkTimeout has an exchange that must end at its limit.
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

func TestAnExchangeHasItsTimeAndNoMore(t *testing.T) {
	for name, raw := range map[string]string{
		"no head":      "",
		"half a head":  ok + "Content-Length: 5\r\n",
		"half a body":  ok + "Content-Length: 5\r\n\r\nhel",
		"half a chunk": chunked + "5\r\nhel",
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, secure bool) {
				p := newPeer(t, secure, func(l *link) {
					l.next()
					l.write(raw)
				})
				transport := newLimited(t, p.url, limit, nil)
				checkTimeout(t, transport, p.url)
				eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
			})
		})
	}
}

func TestAnExchangeThatWaitsForItsConnectionHasNoMoreTime(t *testing.T) {
	p := newEcho(t)
	transport := newLimited(t, p.url, limit, func(g *http.Transport) {
		g.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	checkTimeout(t, transport, p.url)
}

// TestTheTimeOfAnExchangeIsItsOwn has exchanges one after another on a connection, which together take longer than one may.
func TestTheTimeOfAnExchangeIsItsOwn(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, (*link).echo)
		transport := newLimited(t, p.url, time.Second, nil)
		for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
			expect(t, transport, p.url, "connection 1")
		}
	})
}

func TestAnExchangeOfNetHTTPHasItsTimeToo(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "hel")
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(hang))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	plain := httptest.NewServer(http.HandlerFunc(hang))
	t.Cleanup(plain.Close)
	proxy, err := url.Parse(plain.URL) // which takes a request for another server as one of its own
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		base   string
		change func(*http.Transport)
	}{
		"HTTP/2":  {server.URL, nil},
		"a proxy": {"http://example.com", through(proxy)},
	} {
		for _, path := range []string{"/head", "/body"} {
			t.Run(name+path, func(t *testing.T) { checkTimeout(t, newLimited(t, c.base, limit, c.change), c.base+path) })
		}
	}
}

// TestAProxyIsToldTheWholeURL sends a target that is written already.
func TestAProxyIsToldTheWholeURL(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.RequestURI }))
	t.Cleanup(server.Close)
	proxy, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		base, want string
		change     func(*http.Transport)
	}{
		"a proxy": {"http://example.com", "http://example.com/a%2Fb?c=%C3%A9", through(proxy)},
		"none":    {server.URL, "/a%2Fb?c=%C3%A9", nil},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := url.Parse(c.base)
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.URL = &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: "/a%2Fb?c=%C3%A9"}
			if err := drain(newTransport(t, c.base, c.change), request); err != nil {
				t.Fatal(err)
			}
			if got := <-asked; got != c.want {
				t.Errorf("asked for %s, want %s", got, c.want)
			}
		})
	}
}
