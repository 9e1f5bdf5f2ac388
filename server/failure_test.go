package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

// failure is what a caller gets over both protocols.
type failure struct {
	code       codes.Code
	http       int
	reason     string
	upstream   string // http_status of the ErrorInfo
	retryAfter time.Duration
	violations []violation
	resource   string
}

const html = "<html><body>Server at 10.1.2.3 refused Peter Schmidt</body></html>"

// detail is the body of most of Podero's errors.
const detail = `{"detail":"Peter Schmidt is unknown at 10.1.2.3"}`

var (
	unexpected  = failure{code: codes.Internal, http: 500, reason: "UPSTREAM_UNEXPECTED_STATUS"}
	unavailable = failure{code: codes.Unavailable, http: 503, reason: "UPSTREAM_UNAVAILABLE"}
	notFound    = failure{code: codes.NotFound, http: 404, reason: "USER_NOT_FOUND", upstream: "404",
		resource: "podero.user.v1.User organizations/" + orgID}
	limited  = failure{code: codes.ResourceExhausted, http: 429, reason: "UPSTREAM_RATE_LIMITED", upstream: "429", retryAfter: time.Second}
	rejected = failure{code: codes.InvalidArgument, http: 400, reason: "UPSTREAM_REJECTED_REQUEST", upstream: "422"}
	timeout  = failure{code: codes.DeadlineExceeded, http: 504, reason: "UPSTREAM_TIMEOUT"}
)

func (f failure) status(upstream int) failure {
	f.upstream = fmt.Sprint(upstream)
	return f
}

func (f failure) after(wait time.Duration) failure {
	f.retryAfter = wait
	return f
}

func (f failure) because(violations ...violation) failure {
	f.violations = violations
	return f
}

