//go:build !linux

package connlimit

import (
	"net"
	"time"
)

// sinceReceived returns 0: this system does not tell.
func sinceReceived(net.Conn) time.Duration { return 0 }
