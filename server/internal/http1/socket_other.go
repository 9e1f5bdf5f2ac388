//go:build !unix

package http1

import (
	"net"
	"syscall"
)

// socket is a TCP connection. On this system its reads can't be made non-blocking, so each
// connection is used once.
type socket struct {
	net.Conn
	raw         syscall.RawConn // always nil
	nonblocking bool
}

func newSocket(c net.Conn) (*socket, error) { return &socket{Conn: c}, nil }
