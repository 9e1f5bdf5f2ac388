//go:build chaos

package server_test

import (
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/podero-facade/server"
)

func TestChaosFirstOfTwoAddressesIsSilent(t *testing.T) {
	t.Parallel()
	eachWithTLS(t, func(t *testing.T, secure bool) {
		closing := func(next http.HandlerFunc) http.HandlerFunc { return withHeader("Connection", "close", next) }
		u := newHandler(closing(good))
		u.token = closing(tokens(5))
		b := newBackend(t, u, secure)
		p := newProxyAt(t, "127.0.0.3:0", b.address)
		_, port, err := net.SplitHostPort(p.address())
		if err != nil {
			t.Fatal(err)
		}
		newProxyAt(t, "127.0.0.2:"+port, b.address).dropNew(t)
		name := map[bool]string{false: "two-plaintext." + domain, true: "two-tls." + domain}[secure]
		dns.set(name, "127.0.0.2", "127.0.0.3")
		s := b.at(net.JoinHostPort(name, port)).start(t, func(c *server.Config) {
			c.Insecure = true // the configuration check sees a name, not a loopback address
			c.UpstreamAttemptTimeout = time.Second
		})
		all := play(5, max(8*time.Second, scaled(30*time.Second)), 5*time.Second, s.lookups(t))
		t.Logf("%s: %d connections, %d token requests, %d of %d calls failed, p50 %v, p99 %v %s", t.Name(), p.accepted.Load(),
			u.tokensAsked(), all.failed(), len(all), all.quantile(0.5).Round(time.Millisecond), all.quantile(0.99).Round(time.Millisecond), all.failures())
		if all.failed() > 0 || u.tokensAsked() < 2 || p.accepted.Load() < int64(len(all)) {
			t.Error("want no failure, and a connection for each request")
		}
	})
}
