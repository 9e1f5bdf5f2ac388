package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/token"
)

// tokenFailures are the rows of the error table that the token endpoint can cause.
var tokenFailures = []struct {
	name  string
	token http.HandlerFunc
	want  failure
}{
	{"400", replyJSON(400, `{"error":"invalid_request"}`), tokenRejected.status(400)},
	{"400, format unknown", replyJSON(400, `{"error":"unsupported_grant_type"}`), tokenRejected.status(400)},
	{"400, scope", replyJSON(400, `{"error":"invalid_scope"}`), tokenRejected.status(400)},
	{"401", replyJSON(401, `{"error":"invalid_client","error_description":"`+clientSecret+`"}`), tokenRejected.status(401)},
	{"401 with HTML", reply(401, "text/html", html), tokenRejected.status(401)},
	{"401 with an error of its own", replyJSON(401, `{"error":"`+clientSecret+`"}`), tokenRejected.status(401)},
	{"403", replyJSON(403, detail), tokenRejected.status(403)},
	{"404", reply(404, "text/html", html), tokenRejected.status(404)},
	{"405", reply(405, "text/plain", "Method not allowed"), tokenRejected.status(405)},
	{"302 without a Location", reply(302, "text/html", html), tokenRejected.status(302)},
	{"302 with a bad Location", withHeader("Location", "http://%zz", reply(302, "text/html", html)), tokenRejected.status(302)},
	{"302 with an empty Location", withHeader("Location", "", reply(302, "text/html", html)), tokenRejected.status(302)},
	{"304", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, tokenRejected.status(304)},
	{"301", withHeader("Location", "/oauth2/token/", reply(301, "text/html", html)), tokenRejected.status(301)},
	{"307", withHeader("Location", "/oauth2/token/", reply(307, "text/html", html)), tokenRejected.status(307)},
	{"HTML 200", reply(200, "text/html", html), tokenRejected.status(200)},
	{"empty 200", replyJSON(200, ""), tokenRejected.status(200)},
	{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, tokenRejected.status(204)},
	{"no token", replyJSON(200, `{"expires_in":36000,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"empty token", replyJSON(200, `{"access_token":"","expires_in":36000,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"token of another type", replyJSON(200, `{"access_token":"token-1","expires_in":36000,"token_type":"MAC"}`), tokenRejected.status(200)},
	{"token with a line feed", replyJSON(200, `{"access_token":"token-1\r\nX-Evil: 1","expires_in":36000,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"a token of more than 16 KiB", replyJSON(200, `{"access_token":"`+strings.Repeat("x", 16<<10+1)+`","expires_in":36000,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"lifetime of a nanosecond", replyJSON(200, `{"access_token":"token-1","expires_in":0.000000001,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"lifetime that is infinite", replyJSON(200, `{"access_token":"token-1","expires_in":"Infinity","token_type":"Bearer"}`), tokenRejected.status(200)},
	{"lifetime of zero", replyJSON(200, `{"access_token":"token-1","expires_in":0,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"negative lifetime", replyJSON(200, `{"access_token":"token-1","expires_in":-1,"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"lifetime of another type", replyJSON(200, `{"access_token":"token-1","expires_in":{},"token_type":"Bearer"}`), tokenRejected.status(200)},
	{"a body over 1 MiB", replyJSON(200, `{"x":"`+strings.Repeat("x", 1<<20)+`","access_token":"token-1"}`), tokenRejected.status(200)},
	{"a body without an end", endless, tokenRejected.status(200)},
	{"gzip that is none", gzipped(`{"access_token":"token-1"}`), tokenRejected.status(200)},
	{"a bomb", gzipped(bomb()), tokenRejected.status(200)},
	{"longer than announced", hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"access_token\":\"token-1\"}"), tokenRejected.status(200)},
	{"401, cut short", hijack("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"), tokenRejected.status(401)},
	{"a status above 599", reply(600, "text/html", html), tokenRejected.status(600)},
	{"429", replyJSON(429, detail), tokenUnavailable.status(429)},
	{"500", reply(500, "text/html", html), tokenUnavailable.status(500)},
	{"503", reply(503, "text/html", html), tokenUnavailable.status(503)},
	{"closed before the answer", hijack(""), tokenUnavailable},
	{"closed inside the headers", hijack("HTTP/1.1 200 OK\r\nContent-Ty"), tokenUnavailable},
	{"not HTTP", hijack("SSH-2.0-OpenSSH_9.6\r\n\r\n"), tokenUnavailable},
	{"cut short", hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"), tokenUnavailable},
}

var (
	tokenRejected    = failure{code: codes.Internal, http: 500, reason: "TOKEN_REJECTED"}
	tokenUnavailable = failure{code: codes.Unavailable, http: 503, reason: "TOKEN_UNAVAILABLE"}
)

func TestFailuresOfTheTokenEndpoint(t *testing.T) {
	for _, c := range tokenFailures {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, replyJSON(200, document()), c.token)
			s := start(t, u, nil)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				c.want.check(t, lookup(theUser(), nil))
			})
			s.checkDiscretion(t)
			if len(u.apiRequests()) != 0 {
				t.Error("a call without a token reached Podero")
			}
		})
	}
}

func TestTokensThatAreWrittenUnusually(t *testing.T) {
	const plain = `{"access_token":"token-1","expires_in":36000,"token_type":"Bearer"}`
	for name, token := range map[string]http.HandlerFunc{
		"lifetime as text":   replyJSON(200, `{"access_token":"token-1","expires_in":"36000","token_type":"bearer"}`),
		"odd lifetime":       replyJSON(200, `{"access_token":"token-1","expires_in":0.5e5,"token_type":"BEARER","scope":"read","refresh_token":null}`),
		"no lifetime":        replyJSON(200, `{"access_token":"token-1","token_type":"Bearer"}`),
		"null lifetime":      replyJSON(200, `{"access_token":"token-1","expires_in":null,"token_type":"Bearer"}`),
		"enormous lifetime":  replyJSON(200, `{"access_token":"token-1","expires_in":1e300,"token_type":"Bearer"}`),
		"JSON called a text": reply(200, "text/plain", plain),
		"JSON called a form": reply(200, "application/x-www-form-urlencoded", plain),
		"JSON called HTML":   reply(200, "text/html", plain),
		"a BOM":              replyJSON(200, "\ufeff"+plain),
		"a form":             reply(200, "application/x-www-form-urlencoded", "access_token=token-1&expires_in=36000&token_type=Bearer"),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newUpstream(t, replyJSON(200, document()), token), nil)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				if got := lookup(theUser(), nil); got.user == nil {
					t.Errorf("reason %s, want a user: %s", got.reason, got.message)
				}
			})
		})
	}
}

// picky is a token endpoint that reads one format alone, and looks at the credentials after the format.
func picky(t *testing.T, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.Header.Get("Accept") != "application/json" || !strings.HasPrefix(r.UserAgent(), "podero-facade/") {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		if r.Header.Get("Content-Type") != contentType {
			replyJSON(400, `{"error":"unsupported_grant_type"}`)(w, r)
			return
		}
		want := base64.StdEncoding.EncodeToString([]byte("client:" + url.QueryEscape(clientSecret)))
		if r.Header.Get("Authorization") != "Basic "+want {
			replyJSON(401, `{"error":"invalid_client"}`)(w, r)
			return
		}
		values := url.Values{}
		if contentType == "application/json" {
			var object map[string]string
			if err := json.Unmarshal(body, &object); err != nil {
				t.Error(err)
			}
			for name, value := range object {
				values.Set(name, value)
			}
		} else if values, err = url.ParseQuery(string(body)); err != nil {
			t.Error(err)
		}
		if len(values) != 2 || values.Get("grant_type") != "client_credentials" || values.Get("scope") != "read write" {
			t.Errorf("body %s", body)
		}
		grant(w, r)
	}
}

func TestFormatsOfTheTokenRequest(t *testing.T) {
	const formType = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		format token.Format
		reads  string
		asked  int // how often for the first token
		ok     bool
	}{
		{token.Auto, "application/json", 1, true},
		{token.Auto, formType, 2, true},
		{token.JSON, "application/json", 1, true},
		{token.Form, formType, 1, true},
		{token.JSON, formType, 1, false},
		{token.Form, "application/json", 1, false},
	} {
		t.Run(string(c.format)+" to one that reads "+c.reads, func(t *testing.T) {
			u := newUpstream(t, nil, picky(t, c.reads))
			s := start(t, u, func(config *server.Config) {
				config.TokenRequestFormat = c.format
				config.Scope = []string{"read", "write"}
			})
			u.answer(replyJSON(200, document()))
			got := lookupREST(t.Context(), t, s, theUser(), nil)
			if (got.user != nil) != c.ok || c.ok && u.tokensAsked() != c.asked {
				t.Fatalf("%s after %d token requests", got.reason, u.tokensAsked())
			}
			if !c.ok {
				return
			}
			// What worked is tried first from now on: one more 401 costs one more request.
			first := true
			u.answer(func(w http.ResponseWriter, r *http.Request) {
				if first {
					first = false
					replyJSON(401, detail)(w, r)
					return
				}
				replyJSON(200, document())(w, r)
			})
			if got := lookupREST(t.Context(), t, s, theUser(), nil); got.user == nil {
				t.Error(got.message)
			}
			if u.tokensAsked() != c.asked+1 {
				t.Errorf("%d token requests, want %d", u.tokensAsked(), c.asked+1)
			}
		})
	}
}

func TestAutoTriesAnotherFormatAfterOneErrorAlone(t *testing.T) {
	for _, body := range []string{`{"error":"invalid_client"}`, `{"error":"invalid_request"}`, html, ``} {
		u := newUpstream(t, nil, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("credentials sent again as %s", got)
			}
			replyJSON(400, body)(w, r)
		})
		s := start(t, u, nil)
		for range 3 {
			tokenRejected.status(400).check(t, lookupGRPC(t.Context(), t, s, theUser(), nil))
		}
	}
}

func TestOneTokenServesAllCalls(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, replyJSON(200, document()), func(w http.ResponseWriter, r *http.Request) {
		close(asked) // panics the second time
		<-release
		grant(w, r)
	})
	s := start(t, u, nil)
	<-asked
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			if got := lookupGRPC(t.Context(), t, s, theUser(), nil); got.user == nil {
				t.Error(got.message)
			}
		})
	}
	close(release)
	calls.Wait()
	for range 10 {
		lookupREST(t.Context(), t, s, theUser(), nil)
	}
	if u.tokensAsked() != 1 {
		t.Errorf("%d token requests, want 1", u.tokensAsked())
	}
	for _, r := range u.apiRequests() {
		if got := r.Header.Get("Authorization"); got != "Bearer token-1" {
			t.Errorf("Authorization %q", got)
		}
	}
}

func TestWaitingForATokenEndsWithTheCallersOwnDeadline(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, replyJSON(200, document()), func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		grant(w, r)
	})
	s := start(t, u, nil)
	<-asked // at start, before any call
	patient := make(chan answer, 1)
	go func() { patient <- lookupGRPC(t.Context(), t, s, theUser(), nil) }()
	// A caller who has no time leaves; the request for the token goes on for the one who has.
	got := lookupREST(t.Context(), t, s, theUser(), http.Header{"Grpc-Timeout": {"20m"}})
	timeout.check(t, got)
	close(release)
	if got := <-patient; got.user == nil {
		t.Errorf("the patient caller got %s: %s", got.reason, got.message)
	}
}

func TestA401DropsTheTokenAndTriesOnceMore(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			replyJSON(401, detail)(w, r) // revoked
			return
		}
		replyJSON(200, document())(w, r)
	}, nil)
	s := start(t, u, nil)
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		if got := lookup(theUser(), nil); got.user == nil {
			t.Error(got.message)
		}
	})
	if u.tokensAsked() != 2 || len(u.apiRequests()) != 3 {
		t.Errorf("%d token requests and %d lookups, want 2 and 3", u.tokensAsked(), len(u.apiRequests()))
	}
}

func TestA401ThatNoTokenMendsCostsOneMoreRequest(t *testing.T) {
	u := newUpstream(t, replyJSON(401, detail), nil)
	s := start(t, u, nil)
	for i := range 3 {
		failure{code: codes.Internal, reason: "UPSTREAM_UNAUTHENTICATED", upstream: "401"}.
			check(t, lookupGRPC(t.Context(), t, s, theUser(), nil))
		// The second token is fresh and was refused: a third would fare no better for now.
		if u.tokensAsked() != 2 || len(u.apiRequests()) != 2+i {
			t.Errorf("%d token requests and %d lookups, want 2 and %d", u.tokensAsked(), len(u.apiRequests()), 2+i)
		}
	}
}

func TestThe401OfAnOldTokenDoesNotDropTheNewOne(t *testing.T) {
	late := make(chan struct{})
	first := make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.RequestURI, "slow") && r.Header.Get("Authorization") == "Bearer token-1":
			close(first)
			<-late
			replyJSON(401, detail)(w, r)
		case r.Header.Get("Authorization") == "Bearer token-1":
			replyJSON(401, detail)(w, r)
		default:
			replyJSON(200, document())(w, r)
		}
	}, nil)
	s := start(t, u, nil)
	slow := make(chan answer, 1)
	go func() {
		slow <- lookupGRPC(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "slow"}, nil)
	}()
	<-first
	lookupGRPC(t.Context(), t, s, theUser(), nil) // drops token-1, gets token-2
	close(late)
	if got := <-slow; got.user == nil {
		t.Error(got.message)
	}
	if u.tokensAsked() != 2 {
		t.Errorf("%d token requests, want 2: token-2 was dropped for the fault of token-1", u.tokensAsked())
	}
}

// TestTheClientSecretFile has a token endpoint that accepts one secret, and an API that accepts the newest token, so
// that each lookup needs a token request.
func TestTheClientSecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var accepted atomic.Value // the secret that the token endpoint accepts
	accepted.Store("first")
	var served atomic.Int64 // lookups with the newest token
	var u *upstream
	u = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprint("Bearer token-", u.tokensAsked()) || served.Add(1)%2 == 0 {
			replyJSON(401, detail)(w, r)
			return
		}
		replyJSON(200, document())(w, r)
	}, func(w http.ResponseWriter, r *http.Request) {
		if _, got, _ := r.BasicAuth(); got != accepted.Load() {
			replyJSON(401, `{"error":"invalid_client"}`)(w, r)
			return
		}
		grant(w, r)
	})
	write("first\n")
	s := start(t, u, func(c *server.Config) { c.ClientSecret, c.ClientSecretFile = secret.Text{}, file })
	const stale = `podero_facade_watched_file_stale{file="client-secret-file"}`
	expect := func(doing, reason string) {
		t.Helper()
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			t.Helper()
			if got := lookup(theUser(), nil); got.reason != reason {
				t.Errorf("%s: reason %q, want %q: %s", doing, got.reason, reason, got.message)
			}
		})
	}
	expect("the first secret", "")
	write("")
	s.await(t, stale, "1")
	expect("an empty file", "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.awaitLog(t, "no such file")
	expect("no file", "")
	accepted.Store("second")
	expect("a secret that was rotated elsewhere", "TOKEN_REJECTED")
	write("second\r\n")
	s.await(t, stale, "0")
	for end := time.Now().Add(testLimit); lookupGRPC(t.Context(), t, s, theUser(), nil).user == nil && time.Now().Before(end); {
		// A token request with the first secret may still be in flight.
	}
	expect("the second secret", "")
	s.checkDiscretion(t)
}

func passthrough(c *server.Config) {
	c.UpstreamAuth = server.AuthPassthrough
	c.ClientID, c.ClientSecret = "", secret.Text{}
}

func TestPassthroughSendsTheCallersToken(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer caller-token~+/==" {
			replyJSON(401, detail)(w, r)
			return
		}
		replyJSON(200, document())(w, r)
	}, nil)
	s := start(t, u, passthrough)
	for _, value := range []string{"Bearer caller-token~+/==", "bearer caller-token~+/==", "BEARER   caller-token~+/=="} {
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			if got := lookup(theUser(), http.Header{"Authorization": {value}}); got.user == nil {
				t.Errorf("%q: %s", value, got.message)
			}
		})
	}
	t.Run("a token that Podero refuses", func(t *testing.T) {
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			failure{code: codes.Unauthenticated, http: 401, reason: "UPSTREAM_UNAUTHENTICATED", upstream: "401"}.
				check(t, lookup(theUser(), http.Header{"Authorization": {"Bearer other-caller-token"}}))
		})
	})
	before := len(u.apiRequests())
	for _, values := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {"Basic Y2FsbGVyLXRva2Vu"}, {"caller-token"}, {"Bearer caller token"}, {"Bearer caller-token, Bearer x"},
		{"Bearer caller-token", "Bearer caller-token"},
	} {
		t.Run(strings.Join(values, "|"), func(t *testing.T) {
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				failure{code: codes.Unauthenticated, http: 401, reason: "CALLER_UNAUTHENTICATED"}.
					check(t, lookup(theUser(), http.Header{"Authorization": values}))
			})
		})
	}
	if len(u.apiRequests()) != before || u.tokensAsked() != 0 {
		t.Error("a call without a token caused a request")
	}
	s.checkDiscretion(t)
}
