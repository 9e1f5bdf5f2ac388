package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

const lookupPath = "/api/partners/v2.0/org/" + orgID + "/users/by-ext-id/" + externalID

func TestAnyAllowedDocumentComesOutOfRESTEqual(t *testing.T) {
	u := newUpstream(t, nil, nil)
	s := start(t, u, nil)
	rapid.Check(t, func(r *rapid.T) {
		sent := anyDocument().Draw(r, "document")
		u.answer(replyJSON(200, sent))
		got := lookupREST(t.Context(), t, s, theUser(), nil)
		if got.user == nil {
			r.Fatalf("%s", got.message)
		}
		want := fieldsOfJSON(t, []byte(sent))
		for _, m := range fullUser {
			value, there := got.user[m.name]
			if !there || value != want[m.name] {
				r.Errorf("%s: %#v, want %#v", m.name, value, want[m.name])
			}
		}
		if len(got.user) != len(fullUser) {
			r.Errorf("%d fields", len(got.user))
		}
	})
}

// anyDocument draws documents that upstream/openapi.yaml and section 2 of the contract allow.
func anyDocument() *rapid.Generator[string] {
	text := rapid.Custom(func(r *rapid.T) string {
		quoted, err := json.Marshal(rapid.String().Draw(r, "text"))
		if err != nil {
			r.Fatal(err)
		}
		return string(quoted)
	})
	count := rapid.Custom(func(r *rapid.T) string {
		form := rapid.SampledFrom([]string{"%d", "%d.0", "%de0", "%d.00E+0"}).Draw(r, "form")
		return fmt.Sprintf(form, rapid.Int32().Draw(r, "count"))
	})
	number := rapid.Custom(func(r *rapid.T) string {
		encoded, err := json.Marshal(rapid.Float64().Draw(r, "number"))
		if err != nil {
			r.Fatal(err)
		}
		return string(encoded)
	})
	datetime := rapid.Custom(func(r *rapid.T) string {
		at := time.Unix(rapid.Int64Range(-62135500000, 253402200000).Draw(r, "seconds"), rapid.Int64Range(0, 999999999).Draw(r, "nanos"))
		layout := "2006-01-02T15:04:05" + rapid.SampledFrom([]string{"", ".0", ".000", ".000000", ".000000000"}).Draw(r, "fraction") +
			rapid.SampledFrom([]string{"", "Z07:00"}).Draw(r, "offset")
		zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(r, "minutes"))
		if !strings.HasSuffix(layout, "Z07:00") {
			zone = time.UTC
		}
		return at.In(zone).Format(`"` + layout + `"`)
	})
	kinds := map[string]*rapid.Generator[string]{
		"organization_id": rapid.Just(`"` + orgID + `"`),
		"role":            rapid.SampledFrom([]string{`"admin"`, `"staff"`, `"user"`, `"guest"`}),
		"num_inverters":   count, "num_heat_pumps": count, "num_electric_vehicles": count, "num_wallboxes": count,
		"is_onboarded": rapid.SampledFrom([]string{"true", "false"}),
		"latitude":     number, "longitude": number,
		"last_login": datetime, "joined_at": datetime,
	}
	return rapid.Custom(func(r *rapid.T) string {
		var members []string
		for _, m := range rapid.Permutation(fullUser).Draw(r, "order") {
			value := text
			if kind, ok := kinds[m.name]; ok {
				value = kind
			}
			if _, isNullable := zeros[m.name]; isNullable {
				value = rapid.OneOf(rapid.Just("null"), rapid.Just(""), value, value)
			}
			if drawn := value.Draw(r, m.name); drawn != "" {
				members = append(members, `"`+m.name+`": `+drawn)
			}
		}
		return "{ " + strings.Join(members, " ,\n") + " }"
	})
}

func TestHEAD(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	get := s.call(t.Context(), t, http.MethodGet, lookupPath, nil)
	head := s.call(t.Context(), t, http.MethodHead, lookupPath, nil)
	if head.http.StatusCode != 200 || head.body != "" {
		t.Errorf("status %d, body %q", head.http.StatusCode, head.body)
	}
	if head.http.ContentLength != int64(len(get.body)) {
		t.Errorf("Content-Length %d, want %d", head.http.ContentLength, len(get.body))
	}
	u.answer(replyJSON(404, detail))
	response, err := s.rest.Head("http://" + s.HTTPAddr().String() + lookupPath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != 404 || response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, %v", response.StatusCode, response.Header)
	}
}

