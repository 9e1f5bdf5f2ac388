package http1_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/podero-facade/server/internal/http1"
)

func TestOtherRequestsAreRefused(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url)
	for name, change := range map[string]func(*http.Request){
		"another server": func(r *http.Request) { r.URL.Host = "example.com" },
		"another scheme": func(r *http.Request) { r.URL.Scheme = "https" },
		"another method": func(r *http.Request) { r.Method = http.MethodPost },
		"a body":         func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("x")) },
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		if err := drain(transport, request); err == nil || p.made.Load() != 0 {
			t.Errorf("%s: %v, and %d connections", name, err, p.made.Load())
		}
	}
}

func TestAServerThatOffersHTTP2GetsHTTP1(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := "another version"
		if r.Proto == "HTTP/1.1" {
			text = "HTTP/1.1"
		}
		_, _ = io.WriteString(w, text)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	expect(t, newTransport(t, s.URL), s.URL, "HTTP/1.1")
}

func TestTheNameOfAServer(t *testing.T) {
	for base, want := range map[string]string{
		"http://example.com":            "example.com:80 Host: example.com",
		"http://example.com:8080/x":     "example.com:8080 Host: example.com:8080",
		"http://bücher.example":         "bücher.example:80 Host: xn--bcher-kva.example",
		"http://[fe80::1%25eth0]:8080/": "[fe80::1%eth0]:8080 Host: [fe80::1]:8080",
	} {
		hosts, dialed := make(chan string, 1), ""
		p := newPeer(t, false, func(l *link) {
			header, _ := l.next()
			hosts <- strings.Split(header, "\r\n")[1]
			l.write(okResponse("hello"))
		})
		transport := newTransport(t, base, func(c *http1.Config) {
			dial := c.DialContext
			c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				dialed = address
				return dial(ctx, network, p.listener.Addr().String())
			}
		})
		expect(t, transport, base, "hello")
		if got := dialed + " " + <-hosts; got != want {
			t.Errorf("%s: got %s, want %s", base, got, want)
		}
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	p := newPeer(t, true, (*link).echo)
	for target, change := range map[string]func(*http1.Config){
		p.url:                 func(g *http1.Config) { g.TLS.RootCAs = x509.NewCertPool() },
		"https://podero.test": p.serveFor("podero.test:443"),
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

// serveFor has connections to certain addresses go to the peer.
func (p *peer) serveFor(addresses ...string) func(*http1.Config) {
	return func(g *http1.Config) {
		dial := g.DialContext
		g.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if slices.Contains(addresses, address) {
				address = p.listener.Addr().String()
			}
			return dial(ctx, network, address)
		}
	}
}

func TestNothingIsSentTwice(t *testing.T) {
	for name, proxied := range map[string]bool{"directly": false, "through a proxy": true} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, secure bool) { checkSentOnce(t, secure, proxied) })
		})
	}
}

func checkSentOnce(t *testing.T, secure, proxied bool) {
	const kept = 4
	var gone atomic.Bool
	var together sync.WaitGroup
	together.Add(kept)
	p := newPeer(t, secure, func(l *link) {
		for {
			if _, ok := l.next(); !ok || gone.Load() {
				_ = l.Close()
				return
			}
			together.Done()
			together.Wait()
			l.write(okResponse("hello"))
		}
	})
	var way func(*http1.Config)
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

// drain makes a request and reads the whole response. A status other than 200 is an error here,
// too.
func drain(transport *http1.Transport, request *http.Request) error {
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
