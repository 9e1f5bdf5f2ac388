package server_test

import (
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
)

// inTurn is an upstream that behaves in one way after the other, and in the last way from then on.
func inTurn(ways ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		ways[min(int(n.Add(1)), len(ways))-1](w, r)
	}
}

var good = replyJSON(200, document())

// gzipped is an upstream's answer that says that it is compressed.
func gzipped(body string) http.HandlerFunc {
	return withHeader("Content-Encoding", "gzip", replyJSON(200, body))
}

func TestWhatIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		first    http.HandlerFunc
		attempts int
	}{
		"502":                             {reply(502, "text/html", html), 2},
		"503":                             {replyJSON(503, detail), 2},
		"504":                             {reply(504, "text/html", html), 2},
		"closed before the answer":        {hijack(""), 2},
		"closed inside the headers":       {hijack("HTTP/1.1 200 OK\r\nContent-Ty"), 2},
		"cut short":                       {hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"), 2},
		"an attempt's timeout":            {silent, 2},
		"429 with a second":               {withHeader("Retry-After", "1", replyJSON(429, detail)), 2},
		"503 with a second":               {withHeader("Retry-After", "1", replyJSON(503, detail)), 2},
		"429 with no wait":                {withHeader("Retry-After", "0", replyJSON(429, detail)), 2},
		"429 with an absurd wait":         {withHeader("Retry-After", "2147483648", replyJSON(429, detail)), 1},
		"503 with an absurd wait":         {withHeader("Retry-After", "99999999999999999999", replyJSON(503, detail)), 1},
		"429 with three seconds":          {withHeader("Retry-After", "3", replyJSON(429, detail)), 1},
		"429 without a time":              {replyJSON(429, detail), 1},
		"500":                             {replyJSON(500, detail), 1},
		"501":                             {replyJSON(501, detail), 1},
		"404":                             {replyJSON(404, detail), 1},
		"422":                             {replyJSON(422, detail), 1},
		"302":                             {reply(302, "text/html", html), 1},
		"a document out of the contract":  {replyJSON(200, "{}"), 1},
		"503 with a time beyond the call": {withHeader("Retry-After", "60", replyJSON(503, detail)), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, inTurn(c.first, good), nil)
			s := start(t, u, func(c *server.Config) {
				if name == "an attempt's timeout" {
					c.UpstreamAttemptTimeout = 2 * time.Second // which the second attempt has, too
				}
			})
			got := lookupREST(t.Context(), t, s, theUser(), nil)
			if (got.user != nil) != (c.attempts == 2) || len(u.apiRequests()) != c.attempts {
				t.Errorf("%s after %d attempts, want %d", got.reason, len(u.apiRequests()), c.attempts)
			}
		})
	}
}

func TestARequestIsNotSentAgainBehindOurBack(t *testing.T) {
	// net/http by itself sends a GET again on each connection that it reuses and that dies.
	var gone atomic.Bool
	var together sync.WaitGroup
	together.Add(8)
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			hijack("")(w, r)
			return
		}
		together.Done()
		together.Wait()
		good(w, r)
	}, nil)
	s := start(t, u, func(c *server.Config) { c.UpstreamMaxAttempts = 1 })
	var calls sync.WaitGroup
	for i := range 8 { // so many connections
		calls.Go(func() {
			lookupGRPC(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: fmt.Sprint(i)}, nil)
		})
	}
	calls.Wait()
	gone.Store(true)
	before := len(u.apiRequests())
	unavailable.check(t, lookupGRPC(t.Context(), t, s, theUser(), nil))
	if n := len(u.apiRequests()) - before; n != 1 {
		t.Errorf("%d requests reached Podero for one call without retries", n)
	}
}