func TestAnotherMethodIsRefused(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get"} {
		for _, header := range []http.Header{
			{"Content-Type": {"application/json"}},
			{"Content-Type": {"application/x-www-form-urlencoded"}},
			{"X-Http-Method-Override": {"GET"}},
		} {
			got := s.call(t.Context(), t, method, lookupPath, header)
			failure{code: codes.Unimplemented, http: 405, reason: "METHOD_NOT_ALLOWED"}.check(t, got)
			if allow := got.http.Header.Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s: Allow %q", method, allow)
			}
		}
	}
	if len(u.apiRequests()) != 0 {
		t.Error("a refused method reached Podero")
	}
}

func TestAnUnknownPathIsRefused(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	for _, path := range []string{
		"/", "/api", "/api/partners/v2.0", "/api/partners/v2.0/org/" + orgID, lookupPath + "/", lookupPath + "/devices",
		"/api/partners/v1.0/org/" + orgID + "/users/by-ext-id/x", "//" + strings.TrimPrefix(lookupPath, "/"),
		"/api/partners/v2.0/org/" + orgID + "/users/by-ext-id/a/b", "/x/.." + lookupPath, "/api/partners/v2.0/./org/" + orgID + "/users/by-ext-id/x",
		"/podero.user.v1.UserService/GetUserByExternalId", lookupPath + ":cancel/x", "/metrics", "/debug/pprof/", "/%FF", "/api%2Fpartners",
	} {
		t.Run(path, func(t *testing.T) {
			failure{code: codes.NotFound, http: 404, reason: "NO_SUCH_ROUTE"}.
				check(t, s.call(t.Context(), t, http.MethodGet, path, nil))
		})
	}
	if len(u.apiRequests()) != 0 {
		t.Error("an unknown path reached Podero")
	}
	s.checkDiscretion(t)
	_, metrics := s.admin(t, "/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "podero_facade_lookups_total") && !strings.HasSuffix(line, " 0\n") {
			t.Errorf("what is no lookup is counted as one: %s", line)
		}
	}
}

func TestOPTIONSOfTheWholeServerIsNoRoute(t *testing.T) {
	s := start(t, newUpstream(t, nil, nil), nil)
	conn, err := net.Dial("tcp", s.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404") || !strings.Contains(string(answer), "NO_SUCH_ROUTE") {
		t.Errorf("%s %v", answer, err)
	}
}

func TestRequestIDs(t *testing.T) {
	u := newUpstream(t, nil, nil)
	s := start(t, u, nil)
	for _, api := range []http.HandlerFunc{replyJSON(200, document()), replyJSON(404, detail)} {
		u.answer(api)
		for sent, kept := range map[string]bool{
			"request-7": true, "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~": true, strings.Repeat("x", 128): true,
			"": false, strings.Repeat("x", 129): false, "a b": false,
		} {
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				got := lookup(theUser(), http.Header{"X-Request-Id": {sent}})
				requests := u.apiRequests()
				if upstream := requests[len(requests)-1].Header.Get("X-Request-Id"); got.requestID == "" || upstream != got.requestID {
					t.Errorf("%q to the caller, %q to Podero", got.requestID, upstream)
				}
				if (got.requestID == sent) != kept {
					t.Errorf("sent %q, got %q", sent, got.requestID)
				}
			})
		}
	}
	u.answer(replyJSON(200, document()))
	first, second := lookupREST(t.Context(), t, s, theUser(), nil), lookupREST(t.Context(), t, s, theUser(), nil)
	if other := lookupREST(t.Context(), t, s, theUser(), http.Header{"X-Request-Id": {"é"}}); other.requestID == "é" {
		t.Error("a request ID beyond ASCII was taken")
	}
	if first.requestID == second.requestID {
		t.Error("two calls have one request ID")
	}
}

func TestOnlyKnownHeadersComeBack(t *testing.T) {
	u := newUpstream(t, withHeader("Set-Cookie", "session=1", withHeader("X-Upstream", "10.1.2.3", replyJSON(200, document()))), nil)
	s := start(t, u, nil)
	for _, api := range []http.HandlerFunc{u.api, replyJSON(503, detail)} {
		u.answer(api)
		got := lookupREST(t.Context(), t, s, theUser(), http.Header{"Te": {"trailers"}, "Accept": {"text/html"}})
		for name := range got.http.Header {
			switch name {
			case "Cache-Control", "Content-Length", "Content-Security-Policy", "Content-Type", "Date", "X-Content-Type-Options", "X-Request-Id":
			default:
				t.Errorf("header %s: %s", name, got.http.Header.Get(name))
			}
		}
		if len(got.http.Trailer) != 0 {
			t.Errorf("trailers %v", got.http.Trailer)
		}
	}
}

