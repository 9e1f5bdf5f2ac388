//go:build chaos

package server_test

import (
	"net"
	"testing"
	"time"

	"example.com/podero-facade/server"
)

// TestChaosDNSChanges changes the address of the upstream's name under load.
func TestChaosDNSChanges(t *testing.T) {
	const maxAge = 3 * time.Second
	restore := server.SetMaxConnectionAge(maxAge) // while no other test runs
	plaintext, secure := newMoving(t, "moves-plaintext", false), newMoving(t, "moves-tls", true)
	restore()
	t.Parallel()
	eachWithTLS(t, func(t *testing.T, tls bool) {
		m := map[bool]*moving{false: plaintext, true: secure}[tls]
		lookup := m.service.lookups(t)
		warmUp(t, lookup)
		changed := doAfter(2*time.Second, func() { dns.set(m.name, "127.0.0.3") })
		all := play(100, max(8*time.Second, scaled(20*time.Second)), 5*time.Second, lookup)
		last := time.Unix(0, m.from.received.Load()).Sub(<-changed)
		t.Logf("%s: connections live %v, the last request at the old address after %v, %d connections to the new one, %d of %d calls failed %s",
			t.Name(), maxAge, last.Round(time.Millisecond), m.to.accepted.Load(), all.failed(), len(all), all.failures())
		if all.failed() > 0 || m.to.accepted.Load() == 0 || last > maxAge*11/10+100*time.Millisecond {
			t.Error("want no failure, and all requests at the new address once connections have reached their maximum age")
		}
	})
}

// moving is a service whose upstream has a name that first resolves to the proxy from, and later to
// the proxy to.
type moving struct {
	name     string
	from, to *proxy
	service  *service
}

func newMoving(t *testing.T, name string, secure bool) *moving {
	t.Helper()
	b := newBackend(t, newHandler(good), secure)
	m := &moving{name: name + "." + domain, from: newProxyAt(t, "127.0.0.2:0", b.address)}
	_, port, err := net.SplitHostPort(m.from.address())
	if err != nil {
		t.Fatal(err)
	}
	m.to = newProxyAt(t, "127.0.0.3:"+port, b.address)
	dns.set(m.name, "127.0.0.2")
	m.service = b.at(net.JoinHostPort(m.name, port)).start(t, func(c *server.Config) { c.Insecure = true })
	return m
}