func TestCallersAreToldNotToMultiplyRetries(t *testing.T) {
	for name, c := range map[string]struct {
		api    http.HandlerFunc
		token  http.HandlerFunc
		change func(*server.Config)
		want   string
	}{
		"retries":        {replyJSON(503, detail), nil, nil, "-1"},
		"no retries":     {replyJSON(503, detail), nil, func(c *server.Config) { c.UpstreamMaxAttempts = 1 }, ""},
		"not found":      {replyJSON(404, detail), nil, nil, ""},
		"rate limit":     {inTurn(withHeader("Retry-After", "30", replyJSON(429, detail))), nil, nil, ""},
		"token endpoint": {good, replyJSON(503, detail), nil, "-1"},
		"the lookup's time": {silent, nil, func(c *server.Config) {
			c.UpstreamAttemptTimeout, c.UpstreamTimeout = 100*time.Millisecond, 150*time.Millisecond
		}, "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newUpstream(t, c.api, c.token), c.change)
			var trailer metadata.MD
			_, err := s.grpc.GetUserByExternalId(t.Context(), theUser(), grpc.Trailer(&trailer), grpc.WaitForReady(true))
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.Join(trailer.Get("grpc-retry-pushback-ms"), ","); got != c.want {
				t.Errorf("pushback %q, want %q", got, c.want)
			}
			got := lookupREST(t.Context(), t, s, theUser(), nil)
			if len(got.http.Trailer) != 0 || got.http.Header.Get("Grpc-Retry-Pushback-Ms") != "" {
				t.Errorf("REST: %v %v", got.http.Header, got.http.Trailer)
			}
		})
	}
}

func TestA429IsRespectedByAllCalls(t *testing.T) {
	u := newUpstream(t, inTurn(withHeader("Retry-After", "30", replyJSON(429, detail)), good), nil)
	s := start(t, u, nil)
	limited.after(30*time.Second).check(t, lookupGRPC(t.Context(), t, s, theUser(), nil))
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		got := lookup(theUser(), nil)
		if got.code != codes.ResourceExhausted || got.reason != "UPSTREAM_RATE_LIMITED" || got.retryAfter <= 25*time.Second || got.retryAfter > 30*time.Second {
			t.Errorf("%v %s, retry after %v", got.code, got.reason, got.retryAfter)
		}
	})
	if n := len(u.apiRequests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAnOpenBreakerAnswersAtOnce(t *testing.T) {
	u := newUpstream(t, replyJSON(500, detail), nil)
	s := start(t, u, nil)
	for range 20 {
		lookupGRPC(t.Context(), t, s, theUser(), nil)
	}
	before := len(u.apiRequests())
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		got := lookup(theUser(), nil)
		if got.code != codes.Unavailable || got.reason != "UPSTREAM_CIRCUIT_OPEN" || got.retryAfter <= 0 || got.retryAfter > 5*time.Second {
			t.Errorf("%v %s, retry after %v", got.code, got.reason, got.retryAfter)
		}
		if got.http != nil && got.http.StatusCode != 503 {
			t.Errorf("HTTP status %d", got.http.StatusCode)
		}
	})
	if len(u.apiRequests()) != before {
		t.Error("an open breaker let a call through")
	}
}

func TestAFullServiceSaysSo(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel() // as the second call waits for its turn
			release := make(chan struct{})
			arrived := make(chan struct{})
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				close(arrived) // panics the second time
				<-release
				good(w, r)
			}, nil)
			s := start(t, u, func(c *server.Config) { c.UpstreamMaxConcurrency = 1 })
			first := make(chan answer, 1)
			go func() { first <- lookupGRPC(t.Context(), t, s, theUser(), nil) }()
			<-arrived
			failure{code: codes.ResourceExhausted, http: 429, reason: "OVERLOADED", retryAfter: time.Second}.
				check(t, protocol.lookup(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "other"}, nil))
			close(release)
			<-first
		})
	}
}

