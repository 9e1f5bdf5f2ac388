package server_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"time"

	userv1 "example.com/podero-facade/gen/podero/user/v1"

	"github.com/alicebob/miniredis/v2"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
)

func TestTheMetricsAreThoseOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	i := newIssuer(t)
	s := start(t, newUpstream(t, replyJSON(200, document(member{"tariff", `1`})), nil), func(c *server.Config) {
		withJWT(i)(c)
		c.AuditLog = filepath.Join(t.TempDir(), "audit.log")
		c.ClientSecret, c.ClientSecretFile = secret.Text{}, secretFile(t)
		c.CacheTTL, c.CacheRedisURL = time.Minute, secret.New("redis://"+miniredis.RunT(t).Addr())
	})
	for range 2 {
		lookupGRPC(t.Context(), t, s, theUser(), bearer(i.sign(t, i.keys["one"], nil, nil)))
	}
	_, metrics := s.admin(t, "/metrics")
	documented := names(`(?m)^\| .((?:podero_facade|rpc|http)_[a-z_]+).`, string(text))
	_, secured := start(t, newUpstream(t, good, nil), withTLS(t, newAuthority(t))).admin(t, "/metrics")
	served := names(`(?m)^# TYPE ((?:podero_facade|rpc|http)_[a-z_]+) `, metrics+secured)
	for name := range served {
		if !documented[name] {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
	for name := range documented {
		if !served[name] {
			t.Errorf("%s is in docs/operations.md alone", name)
		}
	}
	for series, want := range map[string]string{
		`podero_facade_lookups_total{reason="OK"}`:            "2",
		`podero_facade_upstream_attempts_total{result="2xx"}`: "1",
		`podero_facade_upstream_attempts_total{result="5xx"}`: "0",
		`podero_facade_cache_hits_total`:                      "1",
		`podero_facade_cache_misses_total`:                    "1",
		`podero_facade_shared_cache_hits_total`:               "0",
		`podero_facade_shared_cache_misses_total`:             "1",
		`podero_facade_token_fetches_total`:                   "1",
		`podero_facade_token_failures_total`:                  "0",
		`podero_facade_breaker_open`:                          "0",
		`podero_facade_upstream_in_flight`:                    "0",
	} {
		if got := s.metric(t, series); got != want {
			t.Errorf("%s = %s, want %s", series, got, want)
		}
	}
}

// names returns what an expression finds.
func names(expression, text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		found[match[1]] = true
	}
	return found
}

func TestAttemptsAreCountedByResult(t *testing.T) {
	u := newUpstream(t, inTurn(replyJSON(503, detail), hijack(""), replyJSON(404, detail), reply(302, "text/html", ""), good), nil)
	s := start(t, u, nil)
	for range 3 {
		lookupGRPC(t.Context(), t, s, theUser(), nil)
	}
	for _, result := range []string{"2xx", "3xx", "4xx", "5xx", "network"} {
		if got := s.metric(t, `podero_facade_upstream_attempts_total{result="`+result+`"}`); got != "1" {
			t.Errorf("%s counted %s times", result, got)
		}
	}
	u.answer(silent)
	hasty := start(t, u, func(c *server.Config) { c.UpstreamAttemptTimeout, c.UpstreamMaxAttempts = time.Second, 1 })
	lookupGRPC(t.Context(), t, hasty, theUser(), nil)
	if got := hasty.metric(t, `podero_facade_upstream_attempts_total{result="timeout"}`); got != "1" {
		t.Errorf("timeout counted %s times", got)
	}
	if _, metrics := hasty.admin(t, "/metrics"); !strings.Contains(metrics, `error_type="timeout",http_`) {
		t.Errorf("no exchange took too long:\n%s", metrics)
	}
	arrived := make(chan struct{}, 2)
	u.answer(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		silent(w, r)
	})
	for _, id := range []string{"first", "second"} { // the first attempt goes on without its caller, the only one that may
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			<-arrived
			leave()
		}()
		lookupGRPC(ctx, t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id}, nil)
	}
	s.await(t, `podero_facade_upstream_attempts_total{result="canceled"}`, "1")
}
