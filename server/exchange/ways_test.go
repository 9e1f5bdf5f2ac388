package exchange_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/podero-facade/server/exchange"
)

func TestWhatIsLeftToNetHTTP(t *testing.T) {
	other := newPeer(t, false, func(l *link) {
		for {
			if _, ok := l.next(); !ok {
				return
			}
			l.write(answer("another server"))
		}
	})
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   string // of the answer
		sent   string // in the request, if it is to the server itself
	}{
		"another server":          {func(r *http.Request) { r.URL.Host = other.listener.Addr().String() }, "another server", ""},
		"another name":            {func(r *http.Request) { r.URL.Host, r.Host = "example.com", "" }, "connection 2", "Host: example.com\r\n"},
		"another Host":            {func(r *http.Request) { r.Host = "example.com" }, "connection 2", "Host: example.com\r\n"},
		"POST":                    {func(r *http.Request) { r.Method = http.MethodPost }, "connection 2", "POST / "},
		"HEAD":                    {func(r *http.Request) { r.Method = http.MethodHead }, "", "HEAD / "},
		"no method, which is GET": {func(r *http.Request) { r.Method = "" }, "connection 2", "GET / "},
		"a body":                  {func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), 0 }, "connection 2", "GET / "},
		"a body of nothing":       {func(r *http.Request) { r.Body = http.NoBody }, "connection 2", "GET / "},
		"an end of a connection":  {func(r *http.Request) { r.Close = true }, "connection 2", "Connection: close\r\n"},
		"a switch of protocols":   {func(r *http.Request) { r.Header.Set("Connection", "Upgrade") }, "connection 2", "Connection: Upgrade\r\n"},
		"a range":                 {func(r *http.Request) { r.Header.Set("Range", "bytes=0-1") }, "connection 2", "Range: bytes=0-1\r\n"},
		"a Host among headers":    {func(r *http.Request) { r.Header.Set("Host", "evil") }, "connection 2", "Host: 127.0.0.1:"},
		"a length by oneself":     {func(r *http.Request) { r.Header.Set("Content-Length", "5") }, "connection 2", "GET / "},
		"chunks by oneself":       {func(r *http.Request) { r.Header.Set("Transfer-Encoding", "chunked") }, "connection 2", "GET / "},
	} {
		t.Run(name, func(t *testing.T) {
			heads := make(chan string, 3)
			p := newPeer(t, false, func(l *link) {
				for {
					head, ok := l.next()
					if !ok {
						return
					}
					heads <- head
					whole := answer(l.name())
					if strings.HasPrefix(head, "HEAD") {
						whole = strings.TrimSuffix(whole, l.name())
					}
					l.write(whole)
				}
			})
			transport := newTransport(t, p.url, p.answerFor("example.com:80"))
			expect(t, transport, p.url, "connection 1")
			<-heads
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			c.change(request)
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if string(body) != c.want || err != nil {
				t.Errorf("answer %q, %v; want %q", body, err, c.want)
			}
			if c.sent != "" {
				head := <-heads
				if !strings.Contains(head, c.sent) || strings.Contains(head, "evil") || strings.Contains(head, "Content-Length: 5") || strings.Contains(head, "chunked") {
					t.Errorf("sent %q", head)
				}
			}
			expect(t, transport, p.url, "connection 1") // which did not have it
		})
	}
	if got := other.requests.Load(); got != 1 {
		t.Errorf("%d requests for another server", got)
	}
}

// answerFor has connections to certain addresses go to the peer.
func (p *peer) answerFor(addresses ...string) func(*http.Transport) {
	return func(g *http.Transport) {
		dial := g.DialContext
		g.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if slices.Contains(addresses, address) {
				address = p.listener.Addr().String()
			}
			return dial(ctx, network, address)
		}
	}
}

