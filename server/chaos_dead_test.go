//go:build chaos

package server_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.com/podero-facade/server"
)

func TestChaosDeadUpstream(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(*proxy, testing.TB){
		"accepts and never responds": func(p *proxy, _ testing.TB) {
			p.freezeNew()
			p.freeze()
		},
		"drops all packets": func(p *proxy, t testing.TB) {
			p.dropNew(t)
			p.silence(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			playDeath(t, kill)
		})
	}
}

// playDeath makes the upstream dead under load with deadlines of 1 s.
func playDeath(t *testing.T, kill func(*proxy, testing.TB)) {
	const before, limit = 2 * time.Second, 10 * time.Second
	b := newBackend(t, newHandler(good), false)
	p := newProxy(t, b.address)
	s := b.at(p.address()).start(t, func(c *server.Config) { c.LogLevel = slog.LevelInfo })
	ended := make(chan calls, 1)
	lookup := s.lookups(t)
	warmUp(t, lookup)
	go func() {
		ended <- play(50, before+limit+max(5*time.Second, scaled(30*time.Second)), time.Second, lookup)
	}()
	time.Sleep(before)
	dead := time.Now()
	kill(p, t)
	opened, ok := s.breakerOpened(t, dead.Add(limit))
	all := <-ended
	rejections := all.between(opened, forever()).because("UPSTREAM_CIRCUIT_OPEN")
	cancelled := s.metric(t, `podero_facade_lookups_total{reason="CALLER_CANCELLED"}`)
	t.Logf("%s: breaker open %v after %v, p99 of %d rejections %v, %d lines and %q in the metrics say CALLER_CANCELLED %s", t.Name(),
		ok, opened.Sub(dead).Round(10*time.Millisecond), len(rejections), rejections.quantile(0.99).Round(100*time.Microsecond),
		strings.Count(s.log.String(), "CALLER_CANCELLED"), cancelled, all.failures())
	if !ok || len(rejections) == 0 {
		t.Errorf("want an open breaker within %v", limit)
	}
	if !soon(rejections.quantile(0.99), 20*time.Millisecond) {
		t.Error("want rejections within 20 ms")
	}
	if cancelled != "" && cancelled != "0" || strings.Contains(s.log.String(), "CALLER_CANCELLED") {
		t.Error("want no CALLER_CANCELLED: every caller stayed until its deadline")
	}
}

// breakerOpened waits until the breaker is open or the time is up, and returns the current time and
// which of them it was.
func (s *service) breakerOpened(t *testing.T, until time.Time) (at time.Time, opened bool) {
	t.Helper()
	for time.Now().Before(until) {
		if s.metric(t, "podero_facade_breaker_open") == "1" {
			return time.Now(), true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Now(), false
}
