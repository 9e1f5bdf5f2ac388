package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

// externalIDs are allowed, and harder than they look.
var externalIDs = []string{
	externalID, "a b", "a/b", "/", "//", "a/../b", "...", ".a", "%", "100%", "%2F", "a%2Fb", "a%252Fb", "%zz", "+", "a+b", "?", "a?b=c",
	"#", "a#b", "&", "=", ";", ":", "a:b", "@", "é", "e\u0301", "日本", "😀", `"`, "'", `\`, "<", "{external_id}", "*", "**", "~", "-", "_",
	" ", "  ", " a ", "\u00a0", "\u200b", "\u2028", "\ufeff", "\ufffd", "null", "0", "-1", strings.Repeat("x", 255), strings.Repeat("😀", 255),
}

// arrived returns the organization and the external ID of the last request, from its raw path.
func (u *upstream) arrived(t testing.TB) (org, id string) {
	t.Helper()
	requests := u.apiRequests()
	path, _, _ := strings.Cut(requests[len(requests)-1].RequestURI, "?")
	segments := strings.Split(path, "/")
	if len(segments) != 9 || strings.Join(segments[:5], "/") != "/api/partners/v2.0/org" || segments[6] != "users" || segments[7] != "by-ext-id" {
		t.Fatalf("path %q", path)
	}
	id, err := url.PathUnescape(segments[8])
	if err != nil {
		t.Fatal(err)
	}
	return segments[5], id
}

func TestAnExternalIDReachesPoderoUnchanged(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	for _, id := range externalIDs {
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			if got := lookup(&userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id}, nil); got.user == nil {
				t.Fatalf("%q: %s %v", id, got.message, got.violations)
			}
			if _, got := u.arrived(t); got != id {
				t.Errorf("%q arrived, want %q", got, id)
			}
		})
	}
}

func TestAnyAllowedExternalIDReachesPoderoUnchanged(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	allowed := rapid.StringOfN(rapid.Rune(), 1, 255, -1).Filter(func(id string) bool {
		return !strings.ContainsFunc(id, isControl) && id != "." && id != ".."
	})
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				id := allowed.Draw(r, "external ID")
				got := protocol.lookup(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id}, nil)
				if got.user == nil {
					r.Fatalf("%s %v", got.message, got.violations)
				}
				if _, arrived := u.arrived(t); arrived != id {
					r.Fatalf("%q arrived", arrived)
				}
			})
		})
	}
}

// isControl is Unicode's category Cc.
func isControl(r rune) bool { return r < 0x20 || 0x7f <= r && r < 0xa0 }

func TestPathsMeanWhatRFC3986Says(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	for sent, want := range map[string]string{
		"a%2Fb": "a/b", "100%25": "100%", "a%252Fb": "a%2Fb", "a+b": "a+b", "%61": "a", "a%20b": "a b", "%C3%A9": "é",
		"a:b": "a:b", "a;b=c,d": "a;b=c,d", "%3F%23": "?#", "%2e%2e%2e": "...", "a%2fb": "a/b",
	} {
		got := s.call(t.Context(), t, http.MethodGet, "/api/partners/v2.0/org/"+orgID+"/users/by-ext-id/"+sent, nil)
		if got.user == nil {
			t.Errorf("%s: %s %v", sent, got.message, got.violations)
			continue
		}
		if _, id := u.arrived(t); id != want {
			t.Errorf("%s arrived as %q, want %q", sent, id, want)
		}
	}
}

func TestTheOrganizationGoesUpstreamInLowerCase(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		got := lookup(&userv1.GetUserByExternalIdRequest{OrgId: strings.ToUpper(orgID), ExternalId: "x"}, nil)
		if got.user == nil {
			t.Fatal(got.message)
		}
		if org, _ := u.arrived(t); org != orgID {
			t.Errorf("organization %q", org)
		}
	})
}

func TestARequestThatBreaksARuleIsRefused(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	long := strings.Repeat("é", 256)
	for _, c := range []struct {
		name, org, id string
		fields        []string
	}{
		{"no organization", "x", "x", []string{"org_id"}},
		{"organization without dashes", strings.ReplaceAll(orgID, "-", ""), "x", []string{"org_id"}},
		{"organization in braces", "{" + orgID + "}", "x", []string{"org_id"}},
		{"organization as a URN", "urn:uuid:" + orgID, "x", []string{"org_id"}},
		{"organization too long", orgID + "0", "x", []string{"org_id"}},
		{"organization not hexadecimal", "g" + orgID[1:], "x", []string{"org_id"}},
		{"organization that climbs", "../../" + orgID, "x", []string{"org_id"}},
		{"256 characters", orgID, long, []string{"external_id"}},
		{"one dot", orgID, ".", []string{"external_id"}},
		{"two dots", orgID, "..", []string{"external_id"}},
		{"NUL", orgID, "a\x00b", []string{"external_id"}},
		{"line feed", orgID, "a\nb", []string{"external_id"}},
		{"line feed at the end", orgID, "a\n", []string{"external_id"}},
		{"delete", orgID, "\x7f", []string{"external_id"}},
		{"C1 control", orgID, "\u0085", []string{"external_id"}},
		{"both", "x", "..", []string{"org_id", "external_id"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				got := lookup(&userv1.GetUserByExternalIdRequest{OrgId: c.org, ExternalId: c.id}, nil)
				if got.code != codes.InvalidArgument || got.reason != "INVALID_REQUEST" {
					t.Fatalf("%v %s", got.code, got.reason)
				}
				if got.http != nil && got.http.StatusCode != 400 {
					t.Errorf("HTTP status %d", got.http.StatusCode)
				}
				var fields []string
				for _, v := range got.violations {
					fields = append(fields, v.field)
					if v.message == "" {
						t.Errorf("no message for %s", v.field)
					}
				}
				if strings.Join(fields, " ") != strings.Join(c.fields, " ") {
					t.Errorf("fields %v, want %v", fields, c.fields)
				}
			})
		})
	}
	t.Run("empty, over gRPC", func(t *testing.T) {
		got := lookupGRPC(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{}, nil)
		if got.reason != "INVALID_REQUEST" || len(got.violations) != 2 {
			t.Errorf("%s %v", got.reason, got.violations)
		}
	})
	for path, field := range map[string]string{
		"/org/" + orgID + "/users/by-ext-id/":       "external_id",
		"/org/" + orgID + "/users/by-ext-id/%FF":    "external_id",
		"/org/" + orgID + "/users/by-ext-id/%2E":    "external_id",
		"/org//users/by-ext-id/x":                   "org_id",
		"/org/" + orgID + "%2F/users/by-ext-id/x":   "org_id",
		"/org/" + orgID + "%FF/users/by-ext-id/x":   "org_id",
		"/org/" + orgID + "%0A/users/by-ext-id/x":   "org_id",
		"/org/" + orgID + "/users/by-ext-id/%C3%28": "external_id",
	} {
		t.Run(path, func(t *testing.T) {
			got := s.call(t.Context(), t, http.MethodGet, "/api/partners/v2.0"+path, nil)
			if got.reason != "INVALID_REQUEST" || len(got.violations) != 1 || got.violations[0].field != field {
				t.Errorf("%s %v, want %s", got.reason, got.violations, field)
			}
		})
	}
	if n := len(u.apiRequests()); n != 0 {
		t.Errorf("%d requests reached Podero", n)
	}
	if strings.Contains(s.log.String(), long) {
		t.Error("an external ID is in the log")
	}
}

func TestIncludeDeleted(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	asked := func(t *testing.T) string {
		t.Helper()
		requests := u.apiRequests()
		return requests[len(requests)-1].URL.RawQuery
	}
	for _, deleted := range []bool{false, true} {
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			lookup(&userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "x", IncludeDeleted: deleted}, nil)
			if got := asked(t) == "include_deleted=true"; got != deleted {
				t.Errorf("query %q", asked(t))
			}
		})
	}
	const path = "/api/partners/v2.0/org/" + orgID + "/users/by-ext-id/x?"
	for query, want := range map[string]bool{
		"include_deleted=true": true, "include_deleted=t": true, "include_deleted=yes": true, "include_deleted=y": true,
		"include_deleted=on": true, "include_deleted=1": true, "include_deleted=TRUE": true, "include_deleted=Yes": true,
		"include_deleted=oN": true, "include%5Fdeleted=tru%65": true,
		"include_deleted=false": false, "include_deleted=f": false, "include_deleted=no": false, "include_deleted=n": false,
		"include_deleted=off": false, "include_deleted=0": false, "include_deleted=False": false, "include_deleted=OFF": false,
		"": false, "page=2": false, "org_id=y&external_id=z": false, "external_id=z&include_deleted=on": true,
		"Include_Deleted=true": false, "includeDeleted=true": false, "include_deleted[]=true": false,
		"a=%zz&include_deleted=true": true, "%zz=1": false, "&&=&": false, "a;b=c": false, "user.id=3": false,
	} {
		t.Run(query, func(t *testing.T) {
			got := s.call(t.Context(), t, http.MethodGet, path+query, nil)
			if got.user == nil {
				t.Fatalf("%s %v", got.message, got.violations)
			}
			if deleted := asked(t) == "include_deleted=true"; deleted != want {
				t.Errorf("query %q", asked(t))
			}
			if org, id := u.arrived(t); org != orgID || id != "x" {
				t.Errorf("asked for %s in %s", id, org)
			}
		})
	}
	before := len(u.apiRequests())
	for _, query := range []string{
		"include_deleted=", "include_deleted", "include_deleted=2", "include_deleted=maybe", "include_deleted=%20true",
		"include_deleted=true&include_deleted=true", "include_deleted=true&include_deleted=false", "include_deleted=%zz", "include_deleted=tru%ff",
	} {
		t.Run(query, func(t *testing.T) {
			got := s.call(t.Context(), t, http.MethodGet, path+query, nil)
			if got.reason != "INVALID_REQUEST" || len(got.violations) != 1 || got.violations[0].field != "include_deleted" {
				t.Errorf("%s %v", got.reason, got.violations)
			}
		})
	}
	if len(u.apiRequests()) != before {
		t.Error("a bad request reached Podero")
	}
}

// TestWhoMayNotCallLearnsThatFirst sends requests with bad parts that don't become the RPC's message as they are.
func TestWhoMayNotCallLearnsThatFirst(t *testing.T) {
	u := newUpstream(t, good, nil)
	for name, mode := range map[string]func(*server.Config){"jwt": jwt, "passthrough": passthrough} {
		s := start(t, u, mode)
		for _, header := range []http.Header{{"Grpc-Timeout": {"0S"}}, {}} {
			const query = "?include_deleted=maybe"
			got := s.call(t.Context(), t, http.MethodGet, lookupPath+query, header)
			failure{code: codes.Unauthenticated, http: 401, reason: "CALLER_UNAUTHENTICATED"}.check(t, got)
			got = s.call(t.Context(), t, http.MethodGet, "/nowhere"+query, header)
			failure{code: codes.NotFound, http: 404, reason: "NO_SUCH_ROUTE"}.check(t, got)
			got = s.call(t.Context(), t, http.MethodPost, lookupPath+query, header)
			failure{code: codes.Unimplemented, http: 405, reason: "METHOD_NOT_ALLOWED"}.check(t, got)
		}
		if name == "passthrough" {
			got := s.call(t.Context(), t, http.MethodGet, lookupPath+"?include_deleted=maybe",
				http.Header{"Authorization": {"Bearer caller-token"}, "Grpc-Timeout": {"0S"}})
			if got.reason != "INVALID_REQUEST" || len(got.violations) != 2 {
				t.Errorf("%s %v", got.reason, got.violations)
			}
		}
	}
	if len(u.apiRequests()) != 0 {
		t.Error("a bad request reached Podero")
	}
}
