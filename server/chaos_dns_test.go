//go:build chaos && connectionage

package server_test

import (
	"net"
	"testing"
	"time"

	"example.com/podero-facade/server"
)

// TestChaosDNSChanges gives the upstream's name another address under load.
func TestChaosDNSChanges(t *testing.T) {
	const maxAge = 3 * time.Second
	server.SetMaxConnectionAge(maxAge) // while no other test runs, and for the rest of the process
	t.Parallel()
	eachWithTLS(t, func(t *testing.T, secure bool) {
		b := newBackend(t, newHandler(good), secure)
		old := newProxyAt(t, "127.0.0.2:0", b.address)
		_, port, err := net.SplitHostPort(old.address())
		if err != nil {
			t.Fatal(err)
		}
		current := newProxyAt(t, "127.0.0.3:"+port, b.address)
		name := map[bool]string{false: "moves-plaintext." + domain, true: "moves-tls." + domain}[secure]
		dns.set(name, "127.0.0.2")
		s := b.at(net.JoinHostPort(name, port)).start(t, func(c *server.Config) { c.Insecure = true })
		var changed time.Time
		timer := time.AfterFunc(2*time.Second, func() {
			changed = time.Now()
			dns.set(name, "127.0.0.3")
		})
		defer timer.Stop()
		all := play(100, max(8*time.Second, scaled(20*time.Second)), 5*time.Second, s.lookups(t))
		last := time.Unix(0, old.received.Load()).Sub(changed)
		t.Logf("DNS changes, connections live %v: the last request at the old address after %v, %d connections to the new one, %d of %d calls failed %s",
			maxAge, last.Round(time.Millisecond), current.accepted.Load(), all.failed(), len(all), all.failures())
		if all.failed() > 0 || current.accepted.Load() == 0 || last > maxAge*11/10+100*time.Millisecond {
			t.Error("want no failure, and all requests at the new address once connections have reached their maximum age")
		}
	})
}
