//go:build unix

package exchange

import (
	"errors"
	"syscall"
)

// isQuiet reports whether there is nothing to read from the network, not even an end.
func (c *conn) isQuiet() bool {
	if c.raw == nil {
		return true
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