// apiFailures are the rows of the error table that Podero's API can cause (contract.md, section 4).
var apiFailures = []struct {
	name string
	api  http.HandlerFunc
	want failure
}{
	{"404 with JSON", replyJSON(404, detail), notFound},
	{"404 with JSON of another media type", reply(404, "application/problem+json", detail), notFound},
	{"404 with HTML", reply(404, "text/html", html), unexpected.status(404)},
	{"404 with HTML called JSON", replyJSON(404, html), unexpected.status(404)},
	{"404 without a body", replyJSON(404, ""), unexpected.status(404)},
	{"404 with JSON called text", reply(404, "text/plain", detail), unexpected.status(404)},
	{"403 with JSON", replyJSON(403, detail), failure{code: codes.PermissionDenied, http: 403, reason: "UPSTREAM_FORBIDDEN", upstream: "403"}},
	{"403 with HTML", reply(403, "text/html", html), unexpected.status(403)},
	{"401 twice", replyJSON(401, detail), failure{code: codes.Internal, http: 500, reason: "UPSTREAM_UNAUTHENTICATED", upstream: "401"}},
	{"401 with HTML", reply(401, "text/html", html), failure{code: codes.Internal, http: 500, reason: "UPSTREAM_UNAUTHENTICATED", upstream: "401"}},
	{"422", replyJSON(422, `{"detail":[{"type":"uuid_parsing","loc":["path","org_id"],"msg":"Input should be a valid UUID"},`+
		`{"loc":["query","data",0,"include_deleted"],"msg":"Input should be a valid boolean"}]}`),
		rejected.because(violation{"org_id", "Input should be a valid UUID"},
			violation{"data.0.include_deleted", "Input should be a valid boolean"})},
	{"422 with a long message", replyJSON(422, `{"detail":[{"loc":["body"],"msg":"`+strings.Repeat("é", 300)+`"}]}`),
		rejected.because(violation{"body", strings.Repeat("é", 200)})},
	{"422 with a text", replyJSON(422, detail), rejected},
	{"422 with another shape", replyJSON(422, `{"detail":[{"loc":"path","msg":7}]}`), rejected},
	{"422 with an array", replyJSON(422, `[]`), rejected},
	{"422 with many", replyJSON(422, `{"detail":[`+strings.TrimSuffix(strings.Repeat(`{"loc":["path","x"],"msg":"m"},`, 50), ",")+`]}`),
		rejected.because(manyViolations(10)...)},
	{"422 with HTML", reply(422, "text/html", html), unexpected.status(422)},
	{"400 with JSON", replyJSON(400, detail), rejected.status(400)},
	{"400 with HTML", reply(400, "text/html", html), unexpected.status(400)},
	{"429", replyJSON(429, detail), limited},
	{"429 with HTML", reply(429, "text/html", html), limited},
	{"429 with seconds", withHeader("Retry-After", "17", replyJSON(429, detail)), limited.after(17 * time.Second)},
	{"429 with zero seconds", withHeader("Retry-After", "0", replyJSON(429, detail)), limited},
	{"429 with a minute and more", withHeader("Retry-After", "61", replyJSON(429, detail)), limited.after(time.Minute)},
	{"429 with 2^31 seconds", withHeader("Retry-After", "2147483648", replyJSON(429, detail)), limited.after(time.Minute)},
	{"429 with more seconds than any integer", withHeader("Retry-After", strings.Repeat("9", 100), replyJSON(429, detail)), limited.after(time.Minute)},
	{"429 with a past date", withHeader("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT", replyJSON(429, detail)), limited},
	{"429 with rubbish", withHeader("Retry-After", "soon", replyJSON(429, detail)), limited},
	{"429 with a negative number", withHeader("Retry-After", "-5", replyJSON(429, detail)), limited},
	{"500", reply(500, "text/html", html), unavailable.status(500)},
	{"500 with JSON", replyJSON(500, detail), unavailable.status(500)},
	{"501", replyJSON(501, detail), unavailable.status(501)},
	{"502", reply(502, "text/html", html), unavailable.status(502)},
	{"503", reply(503, "text/html", html), unavailable.status(503)},
	{"504", reply(504, "text/html", html), unavailable.status(504)},
	{"599", reply(599, "text/html", html), unavailable.status(599)},
	{"201", replyJSON(201, document()), unexpected.status(201)},
	{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, unexpected.status(204)},
	{"206", replyJSON(206, document()), unexpected.status(206)},
	{"304", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, unexpected.status(304)},
	{"405", reply(405, "text/plain", "Method not allowed"), unexpected.status(405)},
	{"410", replyJSON(410, detail), unexpected.status(410)},
	{"418", replyJSON(418, detail), unexpected.status(418)},
	{"closed before the answer", hijack(""), unavailable},
	{"closed inside the headers", hijack("HTTP/1.1 200 OK\r\nContent-Ty"), unavailable},
	{"not HTTP", hijack("SSH-2.0-OpenSSH_9.6 Peter Schmidt\r\n\r\n"), unavailable},
	{"cut short", hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + document()), unavailable},
	{"cut short in a chunk", hijack("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"), unavailable},
	{"error cut short", hijack("HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + detail), unavailable},
}

func manyViolations(n int) []violation {
	var list []violation
	for range n {
		list = append(list, violation{"x", "m"})
	}
	return list
}

func TestFailuresOfPodero(t *testing.T) {
	for _, c := range apiFailures {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, newUpstream(t, c.api, nil), nil)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				c.want.check(t, lookup(theUser(), nil))
			})
			s.checkDiscretion(t)
			if got := s.metric(t, `podero_facade_lookups_total{reason="`+c.want.reason+`"}`); got != "2" {
				t.Errorf("counted %s times, want 2", got)
			}
		})
	}
}

// check compares an answer with the failure.
func (f failure) check(t *testing.T, got answer) {
	t.Helper()
	if got.user != nil {
		t.Fatal("got a user")
	}
	if got.code != f.code || got.reason != f.reason {
		t.Errorf("%v %s (%s), want %v %s", got.code, got.reason, got.message, f.code, f.reason)
	}
	if got.requestID == "" || got.message == "" {
		t.Errorf("request ID %q, message %q", got.requestID, got.message)
	}
	if got.retryAfter != f.retryAfter {
		t.Errorf("retry after %v, want %v", got.retryAfter, f.retryAfter)
	}
	if fmt.Sprint(got.violations) != fmt.Sprint(f.violations) {
		t.Errorf("violations %v, want %v", got.violations, f.violations)
	}
	if secretIn(got.message + got.body) {
		t.Errorf("the message tells too much: %s", got.message)
	}
	if got.http != nil {
		if got.http.StatusCode != f.http {
			t.Errorf("HTTP status %d, want %d", got.http.StatusCode, f.http)
		}
		if challenge := got.http.Header.Get("Www-Authenticate"); strings.HasPrefix(challenge, "Bearer") != (f.http == 401) {
			t.Errorf("WWW-Authenticate %q", challenge)
		}
		return
	}
	if got.metadata["http_status"] != f.upstream {
		t.Errorf("http_status %q, want %q", got.metadata["http_status"], f.upstream)
	}
	if got.resource != f.resource {
		t.Errorf("resource %q, want %q", got.resource, f.resource)
	}
}

