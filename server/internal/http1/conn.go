package http1

import (
	"bufio"
	"crypto/tls"
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
	errHeaderTooLarge = errors.New("http1: response header too large")
	errInformational  = errors.New("http1: too many 1xx responses")
	errUnsolicited    = errors.New("http1: the server sent bytes before the request")
)

// aLongTimeAgo is a deadline that interrupts reads and writes at once.
var aLongTimeAgo = time.Unix(1, 0)

// conn is a connection, which carries one request at a time.
type conn struct {
	net.Conn  // TLS, a tunnel, or the socket itself
	transport *Transport
	socket    *socket
	records   *recordConn   // nil without TLS
	reader    *bufio.Reader // of the conn itself
	left      int64         // bytes of the response that may still be read
	out       []byte        // the request, in a buffer that is reused
	responded bool          // whether a byte of the response has arrived
	used      bool          // whether an earlier response has arrived
	probe     [1]byte       // buffer of isReady
	idleSince time.Time
	expires   time.Time
	closed    bool

	state        atomic.Int32
	contextEnded func()
}

func newConn(t *Transport, s *socket, secured net.Conn) *conn {
	jitter := rand.N(t.config.MaxAge/10 + 1) //nolint:gosec // the end of a connection is no secret
	c := &conn{Conn: secured, transport: t, socket: s, expires: time.Now().Add(t.config.MaxAge - jitter)}
	c.reader = bufio.NewReader(c)
	if over, ok := secured.(*tls.Conn); ok {
		c.records, _ = over.NetConn().(*recordConn)
	}
	c.contextEnded = func() { t.contextEnded(c) }
	return c
}

// close closes the connection. It must not run concurrently with itself: only the owner of the
// connection, a request or the pool, calls it.
func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	_ = c.Close()
	<-c.transport.slots
}

// interrupt makes reads and writes fail, those in flight included.
func (c *conn) interrupt() { _ = c.SetDeadline(aLongTimeAgo) }

// Read reads from the network. While the header section is read, it enforces MaxHeaderBytes.
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

// isInformational reports whether a response with this status precedes the final response (RFC
// 9110, section 15.2).
func isInformational(status int) bool {
	return http.StatusContinue <= status && status < http.StatusOK && status != http.StatusSwitchingProtocols
}

// write sends a request.
func (c *conn) write(request *http.Request) error {
	target := request.URL.RequestURI()
	if !isRequestTarget(target) {
		return errors.New("http1: space or control character in the URL")
	}
	b := c.out[:0]
	b = append(b, "GET "...)
	b = append(b, c.transport.authority...)
	b = append(b, target...)
	b = append(b, c.transport.header...)
	for name, values := range request.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return errors.New("http1: invalid header name")
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("http1: invalid value of header %s", name)
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

// isRequestTarget reports whether a text has no character that would end a request target.
func isRequestTarget(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == '\x7f' {
			return false
		}
	}
	return true
}

// isReady sets the deadline of the next round trip and reports whether the connection can be used
// for it: it is open, and the server has sent nothing since the last response. TLS messages, such
// as session tickets, are processed here.
func (c *conn) isReady(deadline time.Time) bool {
	if c.SetDeadline(deadline) != nil {
		return false
	}
	if c.socket.raw == nil {
		return !c.used // its state is unknown, so it carries one request only
	}
	c.socket.nonblocking = true
	n, err := c.Conn.Read(c.probe[:])
	c.socket.nonblocking = false
	if n > 0 || c.reader.Buffered() > 0 || c.records != nil && c.records.isIncomplete() {
		c.transport.unsolicited.Add(1)
		return false
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}
