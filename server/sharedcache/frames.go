package sharedcache

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"syscall"
)

const (
	maxLine    = 4 << 10 // bytes of a line, such as an error
	maxNesting = 8       // arrays in arrays; CLUSTER SLOTS has 4
)

// frameLimits bounds a reply of Redis's to what the commands of this package can get.
type frameLimits struct {
	bytes    int // of the whole reply
	elements int // of all its arrays together
}

// A reply is an entry, or the few strings of the reply to HELLO. A cluster also says which node has which slots: 1 MiB
// is a cluster of a thousand nodes.
var (
	serverLimits  = frameLimits{bytes: maxValue + maxLine, elements: 1 << 10}
	clusterLimits = frameLimits{bytes: 1 << 20, elements: 16 << 10}
)

var errFrame = errors.New("the reply is not RESP, or too large")

// frames checks the framing of what Redis sends before go-redis reads it, which allocates whatever length is announced,
// and panics at some. The grammar is that of RESP2, in which Redis replies to a client that does not ask for RESP3:
//
//	reply  = ( "+" / "-" / ":" ) text CRLF
//	       / "$" length CRLF bytes CRLF / "$-1" CRLF
//	       / "*" length CRLF *reply     / "*-1" CRLF
//
// https://redis.io/docs/latest/develop/reference/protocol-spec/
type frames struct {
	limits   frameLimits
	line     []byte // the beginning of a line whose end has not been read
	bulk     int    // bytes of a bulk string, with the CRLF after it, that have not been read
	open     []int  // elements that each open array still lacks, the innermost last
	bytes    int    // of the reply so far
	elements int    // of the reply so far
}

// check returns an error if the next bytes that Redis sent are not to be read.
func (f *frames) check(p []byte) error {
	for len(p) > 0 {
		if f.bulk > 0 {
			n := min(f.bulk, len(p))
			f.bulk, p = f.bulk-n, p[n:]
			if f.bulk == 0 {
				f.endElement()
			}
			continue
		}
		if len(f.line) == 0 && strings.IndexByte("+-:$*", p[0]) < 0 {
			return errFrame
		}
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		if len(f.line)+len(line) > maxLine {
			return errFrame
		}
		f.line, p = append(f.line, line...), rest
		if !complete {
			return nil
		}
		if err := f.readLine(f.line); err != nil {
			return err
		}
		f.line = f.line[:0]
	}
	return nil
}

// readLine reads a line that begins a reply, without its LF.
func (f *frames) readLine(line []byte) error {
	if err := f.add(len(line) + 1); err != nil {
		return err
	}
	text, ok := bytes.CutSuffix(line, []byte("\r"))
	if !ok || len(text) == 0 {
		return errFrame
	}
	kind, text := text[0], text[1:]
	if kind != '$' && kind != '*' || string(text) == "-1" {
		f.endElement()
		return nil
	}
	length, ok := parseLength(text)
	if !ok {
		return errFrame
	}
	if kind == '*' {
		return f.beginArray(length)
	}
	f.bulk = length + len("\r\n")
	return f.add(f.bulk)
}

// add adds bytes to the reply.
func (f *frames) add(n int) error {
	if f.bytes += n; f.bytes > f.limits.bytes {
		return errFrame
	}
	return nil
}

func (f *frames) beginArray(length int) error {
	if f.elements += length; f.elements > f.limits.elements || len(f.open) == maxNesting {
		return errFrame
	}
	if length == 0 {
		f.endElement()
		return nil
	}
	f.open = append(f.open, length)
	return nil
}

// endElement ends an element and each array of which it is the last one.
func (f *frames) endElement() {
	for last := len(f.open) - 1; last >= 0; last-- {
		f.open[last]--
		if f.open[last] > 0 {
			return
		}
		f.open = f.open[:last]
	}
	f.bytes, f.elements = 0, 0
}

// parseLength parses a length of at most seven digits, which is more than any limit.
func parseLength(digits []byte) (length int, ok bool) {
	if len(digits) == 0 || len(digits) > 7 {
		return 0, false
	}
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		length = 10*length + int(digit-'0')
	}
	return length, true
}

// checkedConn is a connection to Redis that is closed at a reply which is not to be read.
type checkedConn struct {
	net.Conn
	frames frames
	failed error
}

// Read reads what has been checked.
func (c *checkedConn) Read(p []byte) (int, error) {
	if c.failed != nil {
		return 0, c.failed
	}
	n, err := c.Conn.Read(p)
	if c.failed = c.frames.check(p[:n]); c.failed != nil {
		_ = c.Close()
		return 0, c.failed
	}
	return n, err
}

// socketConn is a checkedConn that lets go-redis see whether the peer has closed the connection.
type socketConn struct {
	*checkedConn
	syscall.Conn
}

// newCheckedConn returns a connection whose replies are checked.
func newCheckedConn(conn net.Conn, limits frameLimits) net.Conn {
	checked := &checkedConn{Conn: conn, frames: frames{limits: limits}}
	if socket, ok := conn.(syscall.Conn); ok {
		return &socketConn{checked, socket}
	}
	return checked
}
