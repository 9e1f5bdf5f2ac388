package http1

import "net"

const recordHeader = 5 // bytes: type, version, length (RFC 8446, section 5.1)

// recordConn is the transport of a TLS connection. It follows the records that are read, to know whether one has arrived
// in part: package tls keeps that part, and would hand it out as soon as the rest is there.
type recordConn struct {
	net.Conn
	header [recordHeader]byte
	have   int // bytes of the header
	left   int // bytes of the record that have not been read
}

func (r *recordConn) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.follow(p[:n])
	return n, err
}

func (r *recordConn) follow(b []byte) {
	for len(b) > 0 {
		if r.left > 0 {
			n := min(r.left, len(b))
			r.left, b = r.left-n, b[n:]
			continue
		}
		n := copy(r.header[r.have:], b)
		r.have, b = r.have+n, b[n:]
		if r.have == recordHeader {
			r.have, r.left = 0, int(r.header[3])<<8|int(r.header[4])
		}
	}
}

// isIncomplete reports whether a part of a record has been read.
func (r *recordConn) isIncomplete() bool { return r.have > 0 || r.left > 0 }