func TestAnotherSchemeIsLeftToNetHTTP(t *testing.T) {
	p := newPeer(t, false, func(l *link) {
		if first, _ := l.reader.Peek(1); string(first) == "\x16" { // a handshake
			_ = l.Close()
		}
		l.echo()
	})
	transport := newTransport(t, p.url, nil)
	expect(t, transport, p.url, "connection 1")
	if body, err := fetch(t.Context(), t, transport, strings.Replace(p.url, "http:", "https:", 1)); err == nil {
		t.Errorf("an answer over TLS from a server without: %q", body)
	}
	if n := p.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestWhoChoosesTheProtocol(t *testing.T) {
	var http2 atomic.Bool
	var made, open atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
		_, _ = io.WriteString(w, "hello")
	}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	only := func(protocol string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{protocol}}
	}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		made.Add(1)
		if http2.Load() {
			return only("h2"), nil
		}
		return only("http/1.1"), nil
	}}
	s.StartTLS()
	defer s.Close()
	var general *http.Transport
	transport := newTransport(t, s.URL, func(g *http.Transport) { general = g })
	for _, c := range []struct {
		http2 bool
		want  string
		more  int32 // handshakes
	}{
		{true, "HTTP/2.0", 2},  // one to learn of it, one for net/http
		{false, "HTTP/1.1", 2}, // one for net/http, one for exchanges from then on
		{true, "HTTP/2.0", 2},
	} {
		http2.Store(c.http2)
		general.CloseIdleConnections()
		before := made.Load()
		for _, path := range []string{"/", "/", "/", "/", "/last"} {
			response, err := get(t.Context(), t, transport, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if string(body) != "hello" || response.Proto != c.want || err != nil {
				t.Errorf("answer %q over %s, %v; want %s", body, response.Proto, err, c.want)
			}
		}
		if more := made.Load() - before; more != c.more {
			t.Errorf("%d handshakes for %s, want %d", more, c.want, c.more)
		}
		since := time.Now()
		eventually(t, "one connection", func() bool { return open.Load() == 1 })
		if took := time.Since(since); took > atOnce {
			t.Errorf("a handshake's connection was open for %v", took)
		}
	}
}

// newHTTP2 starts a server that speaks HTTP/2.
func newHTTP2(t *testing.T) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("a request over %s", r.Proto)
		}
		_, _ = io.WriteString(w, "hello")
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTheProtocolOfAnotherServerSaysNothing(t *testing.T) {
	other := newHTTP2(t)
	p := newPeer(t, true, (*link).echo)
	transport := newTransport(t, p.url, nil)
	expect(t, transport, p.url, "connection 1")
	expect(t, transport, other.URL, "hello")
	expect(t, transport, p.url, "connection 1")
}

