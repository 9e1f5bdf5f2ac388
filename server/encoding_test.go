package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// TestTheStatusDecidesBeforeTheEncoding has failures whose Content-Encoding says gzip, and whose body is plain: a proxy
// replaced the body and kept the header.
func TestTheStatusDecidesBeforeTheEncoding(t *testing.T) {
	for code, want := range map[int]struct {
		code   codes.Code
		reason string
	}{
		401: {codes.Internal, "UPSTREAM_UNAUTHENTICATED"},
		403: {codes.PermissionDenied, "UPSTREAM_FORBIDDEN"},
		404: {codes.NotFound, "USER_NOT_FOUND"},
		422: {codes.InvalidArgument, "UPSTREAM_REJECTED_REQUEST"},
		429: {codes.ResourceExhausted, "UPSTREAM_RATE_LIMITED"},
		500: {codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		502: {codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		503: {codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			for _, protocol := range protocols {
				u := newUpstream(t, withHeader("Content-Encoding", "gzip", replyJSON(code, detail)), nil)
				s := start(t, u, nil)
				got := protocol.lookup(t.Context(), t, s, theUser(), nil)
				if got.reason != want.reason || got.code != want.code {
					t.Errorf("%s: got %v %s, want %v %s", protocol.name, got.code, got.reason, want.code, want.reason)
				}
				if code == 401 && u.tokensAsked() != 2 {
					t.Errorf("%s: %d tokens were fetched, want another one", protocol.name, u.tokensAsked())
				}
				if code >= 502 && len(u.apiRequests()) < 2 {
					t.Errorf("%s: it was not tried again", protocol.name)
				}
			}
		})
	}
}

func TestWhatAContentTypeSays(t *testing.T) {
	for contentType, found := range map[string]bool{
		"application/json": true,
		"Application/JSON": true,
		"application/json; charset=utf-8; charset=UTF-8": true,
		"application/json;":                  true,
		"application/json; boundary=\"":      true,
		"application/json, application/json": true,
		"application/json, text/html":        false,
		"text/html":                          false,
		"application/jsonp":                  false,
		"":                                   false,
	} {
		for _, protocol := range protocols {
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				code, body := 200, document()
				if strings.Contains(r.URL.Path, "/nobody") {
					code, body = 404, detail
				}
				w.Header()["Content-Type"] = []string{contentType}
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
			}, nil)
			s := start(t, u, nil)
			if got := protocol.lookup(t.Context(), t, s, theUser(), nil); (got.user != nil) != found {
				t.Errorf("%s, 200 of type %q: got %s", protocol.name, contentType, got.reason)
			}
			nobody := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "nobody"}
			if got := protocol.lookup(t.Context(), t, s, nobody, nil); (got.reason == "USER_NOT_FOUND") != found {
				t.Errorf("%s, 404 of type %q: got %s", protocol.name, contentType, got.reason)
			}
		}
	}
}

func TestCompressedRequests(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	if _, err := s.grpc.GetUserByExternalId(t.Context(), theUser(), grpc.UseCompressor(gzip.Name)); err != nil {
		t.Error(err)
	}
	large := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: strings.Repeat("x", 10<<20)}
	if _, err := s.grpc.GetUserByExternalId(t.Context(), large, grpc.UseCompressor(gzip.Name)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("10 MiB of text: %v", err)
	}
}
