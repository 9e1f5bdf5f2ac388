// Package exchange has HTTP exchanges with one server: GET requests over HTTP/1.1, in the goroutine of who asks.
//
// net/http gives each connection two goroutines, and an exchange wakes three in turn; here it wakes none but its
// own. What a GET to one server does not need is left to net/http: see Transport.
package exchange

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
	dialing sync.WaitGroup
	ctx     context.Context // of connections in the making
	cancel  context.CancelFunc
}

var errClosed = errors.New("the transport is closed")

// New returns a Transport for the server of a URL. An exchange may take as long as timeout, to the last byte of its
// answer; then it fails with an error whose Timeout method returns true. Connections are made, kept and limited as
// general says with its Proxy, DialContext, TLSClientConfig, TLSHandshakeTimeout, MaxIdleConnsPerHost,
// IdleConnTimeout and MaxResponseHeaderBytes, which must all be set.
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
		special: proxy != nil || noProxy != nil || !tells ||
			host != server.Host || strings.Contains(host, "%"), // a name that is not in ASCII, an address with a zone
		idle: idle{most: general.MaxIdleConnsPerHost, timeout: general.IdleConnTimeout},
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

// Close closes the connections that are kept, and ends those in the making. Exchanges under way may go on, and there
// are no new ones.
func (t *Transport) Close() {
	t.cancel()
	t.idle.close()
	t.dialing.Wait()
}

// RoundTrip sends the request and returns the answer once its head is there. The answer's body must be closed.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.special || t.http2.Load() || !t.isFor(request) || !isPlain(request) {
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
	answer := &body{ReadCloser: response.Body, idle: &t.idle, conn: c, ctx: ctx, stop: stop}
	answer.last = response.Close || response.StatusCode < http.StatusOK // after a 101 it is no HTTP any more
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
	if c := t.idle.take(deadline, nil); c != nil {
		return c, nil
	}
	waiter := make(chan *conn, 1)
	if c := t.idle.take(deadline, waiter); c != nil {
		return c, nil
	}
	defer t.idle.leave(waiter)
	type dialed struct {
		*conn
		error
	}
	made, left := make(chan dialed), make(chan struct{})
	defer close(left)
	// The connection outlives a caller who has no time to wait for it, so that the next one has it.
	dial := func() {
		c, err := t.dial()
		select {
		case made <- dialed{c, err}:
		case <-left:
			if c != nil {
				t.idle.put(c)
			}
		}
	}
	if !t.idle.unlessClosed(func() { t.dialing.Go(dial) }) {
		return nil, errClosed
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		select {
		case c := <-waiter:
			if c.isReady(deadline) {
				return c, nil
			}
			c.close()
			if c := t.idle.take(deadline, waiter); c != nil {
				return c, nil
			}
		case d := <-made:
			if d.conn == nil {
				return nil, d.error
			}
			return d.conn, d.SetDeadline(deadline)
		case <-timer.C:
			return nil, os.ErrDeadlineExceeded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
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