func TestABadTimeoutHeaderIsRefused(t *testing.T) {
	s := start(t, newUpstream(t, replyJSON(200, document()), nil), nil)
	for _, value := range []string{"soon", "5", "S", "5x", "-5S", "1.5S", "0S", "05S", "123456789n", "+5S", "5 S"} {
		got := lookupREST(t.Context(), t, s, theUser(), http.Header{"Grpc-Timeout": {value}})
		if got.reason != "INVALID_REQUEST" || len(got.violations) != 1 || got.violations[0].field != "Grpc-Timeout" {
			t.Errorf("%q: %s %v", value, got.reason, got.violations)
		}
	}
	for _, value := range []string{"", "5S", "99999999m"} {
		if got := lookupREST(t.Context(), t, s, theUser(), http.Header{"Grpc-Timeout": {value}}); got.user == nil {
			t.Errorf("%q: %s", value, got.message)
		}
	}
}

func TestARequestBodyIsIgnored(t *testing.T) {
	s := start(t, newUpstream(t, replyJSON(200, document()), nil), nil)
	body := bytes.NewReader(bytes.Repeat([]byte("x"), 1<<20))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.HTTPAddr().String()+lookupPath, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.rest.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
}

// TestACallerWhoLeavesIsNoticedWhateverItsBody sends a GET with a body, of which net/http does not watch the connection
// before the body has been read.
func TestACallerWhoLeavesIsNoticedWhateverItsBody(t *testing.T) {
	for name, c := range map[string]struct {
		sent   string
		lookup bool // whether it is looked up before the caller leaves
	}{
		"no body":                 {"\r\n", true},
		"a body":                  {"Content-Length: 10\r\n\r\n0123456789", true},
		"a body in chunks":        {"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
		"half a body":             {"Content-Length: 10\r\n\r\n01234", false},
		"a body that is missing":  {"Content-Length: 10\r\n\r\n", false},
		"chunks that are missing": {"Transfer-Encoding: chunked\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 1)
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				arrived <- struct{}{}
				silent(w, r)
			}, nil)
			s := start(t, u, nil)
			conn, err := net.Dial("tcp", s.HTTPAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "GET "+lookupPath+" HTTP/1.1\r\nHost: localhost\r\n"+c.sent)
			if c.lookup {
				<-arrived
			} else {
				<-time.After(50 * time.Millisecond)
			}
			left := time.Now()
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			s.await(t, `podero_facade_lookups_total{reason="CALLER_CANCELLED"}`, "1")
			if took := time.Since(left); took > time.Second {
				t.Errorf("the lookup ended after %v, want 1s at most", took)
			}
			if !c.lookup && len(u.apiRequests()) != 0 {
				t.Error("a request that is not complete reached Podero")
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestABodyThatNeverArrivesDelaysNoForcedStop(t *testing.T) {
	s := start(t, newUpstream(t, nil, nil), func(c *server.Config) { c.ShutdownTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", s.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET "+lookupPath+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
	<-time.After(50 * time.Millisecond)
	begun := time.Now()
	if err := s.stop(); err == nil {
		t.Error("Run returned nil, want an error, as a call was cut off")
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the service stopped after %v, want 1s at most", took)
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, good, nil)
	s := start(t, u, nil)
	for name, sent := range map[string]string{
		"too large":         "Content-Length: 1048577\r\n\r\n" + strings.Repeat("x", 1<<20+1),
		"too large, chunks": "Transfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", 1<<20+1) + "\r\n0\r\n\r\n",
		"no chunks":         "Transfer-Encoding: chunked\r\n\r\nrubbish\r\n",
		"late":              "Content-Length: 10\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := s.exchange(t, "GET "+lookupPath+" HTTP/1.1\r\nHost: localhost\r\n"+sent)
			if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, `"reason":"INVALID_REQUEST"`) ||
				!strings.Contains(answer, `"field":"body"`) {
				t.Errorf("response = %.300q, want INVALID_REQUEST about the body", answer)
			}
			if len(u.apiRequests()) != 0 {
				t.Error("it reached Podero")
			}
		})
	}
}

func TestHeadersThatAreTooLargeAreRefused(t *testing.T) {
	s := start(t, newUpstream(t, replyJSON(200, document()), nil), nil)
	conn, err := net.Dial("tcp", s.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET "+lookupPath+" HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("%s %v", answer, err)
	}
}
