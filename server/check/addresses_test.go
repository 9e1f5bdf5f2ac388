package check

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/podero-facade/server"
)

// TestAnAddressThatDoesNotWorkIsNamed has a name with two addresses, of which one refuses connections.
func TestAnAddressThatDoesNotWorkIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	var steps []Step
	r := &runner{
		config: &server.Config{Upstream: server.Upstream{UpstreamAttemptTimeout: 10 * time.Second}},
		report: func(step Step) { steps = append(steps, step) }, refused: map[string]bool{},
	}
	site := site{"upstream", "upstream-url", &url.URL{Scheme: "http", Host: "localhost:" + port}}
	if !r.connect(t.Context(), "upstream TCP", "upstream TLS", site, nil) {
		t.Fatalf("got %v", steps)
	}
	if !strings.Contains(steps[0].Seen, "connected to 127.0.0.1:"+port) {
		t.Errorf("got %v", steps[0])
	}
	warned := 0
	for _, step := range steps {
		if step.Warning {
			warned++
			if strings.Contains(step.Seen, "127.0.0.1") {
				t.Errorf("the address that works is blamed: %v", step)
			}
		}
	}
	if warned != len(addresses)-1 { // on a machine without IPv6, there is only one address
		t.Errorf("%d addresses are named, want %d of %v", warned, len(addresses)-1, addresses)
	}
}
