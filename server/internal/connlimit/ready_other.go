//go:build !unix

package connlimit

import "net"

func withReadiness(c *conn) net.Conn { return c }
