//go:build unix

package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// socket is a TCP connection whose reads can be made non-blocking.
type socket struct {
	net.Conn
	raw         syscall.RawConn // nil if the connection does not expose one
	nonblocking bool

	// State of a non-blocking read, kept here so that the read allocates nothing.
	buffer []byte
	n      int
	err    error
	read   func(fd uintptr) bool // readOnce
}

func newSocket(c net.Conn) (*socket, error) {
	s := &socket{Conn: c}
	s.read = s.readOnce
	if exposed, ok := c.(syscall.Conn); ok {
		raw, err := exposed.SyscallConn()
		if err != nil {
			return nil, err
		}
		s.raw = raw
	}
	return s, nil
}

// Read reads from the connection. If nothing can be read, a non-blocking read returns
// os.ErrDeadlineExceeded, as a tls.Conn stays usable after a temporary error only.
func (s *socket) Read(p []byte) (int, error) {
	if !s.nonblocking {
		return s.Conn.Read(p)
	}
	s.buffer = p
	err := s.raw.Read(s.read)
	s.buffer = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(s.err, syscall.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	default:
		return s.n, nil
	}
}

func (s *socket) readOnce(fd uintptr) bool {
	for {
		s.n, s.err = syscall.Read(int(fd), s.buffer)
		if !errors.Is(s.err, syscall.EINTR) {
			return true // done: RawConn.Read must not wait
		}
	}
}