func TestIdenticalLookupsShareOneRequest(t *testing.T) {
	release := make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		good(w, r)
	}, nil)
	s := start(t, u, nil)
	const callers = 200
	var calls sync.WaitGroup
	for i := range callers {
		calls.Go(func() {
			if got := protocols[i%2].lookup(t.Context(), t, s, theUser(), nil); got.user == nil {
				t.Error(got.message)
			}
		})
	}
	s.await(t, "podero_facade_lookups_coalesced_total", fmt.Sprint(callers-1))
	close(release)
	calls.Wait()
	if n := len(u.apiRequests()); n != 1 {
		t.Errorf("%d requests for identical lookups, want 1", n)
	}
}

func TestPassthroughSharesNothingBetweenTokens(t *testing.T) {
	var arrived sync.WaitGroup
	arrived.Add(2)
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Done()
		arrived.Wait() // for the other, which must come, too
		if r.Header.Get("Authorization") != "Bearer good" {
			replyJSON(401, detail)(w, r)
			return
		}
		good(w, r)
	}, nil)
	s := start(t, u, passthrough)
	var calls sync.WaitGroup
	for _, token := range []string{"good", "bad"} {
		calls.Go(func() {
			got := lookupGRPC(t.Context(), t, s, theUser(), http.Header{"Authorization": {"Bearer " + token}})
			if (got.user != nil) != (token == "good") {
				t.Errorf("%s: %s", token, got.reason)
			}
		})
	}
	calls.Wait()
}

func TestBodiesThatLie(t *testing.T) {
	for name, c := range map[string]struct {
		api  http.HandlerFunc
		want failure
	}{
		"gzip that is none":      {gzipped(document()), failure{code: codes.Internal, http: 500, reason: "UPSTREAM_CONTRACT_VIOLATION", upstream: "200"}},
		"gzip":                   {gzipped(compress(document())), failure{}},
		"gzip, cut short":        {gzipped(compress(document())[:200]), unavailable},
		"gzip, corrupt":          {gzipped(compress(document())[:200] + strings.Repeat("\xff", 300)), failure{code: codes.Internal, http: 500, reason: "UPSTREAM_CONTRACT_VIOLATION", upstream: "200"}},
		"a bomb":                 {gzipped(bomb()), failure{code: codes.Internal, http: 500, reason: "UPSTREAM_CONTRACT_VIOLATION", upstream: "200"}},
		"a body without an end":  {endless, failure{code: codes.Internal, http: 500, reason: "UPSTREAM_CONTRACT_VIOLATION", upstream: "200"}},
		"shorter than announced": {hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + document()), unavailable},
		"longer than announced":  {hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n" + document()), failure{code: codes.Internal, http: 500, reason: "UPSTREAM_CONTRACT_VIOLATION", upstream: "200"}},
		"headers without an end": {hijack("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)), unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newUpstream(t, c.api, nil), nil)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				got := lookup(theUser(), nil)
				if c.want.reason == "" {
					if got.user == nil {
						t.Errorf("%s: %s", got.reason, got.message)
					}
					return
				}
				c.want.check(t, got)
			})
		})
	}
}

// endless is an upstream that goes on until its client leaves.
func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for {
		if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
			return
		}
	}
}

// bomb is 64 MiB, compressed.
func bomb() string { return compress(strings.Repeat("0", 64<<20)) }

func compress(text string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

// anybody is an upstream whose user has no external ID, and so is the one of any.
func anybody(w http.ResponseWriter, r *http.Request) {
	replyJSON(200, document(member{"external_user_id", "null"}))(w, r)
}

func TestTheCacheTellsOfItself(t *testing.T) {
	u := newUpstream(t, anybody, nil)
	s := start(t, u, func(c *server.Config) {
		c.CacheTTL, c.CacheStaleIfError = time.Minute, time.Hour
	})
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		request := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: t.Name()}
		first, second := lookup(request, nil), lookup(request, nil)
		if first.user == nil || fmt.Sprint(first.user) != fmt.Sprint(second.user) {
			t.Errorf("%s %s", first.reason, second.reason)
		}
		if first.cache != "" || second.cache != "hit 0" {
			t.Errorf("%q, then %q", first.cache, second.cache)
		}
		request.OrgId = strings.ToUpper(orgID)
		if third := lookup(request, nil); third.cache != "hit 0" {
			t.Errorf("an organization in upper case: %q", third.cache)
		}
		request.IncludeDeleted = true
		if other := lookup(request, nil); other.cache != "" {
			t.Errorf("another lookup: %q", other.cache)
		}
	})
	u.answer(replyJSON(404, detail))
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		request := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: t.Name()}
		lookup(request, nil)
		got := lookup(request, nil)
		notFound.check(t, got)
		if got.cache != "hit 0" {
			t.Errorf("%q", got.cache)
		}
	})
}

