//go:build !unix

package exchange

// isQuiet can't tell here; an exchange over a connection that has ended fails, and is tried again.
func (*conn) isQuiet() bool { return true }
