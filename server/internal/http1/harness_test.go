package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/podero-facade/server/internal/http1"
)

const (
	testLimit = 20 * time.Second // of anything that a test waits for
	atOnce    = 5 * time.Second  // on a busy machine; what it is told from takes testLimit
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's remarks on servers that misbehave
	goleak.VerifyTestMain(m)
}

// certificate is that of all servers here, for 127.0.0.1 and example.com.
var certificate, roots = func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}()

// peer is a server on loopback that does with each connection what a test says.
type peer struct {
	url      string
	listener net.Listener
	made     atomic.Int32 // connections
	open     atomic.Int32 // those of them that neither side has closed
	requests atomic.Int32
	tls      *tls.Config
}

// A link is a connection at a peer's side.
type link struct {
	net.Conn
	peer   *peer
	reader *bufio.Reader
	number int // of the peer's connections, from 1
	batch  *batch
}

// batch is a transport whose writes go out together.
type batch struct {
	net.Conn
	hold bool
	held bytes.Buffer
}

func (b *batch) Write(p []byte) (int, error) {
	if b.hold {
		return b.held.Write(p)
	}
	return b.Conn.Write(p)
}

// next reads a request, and reports whether there was one.
func (l *link) next() (header string, ok bool) {
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		line, err := l.reader.ReadString('\n')
		if err != nil {
			return b.String(), false
		}
		b.WriteString(line)
	}
	l.peer.requests.Add(1)
	return b.String(), true
}

func (l *link) write(raw ...string) {
	for _, r := range raw {
		_, _ = io.WriteString(l, r)
	}
}

// writeTogether writes each part on its own, in a TLS record of its own if there is TLS, but all in
// one segment.
func (l *link) writeTogether(raw ...string) {
	l.batch.hold = true
	l.write(raw...)
	l.batch.hold = false
	_, _ = l.batch.Conn.Write(l.batch.held.Bytes())
	l.batch.held.Reset()
}

// echo responds to each request with the connection's number.
func (l *link) echo() {
	for {
		if _, ok := l.next(); !ok {
			return
		}
		l.write(okResponse(l.name()))
	}
}

func (l *link) name() string { return fmt.Sprintf("connection %d", l.number) }

// okResponse returns a response with a body.
func okResponse(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// newPeer starts a peer. At the end of a test each connection must have been closed by one of the
// two sides.
func newPeer(t testing.TB, secure bool, serve func(*link)) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{
		url: "http://" + listener.Addr().String(), listener: listener,
		tls: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	if secure {
		p.url = "https://" + listener.Addr().String()
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.open.Add(1)
			l := &link{peer: p, number: int(p.made.Add(1)), batch: &batch{Conn: conn}}
			serving.Go(func() {
				defer p.open.Add(-1)
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(testLimit))
				l.Conn = l.batch
				if secure {
					l.Conn = tls.Server(l.batch, p.tls)
				}
				l.reader = bufio.NewReader(l.Conn)
				serve(l)
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s was left open", l.name())
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return p
}

// newEcho starts a peer that responds to each request with the number of the connection.
func newEcho(t testing.TB) *peer { return newPeer(t, false, (*link).echo) }

// newConfig returns settings for a server on loopback.
func newConfig(base string) http1.Config {
	return http1.Config{
		BaseURL:        base,
		DialContext:    (&net.Dialer{Timeout: testLimit}).DialContext,
		TLS:            &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Timeout:        time.Minute, // more than a test has
		IdleTimeout:    time.Minute,
		MaxAge:         time.Hour,
		MaxIdle:        64,
		MaxConns:       1000,
		MaxHeaderBytes: 64 << 10,
	}
}

// newTransport returns the transport under test for a server.
func newTransport(t testing.TB, base string, changes ...func(*http1.Config)) *http1.Transport {
	t.Helper()
	config := newConfig(base)
	for _, change := range changes {
		if change != nil {
			change(&config)
		}
	}
	transport, err := http1.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	return transport
}

// get begins a GET.
func get(ctx context.Context, t testing.TB, transport http.RoundTripper, target string, header http.Header) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	return transport.RoundTrip(request)
}

// fetch makes a request and reads the whole response.
func fetch(ctx context.Context, t testing.TB, transport http.RoundTripper, target string) (string, error) {
	t.Helper()
	response, err := get(ctx, t, transport, target, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// expect makes a request whose response is known.
func expect(t testing.TB, transport http.RoundTripper, target, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	if body, err := fetch(ctx, t, transport, target); body != want || err != nil {
		t.Errorf("got %q, %v; want %q", body, err, want)
	}
}

// eventually waits for what comes by itself.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testLimit); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// overBoth runs a test over plain TCP and over TLS.
func overBoth(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Run("TCP", func(t *testing.T) { test(t, false) })
	t.Run("TLS", func(t *testing.T) { test(t, true) })
}
