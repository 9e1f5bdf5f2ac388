//go:build chaos

package server_test

import (
	"context"
	"testing"
	"time"
)

// TestChaosSessionTickets runs against OpenSSL, which sends session tickets after a TLS 1.3
// handshake. Handshake and request take 80 ms each: a deadline of 250 ms suffices for both, one of
// 150 ms only for a request on an existing connection.
func TestChaosSessionTickets(t *testing.T) {
	t.Parallel()
	for _, protocols := range []string{"TLSv1.2", "TLSv1.3"} {
		_, b := newNginx(t, protocols, "")
		for _, deadline := range []time.Duration{250 * time.Millisecond, 150 * time.Millisecond} {
			t.Run(protocols+", "+deadline.String(), func(t *testing.T) {
				t.Parallel()
				playTickets(t, b, deadline)
			})
		}
	}
}

func playTickets(t *testing.T, b backend, deadline time.Duration) {
	p := newProxy(t, b.address)
	p.delay(40 * time.Millisecond)
	s := b.at(p.address()).start(t, nil)
	s.await(t, "podero_facade_token_fetches_total", "1")
	lookup := s.lookups(t)
	var all calls
	for i := range max(15, int(60**scale)) {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		at := time.Now()
		code, reason := lookup(ctx, i)
		cancel()
		if i > 0 {
			all = append(all, call{at, time.Since(at), code, reason})
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("%s: %d of %d calls after the first failed, the slowest took %v, %d connections %s", t.Name(),
		all.failed(), len(all), all.quantile(1).Round(time.Millisecond), p.accepted.Load(), all.failures())
	tolerated := 0
	if *scale < 1 { // CI's machine may have much else to do
		tolerated = 2
	}
	if all.failed() > tolerated {
		t.Error("want no failure")
	}
}