func TestNothingIsSentTwiceToAnotherServer(t *testing.T) {
	s := newHTTP2(t) // which needs no guard against that
	other := newPeer(t, false, func(l *link) {
		l.next()
		l.write(answer("hello"))
		l.next()
		_ = l.Close()
	})
	transport := newTransport(t, s.URL, nil)
	expect(t, transport, s.URL, "hello")
	expect(t, transport, other.url, "hello")
	if _, err := fetch(t.Context(), t, transport, other.url); err == nil || other.requests.Load() != 2 {
		t.Errorf("%v, after %d requests", err, other.requests.Load())
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	p := newPeer(t, true, (*link).echo)
	for target, change := range map[string]func(*http.Transport){
		p.url:                 func(g *http.Transport) { g.TLSClientConfig.RootCAs = x509.NewCertPool() },
		"https://podero.test": p.answerFor("podero.test:443"),
	} {
		_, err := fetch(t.Context(), t, newTransport(t, target, change), target)
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Errorf("%s: %v", target, err)
		}
	}
	if n := p.requests.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// newProxy starts a proxy, for plain HTTP and for tunnels. Whatever a request asks for, it goes to the target.
func newProxy(t *testing.T, target *peer) (address *url.URL, requests, tunnels *atomic.Int32) {
	t.Helper()
	requests, tunnels = new(atomic.Int32), new(atomic.Int32)
	p := newPeer(t, false, func(l *link) {
		defer func() { _ = l.Close() }()
		for {
			head, ok := l.next()
			if !ok {
				return
			}
			count, pass := requests, forward
			if strings.HasPrefix(head, "CONNECT ") {
				count, pass = tunnels, tunnel
			}
			count.Add(1)
			up, err := net.Dial("tcp", target.listener.Addr().String())
			if err != nil {
				return
			}
			if !pass(l, up, head) {
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

// forward has one exchange, and reports whether there was an answer.
func forward(l *link, up net.Conn, head string) bool {
	defer func() { _ = up.Close() }()
	_, _ = io.WriteString(up, head)
	response, err := http.ReadResponse(bufio.NewReader(up), nil)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	if strings.HasPrefix(head, "HEAD") {
		response.Body, response.ContentLength = http.NoBody, 0
	}
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

// through sends all exchanges over a proxy, and refuses to connect to anything else.
func through(proxy *url.URL) func(*http.Transport) {
	return func(g *http.Transport) {
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

func TestAProxyIsUsedForEveryExchange(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, func(l *link) {
			for {
				if _, ok := l.next(); !ok {
					return
				}
				l.write(answer("hello"))
			}
		})
		proxy, requests, tunnels := newProxy(t, p)
		transport := newTransport(t, p.url, through(proxy))
		for range 5 {
			expect(t, transport, p.url, "hello")
		}
		if secure && (tunnels.Load() != p.made.Load() || tunnels.Load() == 0) || !secure && requests.Load() != 5 {
			t.Errorf("%d requests, %d tunnels, %d connections", requests.Load(), tunnels.Load(), p.made.Load())
		}
	})
}

func TestAProxyThatCanNotBeToldIsAnError(t *testing.T) {
	p := newEcho(t)
	unknown := errors.New("no such proxy")
	transport := newTransport(t, p.url, func(g *http.Transport) {
		g.Proxy = func(*http.Request) (*url.URL, error) { return nil, unknown }
	})
	if _, err := fetch(t.Context(), t, transport, p.url); !errors.Is(err, unknown) || p.made.Load() != 0 {
		t.Errorf("%v, and %d connections past the proxy", err, p.made.Load())
	}
}

func TestNothingIsSentTwice(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"GET":                  func(*http.Request) {},
		"GET with no body":     func(r *http.Request) { r.Body = http.NoBody },
		"GET of a range":       func(r *http.Request) { r.Header.Set("Range", "bytes=0-") },
		"HEAD":                 func(r *http.Request) { r.Method = http.MethodHead },
		"GET of a namesake":    func(r *http.Request) { r.URL.Host = "example.com" },
		"GET that may be sent": func(r *http.Request) { r.Header.Set("Idempotency-Key", "1") },
	} {
		for way, proxied := range map[string]bool{"": false, ", over a proxy": true} {
			t.Run(name+way, func(t *testing.T) {
				overBoth(t, func(t *testing.T, secure bool) { checkSentOnce(t, secure, proxied, change) })
			})
		}
	}
}

func checkSentOnce(t *testing.T, secure, proxied bool, change func(*http.Request)) {
	const kept = 4
	var gone atomic.Bool
	var together sync.WaitGroup
	together.Add(kept)
	p := newPeer(t, secure, func(l *link) {
		for {
			head, ok := l.next()
			if !ok || gone.Load() {
				_ = l.Close()
				return
			}
			together.Done()
			together.Wait()
			whole := answer("hello")
			if strings.HasPrefix(head, "HEAD") {
				whole = strings.TrimSuffix(whole, "hello")
			}
			l.write(whole)
		}
	})
	way := p.answerFor("example.com:80", "example.com:443")
	if proxied {
		proxy, _, _ := newProxy(t, p)
		way = through(proxy)
	}
	transport := newTransport(t, p.url, way)
	send := func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url, nil)
		if err != nil {
			t.Error(err)
			return err
		}
		change(request)
		return drain(transport, request)
	}
	var first sync.WaitGroup
	for range kept { // on as many connections
		first.Go(func() {
			if err := send(); err != nil {
				t.Error(err)
			}
		})
	}
	first.Wait()
	gone.Store(true)
	for n := range int32(kept) {
		err := send()
		if got := p.requests.Load(); got != kept+n+1 || err == nil {
			t.Fatalf("%v, and %d requests for one", err, got-kept-n)
		}
	}
}

// drain has a whole exchange, whatever its answer. A proxy's own error is one here, too.
func drain(transport *exchange.Transport, request *http.Request) error {
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
