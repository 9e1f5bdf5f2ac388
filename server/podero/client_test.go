package podero

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"example.com/podero-facade/server/fault"
)

// roundTripper is a RoundTripper made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// TestTransportErrors fails requests in each way that is classified: by a timeout, on this machine,
// or in the network.
func TestTransportErrors(t *testing.T) {
	fails := func(err error) roundTripper {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for name, c := range map[string]struct {
		transport roundTripper
		kind      fault.Kind
		result    string
		transient bool
	}{
		"the round trip's timeout": {fails(os.ErrDeadlineExceeded), fault.UpstreamTimeout, "timeout", true},
		"the context's timeout":    {fails(context.DeadlineExceeded), fault.UpstreamTimeout, "timeout", true},
		"a dial's timeout":         {fails(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), fault.UpstreamTimeout, "timeout", true},
		"a resolver's timeout":     {fails(&net.DNSError{Err: "timeout", IsTimeout: true}), fault.UpstreamTimeout, "timeout", true},
		"refused": {fails(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}),
			fault.UpstreamUnavailable, "network", true},
		"no file descriptor": {fails(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}),
			fault.Overloaded, "local", false},
		"no file descriptor for DNS": {fails(&net.DNSError{Err: "dial udp: socket: too many open files"}), fault.Overloaded, "local", false},
		"no free port": {fails(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}),
			fault.Overloaded, "local", false},
		"no such host": {fails(&net.DNSError{Err: "no such host", IsNotFound: true}), fault.UpstreamUnavailable, "network", false},
		"SERVFAIL": {fails(&net.DNSError{Err: "server misbehaving", IsTemporary: true}),
			fault.UpstreamUnavailable, "network", true},
		"an invalid certificate": {fails(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
			fault.UpstreamUnavailable, "network", false},
		"no TLS":      {fails(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), fault.UpstreamUnavailable, "network", false},
		"a TLS alert": {fails(tlsAlert(t)), fault.UpstreamUnavailable, "network", true},
	} {
		t.Run(name, func(t *testing.T) {
			var counted []string
			client, err := NewClient(ClientConfig{BaseURL: "http://127.0.0.1", Transport: c.transport,
				Count: func(result string) { counted = append(counted, result) }})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Find(t.Context(), UserByExternalID("o", "x", false))
			if failure := fault.From(err); failure.Kind != c.kind || failure.Transient != c.transient {
				t.Errorf("%v, transient %v", err, failure.Transient)
			}
			if len(counted) != 1 || counted[0] != c.result {
				t.Errorf("counted %v", counted)
			}
		})
	}
}

// tlsAlert returns the error of a client whose handshake the server ends with an alert.
func tlsAlert(t *testing.T) error {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Server(theirs, &tls.Config{MinVersion: tls.VersionTLS13}).HandshakeContext(t.Context())
	}()
	//nolint:gosec // the server must reject the version
	config := &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, ServerName: "podero.test"}
	err := tls.Client(ours, config).HandshakeContext(t.Context())
	_, _ = ours.Close(), theirs.Close()
	<-done
	if operation, ok := errors.AsType[*net.OpError](err); !ok || operation.Op != "remote error" {
		t.Fatalf("the client got %v, want an alert", err)
	}
	return err
}

func TestACallerWhoLeavesIsNoTimeout(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	client, err := NewClient(ClientConfig{BaseURL: "http://127.0.0.1", Count: func(string) {},
		Transport: roundTripper(func(request *http.Request) (*http.Response, error) {
			leave()
			return nil, context.Cause(request.Context())
		})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Find(ctx, UserByExternalID("o", "x", false)); !fault.Is(err, fault.CallerCancelled) {
		t.Error(err)
	}
}