func TestAStaleAnswerWhenPoderoIsDown(t *testing.T) {
	u := newUpstream(t, good, nil)
	s := start(t, u, func(c *server.Config) {
		c.CacheTTL, c.CacheStaleIfError = time.Nanosecond, time.Hour
	})
	overBoth(t, s, func(_ *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		lookup(theUser(), nil)
	})
	u.server.Close()
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		if got := lookup(theUser(), nil); got.user == nil || !strings.HasPrefix(got.cache, "stale ") {
			t.Errorf("%s %q", got.reason, got.cache)
		}
	})
}

func TestPassthroughCachesForEachTokenAlone(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			replyJSON(401, detail)(w, r)
			return
		}
		good(w, r)
	}, nil)
	s := start(t, u, func(c *server.Config) {
		passthrough(c)
		c.CacheTTL = time.Minute
	})
	for range 2 {
		if got := lookupGRPC(t.Context(), t, s, theUser(), http.Header{"Authorization": {"Bearer good"}}); got.user == nil {
			t.Errorf("%s", got.reason)
		}
		got := lookupGRPC(t.Context(), t, s, theUser(), http.Header{"Authorization": {"Bearer bad"}})
		if got.user != nil || got.reason != "UPSTREAM_UNAUTHENTICATED" {
			t.Errorf("another token got %s", got.reason)
		}
	}
}

// TestReplicasShareWhatTheyFetched has three, of which one has a Redis that isn't there.
func TestReplicasShareWhatTheyFetched(t *testing.T) {
	redis := miniredis.RunT(t)
	u := newUpstream(t, anybody, nil)
	replica := func(location string) *service {
		return start(t, u, func(c *server.Config) { c.CacheTTL, c.CacheRedisURL = time.Hour, secret.New(location) })
	}
	a, b, alone := replica("redis://"+redis.Addr()), replica("redis://"+redis.Addr()), replica("redis://127.0.0.1:1")
	for _, protocol := range protocols {
		found := func() bool {
			request := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: rand.Text()}
			before, end := len(redis.Keys()), time.Now().Add(testLimit)
			first := protocol.lookup(t.Context(), t, a, request, nil)
			for len(redis.Keys()) == before && time.Now().Before(end) {
				<-time.After(time.Millisecond)
			}
			second := protocol.lookup(t.Context(), t, b, request, nil)
			if first.user == nil || fmt.Sprint(first.user) != fmt.Sprint(second.user) {
				t.Errorf("%s, then %s of another replica", first.reason, second.reason)
			}
			return second.cache == "hit 0"
		}
		for end := time.Now().Add(testLimit); !found(); { // a busy machine may have no answer of Redis's in time
			if time.Now().After(end) {
				t.Fatalf("%s: no hit", protocol.name)
			}
		}
	}
	if keys := fmt.Sprint(redis.Keys()); strings.Contains(keys, orgID) {
		t.Errorf("keys %s", keys)
	}
	overBoth(t, alone, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		for range 10 {
			if got := lookup(&userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: rand.Text()}, nil); got.user == nil {
				t.Errorf("without Redis: %s", got.reason)
			}
		}
	})
	a.checkDiscretion(t)
	alone.checkDiscretion(t)
}
