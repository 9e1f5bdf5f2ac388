package exchange

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

// maxInformational is how many 1xx responses may go before an answer.
const maxInformational = 5

var (
	errHeadTooLong = errors.New("the head of the answer is too long")
	errPreliminary = errors.New("the answer does not come to an end of 1xx responses")
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// conn is a connection for one exchange at a time.
type conn struct {
	net.Conn
	tls     *tls.Conn       // the same, or nil
	raw     syscall.RawConn // below TLS; nil if that is no socket
	reader  *bufio.Reader   // of the conn itself
	maxHead int64
	left    int64 // how many bytes of the answer may still be read from the network
	out     []byte
	since   time.Time // when it became idle

	interrupt func() // ends what is being read or written, for good
}

func newConn(transport net.Conn, maxHead int64) (*conn, error) {
	c := &conn{Conn: transport, maxHead: maxHead}
	if below, ok := transport.(syscall.Conn); ok {
		raw, err := below.SyscallConn()
		if err != nil {
			c.close()
			return nil, err
		}
		c.raw = raw
	}
	c.reader = bufio.NewReader(c)
	c.interrupt = func() { _ = c.SetDeadline(past) }
	return c, nil
}

func (c *conn) close() { _ = c.Close() }

// Read reads from the network, up to what may be read of an answer.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeadTooLong
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// exchange sends a request and reads the head of its answer.
func (c *conn) exchange(request *http.Request, host string) (*http.Response, error) {
	if err := c.write(request, host); err != nil {
		return nil, err
	}
	c.left = c.maxHead
	for range maxInformational + 1 {
		response, err := http.ReadResponse(c.reader, request)
		if err != nil {
			return nil, err
		}
		if !isPreliminary(response.StatusCode) {
			c.left = math.MaxInt64
			return response, nil
		}
	}
	return nil, errPreliminary
}

// isPreliminary reports whether another answer follows one with this status.
func isPreliminary(status int) bool {
	return http.StatusContinue <= status && status < http.StatusOK && status != http.StatusSwitchingProtocols
}

// write sends a request.
func (c *conn) write(request *http.Request, host string) error {
	target := request.URL.RequestURI()
	if hasControl(target) {
		return errors.New("the URL has a control character")
	}
	b := c.out[:0]
	b = append(b, "GET "...)
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	for name, values := range request.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return errors.New("a header's name is not valid")
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("the header %s has a value that is not valid", name)
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	if asksGzip(request) {
		b = append(b, "Accept-Encoding: gzip\r\n"...)
	}
	b = append(b, "\r\n"...)
	c.out = b
	_, err := c.Write(b)
	return err
}

func hasControl(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '\x7f' {
			return true
		}
	}
	return false
}

// isReady sets the deadline of the next exchange, and reports whether nothing has come since the last answer, neither
// bytes nor an end.
func (c *conn) isReady(deadline time.Time) bool {
	if c.SetDeadline(deadline) != nil || c.reader.Buffered() > 0 || !c.isQuiet() {
		return false
	}
	if c.tls == nil {
		return true
	}
	// What came together with the last answer is here already, and was not looked at.
	if c.SetReadDeadline(past) != nil {
		return false
	}
	_, err := c.tls.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded) && c.SetReadDeadline(deadline) == nil
}
