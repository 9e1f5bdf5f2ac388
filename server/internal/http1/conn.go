package http1

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// maxInformational is the number of 1xx responses accepted before the final response.
const maxInformational = 5

var (
	errHeaderTooLarge = errors.New("http1: the response header is too large")
	errInformational  = errors.New("http1: too many 1xx responses")
	errUnsolicited    = errors.New("http1: the server sent bytes before the request")
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// conn is a connection, which carries one request at a time.
type conn struct {
	net.Conn  // TLS, a tunnel, or the socket itself
	transport *Transport
	socket    *socket
	reader    *bufio.Reader // of the conn itself
	left      int64         // how many bytes of the response may still be read
	out       []byte
	responded bool // whether a byte of the response has arrived
	used      bool // whether an earlier response has arrived
	probe     [1]byte
	idleSince time.Time
	expires   time.Time
	closed    bool

	state        atomic.Int32
	contextEnded func()
}

func newConn(t *Transport, s *socket, secured net.Conn) *conn {
	jitter := rand.N(t.config.MaxAge/10 + 1) //nolint:gosec // when a connection ends is no secret
	c := &conn{Conn: secured, transport: t, socket: s, expires: time.Now().Add(t.config.MaxAge - jitter)}
	c.reader = bufio.NewReader(c)
	c.contextEnded = func() { t.contextEnded(c) }
	return c
}

// close closes the connection. Only the goroutine that has the connection calls it.
func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	_ = c.Close()
	<-c.transport.slots
}

// interrupt ends reads and writes in flight, and those to come.
func (c *conn) interrupt() { _ = c.SetDeadline(past) }

// Read reads from the network, up to the limit of a response's header section.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeaderTooLarge
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.responded = c.responded || n > 0
	return n, err
}

// roundTrip sends a request and reads the header section of its response.
func (c *conn) roundTrip(request *http.Request) (*http.Response, error) {
	c.left, c.responded = c.transport.config.MaxHeaderBytes, false
	if err := c.write(request); err != nil {
		return nil, err
	}
	for range maxInformational + 1 {
		response, err := http.ReadResponse(c.reader, request)
		if err != nil {
			return nil, err
		}
		if !isInformational(response.StatusCode) {
			c.left = math.MaxInt64
			return response, nil
		}
	}
	return nil, errInformational
}

// isInformational reports whether a response with this status is followed by another one (RFC 9110, section 15.2).
func isInformational(status int) bool {
	return http.StatusContinue <= status && status < http.StatusOK && status != http.StatusSwitchingProtocols
}

// write sends a request.
func (c *conn) write(request *http.Request) error {
	target := request.URL.RequestURI()
	if !isRequestTarget(target) {
		return errors.New("http1: the URL has a space or a control character")
	}
	b := c.out[:0]
	b = append(b, "GET "...)
	b = append(b, c.transport.authority...)
	b = append(b, target...)
	b = append(b, c.transport.header...)
	for name, values := range request.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return errors.New("http1: a header name is invalid")
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("http1: the value of the header %s is invalid", name)
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	b = append(b, "\r\n"...)
	c.out = b
	_, err := c.Write(b)
	return err
}

// isRequestTarget reports whether a text has no character that would end the target of a request line.
func isRequestTarget(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == '\x7f' {
			return false
		}
	}
	return true
}

// isReady sets the deadline of the next round trip and reports whether the connection can be used for it: it is open
// and the server has sent nothing since the last response. TLS messages, such as session tickets, are processed here.
func (c *conn) isReady(deadline time.Time) bool {
	if c.SetDeadline(deadline) != nil {
		return false
	}
	if c.socket.raw == nil {
		return !c.used // nobody can tell, so it is used for one request
	}
	c.socket.nonblocking = true
	n, err := c.Conn.Read(c.probe[:])
	c.socket.nonblocking = false
	if n > 0 || c.reader.Buffered() > 0 {
		c.transport.unsolicited.Add(1)
		return false
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}
