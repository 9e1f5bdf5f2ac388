// Package exchange has HTTP exchanges with one server: GET requests over HTTP/1.1, in the goroutine of who asks.
//
// net/http gives each connection two goroutines, and an exchange wakes three in turn; here it wakes none but its
// own. What a GET to one server does not need is left to net/http: see Transport.
package exchange

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Transport is an http.RoundTripper for one server. Create it with New, and Close it.
//
// It keeps connections as http.Transport does, with these differences: it never sends a request twice, and it looks
// at a kept connection before it sends anything there. If the server chooses HTTP/2, or stands behind a proxy,
// the exchange is http.Transport's own.
type Transport struct {
	general *http.Transport
	scheme  string
	host    string // with the port if it is not the scheme's own, as in the Host header
	address string
	tls     *tls.Config // nil without TLS
	timeout time.Duration
	special bool        // whether every exchange is for general
	http2   atomic.Bool // whether the server chose HTTP/2 when it last was asked

	idle    idle
	freed   chan *conn // to a caller who waits for a new one
	dialing sync.WaitGroup
	ctx     context.Context // of connections in the making
	cancel  context.CancelFunc
}

// New returns a Transport for the server of a URL. An exchange may take as long as timeout, to the last byte of its
// answer; it fails with an error whose Timeout method returns true then. How connections are made, kept and limited is that of general: its
// Proxy, DialContext, TLSClientConfig, TLSHandshakeTimeout, MaxIdleConnsPerHost, IdleConnTimeout and
// MaxResponseHeaderBytes, which must all be set.
func New(base string, general *http.Transport, timeout time.Duration) (*Transport, error) {
	server, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	host, err := httpguts.PunycodeHostPort(server.Host)
	if err != nil {
		return nil, fmt.Errorf("the host of %s: %w", base, err)
	}
	proxy, noProxy := general.Proxy(&http.Request{URL: server})
	t := &Transport{
		general: general,
		scheme:  server.Scheme,
		host:    host,
		timeout: timeout,
		special: proxy != nil || noProxy != nil || host != server.Host, // the last: a name that is not in ASCII
		freed:   make(chan *conn),
		idle:    idle{most: general.MaxIdleConnsPerHost, timeout: general.IdleConnTimeout},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	port := server.Port()
	switch {
	case server.Scheme == "https":
		t.tls = general.TLSClientConfig.Clone()
		t.tls.ServerName = server.Hostname()
		t.tls.NextProtos = []string{"h2", "http/1.1"}
		if port == "" {
			port = "443"
		}
	case port == "":
		port = "80"
	}
	t.address = net.JoinHostPort(server.Hostname(), port)
	return t, nil
}

// Close closes the connections that are kept, and waits for those in the making. Call it after the last exchange.
func (t *Transport) Close() {
	t.cancel()
	t.idle.close()
	t.dialing.Wait()
}

// RoundTrip sends the request and returns the answer once its head is there. The answer's body must be closed.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.special || t.http2.Load() || request.Method != http.MethodGet || request.Body != nil ||
		request.URL.Scheme != t.scheme || request.URL.Host != t.host {
		return t.leave(request)
	}
	ctx, deadline := request.Context(), time.Now().Add(t.timeout)
	c, err := t.connection(ctx, deadline)
	switch {
	case err != nil:
		return nil, ended(ctx, err)
	case c == nil:
		return t.leave(request)
	}
	stop := context.AfterFunc(ctx, c.interrupt)
	response, err := c.exchange(request, t.host)
	if err != nil {
		stop()
		c.close()
		return nil, ended(ctx, err)
	}
	answer := &body{ReadCloser: response.Body, transport: t, conn: c, ctx: ctx, stop: stop, last: response.Close}
	response.Body = answer
	if isGzip(request, response) {
		response.Body = &unzipped{body: answer}
	}
	return response, nil
}

// ended returns why an exchange failed: the end of its context goes before what that did to the connection.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connection returns a connection to the server: a kept one, else the first that is new or becomes free. It returns
// nil if the server chose HTTP/2.
func (t *Transport) connection(ctx context.Context, deadline time.Time) (*conn, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if c := t.idle.take(deadline); c != nil {
		return c, nil
	}
	c, err := t.await(ctx, time.Until(deadline))
	if c == nil || err != nil {
		return nil, err
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// await makes a connection, and returns it or one that becomes free before it is there. It returns nil if the server
// chose HTTP/2.
func (t *Transport) await(ctx context.Context, within time.Duration) (*conn, error) {
	type dialed struct {
		*conn
		error
	}
	made, left := make(chan dialed), make(chan struct{})
	defer close(left)
	// The connection outlives a caller who has no time to wait for it, so that the next one has it.
	t.dialing.Go(func() {
		c, err := t.dial()
		select {
		case made <- dialed{c, err}:
		case <-left:
			t.release(c)
		}
	})
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case c := <-t.freed:
		return c, nil
	case d := <-made:
		return d.conn, d.error
	case <-timer.C:
		return nil, os.ErrDeadlineExceeded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release gives a connection to who waits for one, or keeps it.
func (t *Transport) release(c *conn) {
	if c == nil {
		return
	}
	select {
	case t.freed <- c:
	default:
		t.idle.put(c)
	}
}

// dial makes a connection. It returns nil if the server chose HTTP/2.
func (t *Transport) dial() (*conn, error) {
	transport, err := t.general.DialContext(t.ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	c, err := newConn(transport, t.general.MaxResponseHeaderBytes)
	if err != nil || t.tls == nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.general.TLSHandshakeTimeout)
	defer cancel()
	secured := tls.Client(transport, t.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		c.close()
		return nil, err
	}
	if secured.ConnectionState().NegotiatedProtocol == "h2" {
		t.http2.Store(true)
		c.close()
		return nil, nil
	}
	c.Conn, c.tls = secured, secured
	return c, nil
}
