package podero

import (
	"context"
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

// TestWhicheverClockIsFirstATimeoutIsOne ends exchanges by each of the clocks that they have.
func TestWhicheverClockIsFirstATimeoutIsOne(t *testing.T) {
	fails := func(err error) roundTripper {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for name, c := range map[string]struct {
		transport roundTripper
		kind      fault.Kind
		result    string
		transient bool
	}{
		"the exchange's": {fails(os.ErrDeadlineExceeded), fault.UpstreamTimeout, "timeout", true},
		"the context's":  {fails(context.DeadlineExceeded), fault.UpstreamTimeout, "timeout", true},
		"a dial's":       {fails(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), fault.UpstreamTimeout, "timeout", true},
		"a resolver's":   {fails(&net.DNSError{Err: "timeout", IsTimeout: true}), fault.UpstreamTimeout, "timeout", true},
		"none, refused": {fails(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}),
			fault.UpstreamUnavailable, "network", true},
		"none, no file descriptor": {fails(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}),
			fault.Overloaded, "local", false},
		"none, no file descriptor for DNS": {fails(&net.DNSError{Err: "dial udp: socket: too many open files"}), fault.Overloaded, "local", false},
		"none, no free port": {fails(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}),
			fault.Overloaded, "local", false},
		"none, no such host": {fails(&net.DNSError{Err: "no such host", IsNotFound: true}), fault.UpstreamUnavailable, "network", false},
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
