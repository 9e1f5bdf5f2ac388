package fault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"example.com/podero-facade/server/internal/recovery"
)

// Network returns a network failure in a form that is fit for the log: the text of an error of the operating system,
// of DNS or of TLS, the stack of a panic, and of anything else no more than its type. A url.Error quotes the
// whole URL, and net/http's errors quote what the peer sent; either may name a person.
func Network(err error) error {
	var (
		operation   *net.OpError
		resolution  *net.DNSError
		certificate *tls.CertificateVerificationError
		panicked    *recovery.PanicError
	)
	switch {
	case errors.As(err, &panicked):
		return panicked
	case errors.As(err, &resolution):
		return resolution
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &operation):
		return operation
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		for errors.Unwrap(err) != nil {
			err = errors.Unwrap(err)
		}
		return fmt.Errorf("the round trip failed (%T)", err)
	}
}

// IsLocal reports whether a connection could not be opened for lack of something on this machine:
// file descriptors, ports or memory for sockets. The peer is not to blame for that.
func IsLocal(err error) bool {
	for _, local := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, local) {
			return true
		}
	}
	resolution, ok := errors.AsType[*net.DNSError](err) // which has the text of its cause alone
	return ok && strings.Contains(resolution.Err, syscall.EMFILE.Error())
}
