//go:build unix

package connlimit

import (
	"errors"
	"io"
	"net"
	"syscall"

	"google.golang.org/grpc/mem"
)

// readyConn lets grpc-go release the read buffer of a plaintext connection while it is idle, as it does by itself for
// a bare net.TCPConn: it waits until there is something to read before it takes a buffer.
type readyConn struct {
	*conn
	raw  syscall.RawConn
	read func(fd uintptr) bool

	// Of a read: kept here so that it allocates nothing.
	size   int
	pool   mem.BufferPool
	buffer *[]byte
	n      int
	err    error
}

func withReadiness(c *conn) net.Conn {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	r := &readyConn{conn: c, raw: raw}
	r.read = r.readOnce
	return r
}

// ReadOnReady waits until there is something to read, and reads it into a buffer of the pool.
func (r *readyConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r.size, r.pool = size, pool
	err := r.raw.Read(r.read)
	buffer, n := r.buffer, r.n
	r.buffer, r.pool = nil, nil
	if err == nil {
		err = r.err
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		if buffer != nil {
			pool.Put(buffer)
		}
		return nil, 0, err
	}
	return buffer, n, nil
}

// readOnce reads without waiting, and reports whether that is all.
func (r *readyConn) readOnce(fd uintptr) bool {
	r.buffer = r.pool.Get(r.size)
	for {
		r.n, r.err = syscall.Read(int(fd), *r.buffer)
		if !errors.Is(r.err, syscall.EINTR) {
			break
		}
	}
	if r.err == nil {
		return true
	}
	r.pool.Put(r.buffer)
	r.buffer = nil
	return !errors.Is(r.err, syscall.EAGAIN)
}
