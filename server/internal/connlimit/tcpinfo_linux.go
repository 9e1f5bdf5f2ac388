package connlimit

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sinceReceived returns how long ago a connection received something, as the kernel knows it, so that reads cost
// nothing. It is 0 if that is not known.
func sinceReceived(c net.Conn) (since time.Duration) {
	exposed, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := exposed.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			since = time.Duration(info.Last_data_recv) * time.Millisecond
		}
	})
	return since
}
