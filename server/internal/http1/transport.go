// Package http1 provides an http.RoundTripper that sends GET requests to one server over HTTP/1.1.
//
// A round trip runs in its caller's goroutine. http.Transport keeps two goroutines per connection
// instead, so each of its round trips costs several context switches. Responses are parsed by
// net/http.
package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/internal/recovery"
	"golang.org/x/net/http/httpguts"
)

// Config holds the settings of a Transport. Proxy, Witness and, for a server and a proxy without
// TLS, TLS may be left out. All other fields are required.
type Config struct {
	BaseURL string // scheme, host and port of the server; the path is ignored

	// Proxy returns the URL of the proxy for the server, or nil for none, as http.ProxyFromEnvironment
	// does. New calls it once.
	Proxy func(*http.Request) (*url.URL, error)

	// TLS is the configuration for an https BaseURL and for an https proxy. The Transport sets the
	// server name and the protocol HTTP/1.1 itself.
	TLS *tls.Config

	// DialContext opens a TCP connection to the server or the proxy.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	Timeout        time.Duration // of a round trip, from dialling to the end of the response's body
	IdleTimeout    time.Duration // time after which an idle connection is closed
	MaxAge         time.Duration // age at which a connection is closed; up to 10 % of jitter is subtracted
	MaxIdle        int           // number of idle connections kept
	MaxConns       int           // number of connections, including those being opened
	MaxHeaderBytes int64         // size of a response's header section, 1xx responses included

	// Witness lets one request at a time continue until Timeout after its context has ended
	// (witness.go). Its result tells a slow server from a dead one, however short the contexts'
	// deadlines are.
	Witness bool
}

// Transport is an http.RoundTripper for one server. It sends each request at most once and keeps
// idle connections. It checks a connection before each use and closes it if the server has closed
// it or has sent anything but TLS messages.
type Transport struct {
	config  Config
	scheme  string
	host    string      // as in URLs
	address string      // host and port to connect to
	tls     *tls.Config // nil without TLS
	proxy   *url.URL    // nil without a proxy

	authority string // scheme and host, if request lines have the absolute form; else ""
	header    string // the end of the request line and the header fields that all requests have

	pool        pool
	slots       chan struct{} // holds an element for each connection, also while it is being opened
	dialing     sync.WaitGroup
	ctx         context.Context // cancelled by Close
	cancel      context.CancelFunc
	unsolicited atomic.Int64
	witness     atomic.Pointer[conn] // connection of the witness; nil if there is none
}

