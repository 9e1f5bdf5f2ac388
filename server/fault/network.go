package fault

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
)

// Network returns a network failure in a form that is fit for the log: the operating system's, DNS's
// and TLS's own words, and of anything else no more than its type. A url.Error quotes the whole URL,
// and net/http's errors quote what the peer sent; either may name a person.
func Network(err error) error {
	var (
		operation   *net.OpError
		resolution  *net.DNSError
		certificate *tls.CertificateVerificationError
	)
	switch {
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
		return fmt.Errorf("the exchange failed (%T)", err)
	}
}

// IsCorrupt reports whether a body could not be read because it is not compressed in the way that its
// headers say. The network is not to blame for that.
func IsCorrupt(err error) bool {
	if err == nil { // as for most exchanges
		return false
	}
	var corrupt flate.CorruptInputError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt)
}
