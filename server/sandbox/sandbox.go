// Package sandbox is an upstream to try the service against and to test with: Podero's API and its token
// endpoint, written from what is known of them (contract.md, section 1). It shares no code with the
// packages that call Podero, so that it can contradict them.
package sandbox

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// What the sandbox knows.
const (
	OrgID        = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	ClientID     = "sandbox"
	ClientSecret = "sandbox"

	APIPath    = "/api/partners/v2.0"
	TokenPath  = "/oauth2/token/"
	RevokePath = "/oauth2/revoke_token/"
)

//go:embed users/*.json
var documents embed.FS

// Sandbox is the upstream as an http.Handler.
type Sandbox struct {
	tokens *tokens
	users  map[string]user // by external ID
}

type user struct {
	document []byte
	deleted  bool
}

// New returns a sandbox whose tokens live as long as given.
func New(tokenLifetime time.Duration) (*Sandbox, error) {
	s := &Sandbox{tokens: newTokens(tokenLifetime), users: map[string]user{}}
	files, err := fs.Glob(documents, "users/*.json")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		document, err := documents.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "users/"), ".json")
		s.users[externalID(name)] = user{document, name == "deleted"}
	}
	return s, nil
}

// externalID returns the external ID of a document: its name, but for one that no file can be named.
func externalID(name string) string {
	if name == "escaped" {
		return "a/b c%é"
	}
	return name
}

// ServeHTTP answers as Podero would.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.EscapedPath(); {
	case path == TokenPath:
		s.tokens.issue(w, r)
	case path == RevokePath:
		s.tokens.revoke(w, r)
	case strings.HasPrefix(path, APIPath+"/"):
		s.api(w, r, strings.TrimPrefix(path, APIPath))
	default:
		notRouted(w)
	}
}

// route is a path of the API: its organization, and what its last segment names.
type route struct {
	path *regexp.Regexp
	find func(s *Sandbox, w http.ResponseWriter, r *http.Request, id string)
}

var routes = []route{
	{regexp.MustCompile(`^/org/([^/]+)/users/by-ext-id/([^/]+)$`), (*Sandbox).user},
}

var uuid = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// api answers a call of the Partner API.
func (s *Sandbox) api(w http.ResponseWriter, r *http.Request, path string) {
	for _, route := range routes {
		if match := route.path.FindStringSubmatch(path); match != nil {
			s.serve(w, r, route, match[1], match[2])
			return
		}
	}
	notRouted(w)
}

// serve checks what every route does, and finds what the last segment of the path names.
func (s *Sandbox) serve(w http.ResponseWriter, r *http.Request, route route, org, segment string) {
	if r.Method != http.MethodGet {
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !s.tokens.valid(token) {
		detail(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	orgID, errOrg := url.PathUnescape(org)
	id, errID := url.PathUnescape(segment)
	if errOrg != nil || errID != nil {
		notRouted(w)
		return
	}
	if !uuid.MatchString(orgID) {
		invalid(w, "uuid_parsing", "path", "org_id", "Input should be a valid UUID")
		return
	}
	if !strings.EqualFold(orgID, OrgID) {
		detail(w, http.StatusForbidden, "Forbidden")
		return
	}
	route.find(s, w, r, id)
}

// user answers with the user behind an external ID.
func (s *Sandbox) user(w http.ResponseWriter, r *http.Request, externalID string) {
	includeDeleted, ok := boolean(r.URL.Query()["include_deleted"])
	if !ok {
		invalid(w, "bool_parsing", "query", "include_deleted", "Input should be a valid boolean, unable to interpret input")
		return
	}
	found, ok := s.users[externalID]
	if !ok || found.deleted && !includeDeleted {
		detail(w, http.StatusNotFound, "Not Found")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(found.document)
}

// boolean reads a query parameter as pydantic does; without one it is false.
func boolean(values []string) (b, ok bool) {
	if len(values) == 0 {
		return false, true
	}
	switch strings.ToLower(values[len(values)-1]) {
	case "true", "t", "yes", "y", "on", "1":
		return true, true
	case "false", "f", "no", "n", "off", "0":
		return false, true
	default:
		return false, false
	}
}

func detail(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]any{"detail": text})
}

func invalid(w http.ResponseWriter, kind, in, field, message string) {
	writeJSON(w, http.StatusUnprocessableEntity, map[string]any{
		"detail": []any{map[string]any{"type": kind, "loc": []string{in, field}, "msg": message}},
	})
}

// notRouted answers as Django does where no route is.
func notRouted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte("<!doctype html>\n<html lang=\"en\"><head><title>Not Found</title></head>" +
		"<body><h1>Not Found</h1><p>The requested resource was not found on this server.</p></body></html>\n"))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
