package server_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"example.com/podero-facade/server"
)

// page gets a page, without following redirects, and returns its body.
func (s *service) page(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	response, err := s.rest.Transport.RoundTrip(&http.Request{Method: http.MethodGet, Header: http.Header{}, URL: &url.URL{
		Scheme: s.scheme, Host: s.HTTPAddr().String(), Path: path,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestTheDocsPageAndAllThatItRefersTo(t *testing.T) {
	i, ca := newIssuer(t), newAuthority(t)
	tlsOn, jwtOn := withTLS(t, ca), withJWT(i)
	s := start(t, newUpstream(t, good, nil), func(c *server.Config) {
		tlsOn(c)
		jwtOn(c)
		c.CallerAuth = []string{server.CallerMTLS, server.CallerJWT}
		c.Docs = true
	}).as(t, ca, nil) // without credentials
	index, html := s.page(t, "/docs")
	if index.StatusCode != 200 || index.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%s, %s", index.Status, index.Header.Get("Content-Type"))
	}
	for _, part := range []string{`<html lang="en">`, "<title>", "<main", "<h1>"} {
		if !strings.Contains(html, part) {
			t.Errorf("the page has no %s", part)
		}
	}
	references := names(`(?:href|src)="([^"]+)"`, html)
	delete(references, "data:,")
	if len(references) < 3 {
		t.Fatalf("references %v", references)
	}
	for reference := range references {
		if regexp.MustCompile(`^/|:`).MatchString(reference) {
			t.Errorf("%s would not work behind a prefix", reference)
		}
		if found, body := s.page(t, "/"+reference); found.StatusCode != 200 || body == "" || found.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", reference, found.Status)
		}
	}
	policy := index.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; ") || regexp.MustCompile(`unsafe|\*|http`).MatchString(policy) {
		t.Errorf("policy %s", policy)
	}
	if slash, _ := s.page(t, "/docs/"); slash.StatusCode != 308 || slash.Header.Get("Location") != "../docs" {
		t.Errorf("/docs/: %s to %s", slash.Status, slash.Header.Get("Location"))
	}
	post := s.call(t.Context(), t, http.MethodPost, "/docs", nil)
	failure{code: codes.Unimplemented, http: 405, reason: "METHOD_NOT_ALLOWED"}.check(t, post)
	if allow := post.http.Header.Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow %q", allow)
	}
}

func TestWithoutDocsTheDocumentIsStillThere(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), func(c *server.Config) { c.Docs = false })
	for _, path := range []string{"/docs", "/docs/", "/docs/page.js"} {
		failure{code: codes.NotFound, http: 404, reason: "NO_SUCH_ROUTE"}.check(t, s.call(t.Context(), t, http.MethodGet, path, nil))
	}
	s.served(t)
}