// secretIn reports whether text tells of the person, the credentials or the inner network of the tests.
func secretIn(text string) bool {
	for _, secret := range []string{externalID, "Peter", "Schmidt", "10.1.2.3", clientSecret, "s3cr3t", "token-1", "token-2", "caller-token", "127.0.0.1"} {
		if strings.Contains(text, secret) {
			return true
		}
	}
	return false
}

// checkDiscretion checks that nothing that the service wrote names a person or a secret.
func (s *service) checkDiscretion(t testing.TB) {
	t.Helper()
	_, metrics := s.admin(t, "/metrics")
	written := strings.ReplaceAll(s.log.String()+metrics, "127.0.0.1", "") // operators may know their network
	if secretIn(written) {
		t.Errorf("log or metrics tell too much:\n%s", written)
	}
}

func TestAnExternalIDWithASlashIsNotFoundHowever404Looks(t *testing.T) {
	s := start(t, newUpstream(t, reply(404, "text/html", html), nil), nil)
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		notFound.check(t, lookup(&userv1.GetUserByExternalIdRequest{OrgId: strings.ToUpper(orgID), ExternalId: "a/b"}, nil))
	})
}

func TestA429WithADate(t *testing.T) {
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	s := start(t, newUpstream(t, withHeader("Retry-After", date, replyJSON(429, detail)), nil), nil)
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		got := lookup(theUser(), nil)
		if got.retryAfter > 60*time.Second || got.retryAfter < 55*time.Second { // what is left of it for the second call
			t.Errorf("retry after %v, want 60 s at most", got.retryAfter)
		}
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := newUpstream(t, replyJSON(200, document()), nil)
	for _, code := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := start(t, newUpstream(t, withHeader("Location", elsewhere.server.URL, reply(code, "text/html", "")), nil), nil)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				unexpected.status(code).check(t, lookup(theUser(), nil))
			})
		})
	}
	if n := len(elsewhere.apiRequests()); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestNobodyAtTheUpstream(t *testing.T) {
	gone := newUpstream(t, nil, nil)
	gone.server.Close()
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   failure
	}{
		"API refused":            {func(c *server.Config) { c.UpstreamURL = gone.server.URL }, unavailable},
		"API unknown":            {func(c *server.Config) { c.UpstreamURL = "https://podero..invalid" }, unavailable},
		"token endpoint unknown": {func(c *server.Config) { c.TokenURL = "https://podero..invalid/" }, tokenUnavailable},
		"token endpoint not TLS": {func(c *server.Config) { c.TokenURL = strings.Replace(c.TokenURL, "http:", "https:", 1) }, tokenUnavailable},
		"token refused":          {func(c *server.Config) { c.TokenURL = gone.server.URL }, failure{code: codes.Unavailable, http: 503, reason: "TOKEN_UNAVAILABLE"}},
		"API not TLS":            {func(c *server.Config) { c.UpstreamURL = strings.Replace(c.UpstreamURL, "http:", "https:", 1) }, unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newUpstream(t, replyJSON(200, document()), nil), c.change)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				c.want.check(t, lookup(theUser(), nil))
			})
		})
	}
}

func TestTimeRunsOut(t *testing.T) {
	slow := func(c *server.Config) { c.UpstreamTimeout = 50 * time.Millisecond }
	slowAttempt := func(c *server.Config) { c.UpstreamAttemptTimeout, c.UpstreamMaxAttempts = time.Second, 1 } // enough for a token
	trickle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"id":`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, c := range map[string]struct {
		api, token http.HandlerFunc
		change     func(*server.Config)
		want       failure
	}{
		"the lookup's, no answer":      {silent, nil, slow, timeout},
		"the lookup's, half an answer": {trickle, nil, slow, timeout},
		"the lookup's, no token":       {replyJSON(200, document()), silent, slow, timeout},
		"the attempt's":                {silent, nil, slowAttempt, timeout},
		"the attempt's, inside a body": {trickle, nil, slowAttempt, timeout},
		"the token's": {replyJSON(200, document()), silent, slowAttempt,
			failure{code: codes.Unavailable, http: 503, reason: "TOKEN_UNAVAILABLE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, newUpstream(t, c.api, c.token), c.change)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				c.want.check(t, lookup(theUser(), nil))
			})
		})
	}
}
