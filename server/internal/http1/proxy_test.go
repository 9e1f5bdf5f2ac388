package http1_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/podero-facade/server/internal/http1"
)

// newProxy starts a proxy, for plain HTTP and for tunnels. Whatever a request asks for, it goes to
// the target.
func newProxy(t *testing.T, target *peer) (address *url.URL, requests, tunnels *atomic.Int32) {
	t.Helper()
	requests, tunnels = new(atomic.Int32), new(atomic.Int32)
	p := newPeer(t, false, func(l *link) {
		defer func() { _ = l.Close() }()
		for {
			header, ok := l.next()
			if !ok {
				return
			}
			count, pass := requests, forward
			if strings.HasPrefix(header, "CONNECT ") {
				count, pass = tunnels, tunnel
			}
			count.Add(1)
			up, err := net.Dial("tcp", target.listener.Addr().String())
			if err != nil {
				return
			}
			if !pass(l, up, header) {
				return
			}
		}
	})
	address, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	return address, requests, tunnels
}

// forward forwards one request, and reports whether there was a response.
func forward(l *link, up net.Conn, header string) bool {
	defer func() { _ = up.Close() }()
	_, _ = io.WriteString(up, header)
	response, err := http.ReadResponse(bufio.NewReader(up), nil)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.Write(l) == nil
}

// tunnel passes on all that comes, in both directions.
func tunnel(l *link, up net.Conn, _ string) bool {
	l.write("HTTP/1.1 200 OK\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(l.Conn, up)
		_ = l.Close()
	})
	_, _ = io.Copy(up, l.reader)
	_ = up.Close()
	back.Wait()
	return false
}

// through sends all requests through a proxy, and refuses to connect to anything else.
func through(proxy *url.URL) func(*http1.Config) {
	return func(g *http1.Config) {
		g.Proxy = http.ProxyURL(proxy)
		dial := g.DialContext
		g.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != proxy.Host {
				return nil, errors.New("past the proxy")
			}
			return dial(ctx, network, address)
		}
	}
}

func TestEachRequestGoesThroughTheProxy(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, func(l *link) {
			for {
				if _, ok := l.next(); !ok {
					return
				}
				l.write(okResponse("hello"))
			}
		})
		proxy, requests, tunnels := newProxy(t, p)
		transport := newTransport(t, p.url, through(proxy))
		for range 5 {
			expect(t, transport, p.url, "hello")
		}
		if secure && (tunnels.Load() != 1 || p.made.Load() != 1) || !secure && requests.Load() != 5 {
			t.Errorf("%d requests, %d tunnels, %d connections", requests.Load(), tunnels.Load(), p.made.Load())
		}
	})
}

func TestAnUnusableProxyIsRefusedAtOnce(t *testing.T) {
	for name, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"an error":         func(*http.Request) (*url.URL, error) { return nil, errors.New("user:hunter2@proxy") },
		"another protocol": http.ProxyURL(&url.URL{Scheme: "ftp", Host: "proxy", User: url.UserPassword("user", "hunter2")}),
	} {
		config := newConfig("https://podero.test")
		config.Proxy = proxy
		if _, err := http1.New(config); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAProxyIsSentTheWholeURL sends a target that is encoded already.
func TestAProxyIsSentTheWholeURL(t *testing.T) {
	type seen struct{ target, host, authorization string }
	requests := make(chan seen, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests <- seen{r.RequestURI, r.Host, r.Header.Get("Proxy-Authorization")}
	}))
	t.Cleanup(server.Close)
	proxy, err := url.Parse(strings.Replace(server.URL, "://", "://user:p%40ss@", 1))
	if err != nil {
		t.Fatal(err)
	}
	const path = "/a%2Fb?c=%C3%A9"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:p@ss"))
	direct := strings.TrimPrefix(server.URL, "http://")
	for name, c := range map[string]struct {
		base   string
		change func(*http1.Config)
		want   seen
	}{
		"a proxy":  {"http://example.com", through(proxy), seen{"http://example.com" + path, "example.com", basic}},
		"no proxy": {server.URL, nil, seen{path, direct, ""}},
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
			request.URL = &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: path}
			if err := drain(newTransport(t, c.base, c.change), request); err != nil {
				t.Fatal(err)
			}
			if got := <-requests; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestHowAProxyRespondsToCONNECT(t *testing.T) {
	target := newPeer(t, true, (*link).echo)
	for name, c := range map[string]struct {
		response string
		want     string // of the error
	}{
		"it wants credentials":    {"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "status 407"},
		"it is another server":    {"SSH-2.0-x\r\n\r\n", "malformed"},
		"it speaks for the other": {"HTTP/1.1 200 OK\r\n\r\nx", "before the request"},
		"its header has no end":   {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 100_000), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan string, 1)
			proxy := newPeer(t, false, func(l *link) {
				header, _ := l.next()
				requests <- header
				l.write(c.response)
			})
			to, err := url.Parse(strings.Replace(proxy.url, "://", "://user:pass@", 1))
			if err != nil {
				t.Fatal(err)
			}
			_, err = fetch(t.Context(), t, newTransport(t, target.url, through(to)), target.url)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			address := target.listener.Addr().String()
			if got, want := <-requests, "CONNECT "+address+" HTTP/1.1\r\nHost: "+address+"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAProxyOverTLS(t *testing.T) {
	target := newPeer(t, true, (*link).echo)
	proxy := newPeer(t, true, func(l *link) {
		defer func() { _ = l.Close() }()
		header, ok := l.next()
		up, err := net.Dial("tcp", target.listener.Addr().String())
		if ok && err == nil {
			tunnel(l, up, header)
		}
	})
	to, err := url.Parse(proxy.url)
	if err != nil {
		t.Fatal(err)
	}
	transport := newTransport(t, target.url, through(to))
	for range 3 {
		expect(t, transport, target.url, "connection 1")
	}
}

func TestASOCKSProxy(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		target := newPeer(t, secure, (*link).echo)
		proxy := newPeer(t, false, func(l *link) {
			defer func() { _ = l.Close() }()
			_, _ = io.ReadFull(l.reader, make([]byte, 3)) // version, one method: none
			l.write("\x05\x00")
			_, _ = io.ReadFull(l.reader, make([]byte, 10)) // CONNECT to an IPv4 address
			l.write("\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
			up, err := net.Dial("tcp", target.listener.Addr().String())
			if err != nil {
				return
			}
			var back sync.WaitGroup
			back.Go(func() {
				_, _ = io.Copy(l.Conn, up)
				_ = l.Close()
			})
			_, _ = io.Copy(up, l.reader)
			_ = up.Close()
			back.Wait()
		})
		to, err := url.Parse(strings.Replace(proxy.url, "http", "socks5", 1))
		if err != nil {
			t.Fatal(err)
		}
		transport := newTransport(t, target.url, through(to))
		for range 3 {
			expect(t, transport, target.url, "connection 1")
		}
	})
}
