//go:build unix

package exchange

import (
	"errors"
	"syscall"
)

// tells is whether isQuiet can tell.
const tells = true

// isQuiet reports whether there is nothing to read from the network, not even an end. Of a connection that is
// not a socket it can't know that.
func (c *conn) isQuiet() bool {
	if c.raw == nil {
		return false
	}
	quiet := false
	err := c.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		quiet = errors.Is(err, syscall.EAGAIN)
		return true // does not wait
	})
	return err == nil && quiet
}