var (
	errClosed = errors.New("http1: transport closed")
	errProxy  = errors.New("invalid proxy URL; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
)

// New returns a Transport. It fails if the base URL or the proxy's URL is invalid.
func New(config Config) (*Transport, error) {
	server, err := url.Parse(config.BaseURL)
	if err != nil {
		return nil, err
	}
	host, err := httpguts.PunycodeHostPort(server.Host)
	if err != nil {
		return nil, fmt.Errorf("http1: invalid host in %s: %w", config.BaseURL, err)
	}
	t := &Transport{
		config:  config,
		scheme:  server.Scheme,
		host:    server.Host,
		address: address(server),
		pool:    pool{maxIdle: config.MaxIdle, idleTimeout: config.IdleTimeout},
		slots:   make(chan struct{}, config.MaxConns),
	}
	if server.Scheme == "https" {
		t.tls = config.TLS.Clone()
		t.tls.ServerName = withoutZone(server.Hostname())
		t.tls.NextProtos = []string{"http/1.1"}
	}
	if config.Proxy != nil {
		if t.proxy, err = config.Proxy(&http.Request{URL: server}); err != nil || !isProxy(t.proxy) {
			return nil, errProxy // err quotes the URL, which may contain a password
		}
	}
	host = withoutZone(host)
	t.header = " HTTP/1.1\r\nHost: " + host + "\r\n"
	if t.usesAbsoluteForm() {
		t.authority = t.scheme + "://" + host
		t.header += proxyAuthorization(t.proxy)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// address returns the host and port of a URL.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// withoutZone removes the zone of an IPv6 address, which is meaningful on this machine only (RFC
// 6874).
func withoutZone(host string) string {
	start := strings.IndexByte(host, '%')
	if start < 0 {
		return host
	}
	end := strings.IndexByte(host, ']')
	if end < start {
		end = len(host)
	}
	return host[:start] + host[end:]
}

// Close closes idle connections and cancels dials and the witness. Requests that wait for a
// connection fail, as do new ones. Other requests in flight may finish.
func (t *Transport) Close() {
	t.cancel()
	t.pool.close()
	if c := t.witness.Load(); c != nil && c.Conn != nil {
		c.interrupt()
	}
	t.dialing.Wait()
}

// RoundTrip sends a GET request without a body to the server and returns the response once its
// header has arrived. The response's body must be closed. The error is the context's cause if and
// only if the context ended the request. If Timeout passed first, the error's Timeout method
// returns true.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet || request.Body != nil ||
		request.URL.Host != t.host || request.URL.Scheme != t.scheme {
		return nil, errors.New("http1: only GET requests without a body to " + t.scheme + "://" + t.host + " are supported")
	}
	ctx, start := request.Context(), time.Now()
	c, err := t.connection(ctx, start)
	if err != nil {
		return nil, err
	}
	stop := notWatched
	if c.state.CompareAndSwap(idle, watched) {
		stop = context.AfterFunc(ctx, c.contextEnded)
	}
	response, err := c.roundTrip(request)
	if err != nil {
		cut := !t.endWatch(c, stop)
		c.close()
		if c.used && !c.responded {
			t.pool.closeSuspects(start, cut)
		}
		if cut {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	response.Body = &body{
		ReadCloser: response.Body, transport: t, conn: c, ctx: ctx, stop: stop, latency: time.Since(start),
		closeAfter: response.Close || response.StatusCode < http.StatusOK, // after a 101 it is another protocol
	}
	return response, nil
}

// connection returns a connection that is ready for a request sent at start: an idle one if there
// is one, else the first connection that becomes idle or is opened.
func (t *Transport) connection(ctx context.Context, start time.Time) (*conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	deadline := start.Add(t.config.Timeout)
	if c := t.pool.get(start, deadline, nil); c != nil {
		return c, nil
	}
	waiter := make(chan *conn, 1)
	if c := t.pool.get(start, deadline, waiter); c != nil {
		return c, nil
	}
	defer t.pool.removeWaiter(waiter)
	dialed, left := make(chan dialResult), make(chan struct{})
	defer close(left)
	if !t.pool.unlessClosed(func() { t.dialing.Go(func() { t.dialFor(dialed, left) }) }) {
		return nil, errClosed
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	var witness *conn
	defer func() { t.witness.CompareAndSwap(witness, nil) }()
	done := ctx.Done()
	for {
		select {
		case c := <-waiter:
			if c.isReady(deadline) {
				return t.keepWitness(&witness, c), nil
			}
			c.close()
			if c := t.pool.get(time.Now(), deadline, waiter); c != nil {
				return t.keepWitness(&witness, c), nil
			}
		case d := <-dialed:
			switch {
			case d.err != nil && t.ctx.Err() != nil: // which ended the dial
				return nil, errClosed
			case d.err != nil:
				return nil, d.err
			case !d.conn.isReady(deadline):
				d.conn.close()
				return nil, errUnsolicited
			}
			return t.keepWitness(&witness, d.conn), nil
		case <-timer.C:
			return nil, os.ErrDeadlineExceeded
		case <-t.ctx.Done():
			return nil, errClosed
		case <-done:
			witness, done = &conn{}, nil
			if !t.mayWitness() || !t.witness.CompareAndSwap(nil, witness) {
				return nil, context.Cause(ctx)
			}
		}
	}
}

// Unsolicited returns how many connections were closed because the server sent bytes that no
// request asked for.
func (t *Transport) Unsolicited() int64 { return t.unsolicited.Load() }

type dialResult struct {
	conn *conn
	err  error
}

// dialFor opens a connection for a request. If the request has left by then, the connection becomes
// idle.
func (t *Transport) dialFor(dialed chan<- dialResult, left <-chan struct{}) {
	ctx, cancel := context.WithTimeout(t.ctx, t.config.Timeout)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
	case <-left:
		return
	case <-ctx.Done():
		return
	}
	c, err := t.dial(ctx)
	if err != nil {
		<-t.slots
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = os.ErrDeadlineExceeded // not context.DeadlineExceeded, which stands for a request's own context
		}
	}
	select {
	case dialed <- dialResult{c, err}:
	case <-left:
		if c != nil {
			t.pool.put(c, 0, true)
		}
	}
}

// dial opens a connection to the server, through the proxy if there is one.
func (t *Transport) dial(ctx context.Context) (c *conn, err error) {
	var tcp net.Conn
	defer func() { // here a panic would end the process, in a goroutine that no caller waits for
		if value := recover(); value != nil {
			if tcp != nil {
				_ = tcp.Close()
			}
			c, err = nil, fmt.Errorf("http1: connect: %w", recovery.Error(value))
		}
	}()
	to := t.address
	if t.proxy != nil {
		to = address(t.proxy)
	}
	if tcp, err = t.config.DialContext(ctx, "tcp", to); err != nil {
		return nil, err
	}
	s, err := newSocket(tcp)
	if err != nil {
		_ = tcp.Close()
		return nil, err
	}
	secured, err := t.secure(ctx, s)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return newConn(t, s, secured), nil
}

// secure opens the tunnel through the proxy, if there is one, and does the TLS handshake, if the
// server has TLS.
func (t *Transport) secure(ctx context.Context, transport net.Conn) (net.Conn, error) {
	if t.proxy != nil {
		tunnel, err := t.tunnel(ctx, transport)
		if err != nil {
			return nil, err
		}
		transport = tunnel
	}
	if t.tls == nil {
		return transport, nil
	}
	secured := tls.Client(&recordConn{Conn: transport}, t.tls)
	return secured, secured.HandshakeContext(ctx)
}
