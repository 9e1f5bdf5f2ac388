package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"example.com/podero-facade/server"
)

// description is gen/openapi.yaml, as far as REST answers are checked by it.
type description struct {
	Paths      map[string]map[string]struct{ Responses map[string]describedAnswer }
	Components struct {
		Responses map[string]describedAnswer
		Headers   map[string]struct{ Required bool }
		Schemas   map[string]struct{ Properties map[string]any }
	}
	routes   map[string]*regexp.Regexp // by path
	compiler *jsonschema.Compiler
}

type describedAnswer struct {
	Ref     string `json:"$ref"`
	Headers map[string]any
	Content map[string]any
}

const descriptionURL = "http://127.0.0.1/openapi.json"

func readDescription() (document map[string]any, err error) {
	text, err := os.ReadFile(filepath.Join("..", "gen", "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	return document, yaml.Unmarshal(text, &document)
}

var described = sync.OnceValues(func() (*description, error) {
	document, err := readDescription()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	d := &description{routes: map[string]*regexp.Regexp{}, compiler: jsonschema.NewCompiler()}
	if err := json.Unmarshal(encoded, d); err != nil {
		return nil, err
	}
	for path := range d.Paths {
		pattern := regexp.MustCompile(`\\\{[a-z_]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]*")
		d.routes[path] = regexp.MustCompile("^" + pattern + "$")
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	d.compiler.AssertFormat()
	return d, d.compiler.AddResource(descriptionURL, resource)
})

// checkDescribed checks that an answer is one that gen/openapi.yaml describes: its status, its headers, its body.
func checkDescribed(t testing.TB, method, target string, response *http.Response, body []byte) {
	t.Helper()
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	rawPath, _, _ := strings.Cut(target, "?")
	answer, pointer := d.find(rawPath, response.StatusCode)
	switch {
	case method != http.MethodGet && method != http.MethodHead: // the only methods that are described
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, response.StatusCode)
		}
		return
	case answer == nil:
		t.Errorf("%s has no answer %d in gen/openapi.yaml", target, response.StatusCode)
		return
	}
	d.checkHeaders(t, answer, response.Header)
	mediaType := response.Header.Get("Content-Type")
	if answer.Content[mediaType] == nil {
		t.Errorf("%d: the content type %q is not described", response.StatusCode, mediaType)
	}
	if method == http.MethodHead {
		return
	}
	schema, err := d.compiler.Compile(descriptionURL + "#" + pointer + "/content/" + strings.ReplaceAll(mediaType, "/", "~1") + "/schema")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%v in %s", err, body)
	}
	properties := d.Components.Schemas["User"].Properties
	if response.StatusCode != http.StatusOK {
		properties = d.Components.Schemas["Problem"].Properties
	}
	for name := range value.(map[string]any) {
		if properties[name] == nil {
			t.Errorf("the member %q is not described", name)
		}
	}
}

// find returns the answer of a path with a status, and where it stands. A path that is not described has the answer
// 404 as all do.
func (d *description) find(rawPath string, status int) (answer *describedAnswer, pointer string) {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for path, route := range d.routes {
		if !route.MatchString(rawPath) && status != http.StatusNotFound {
			continue
		}
		found, ok := d.Paths[path]["get"].Responses[fmt.Sprint(status)]
		if !ok {
			return nil, ""
		}
		if name, ok := strings.CutPrefix(found.Ref, "#/components/responses/"); ok {
			found = d.Components.Responses[name]
			return &found, "/components/responses/" + name
		}
		return &found, fmt.Sprintf("/paths/%s/get/responses/%d", escape.Replace(path), status)
	}
	return nil, ""
}

// otherHeaders are those of any answer over HTTP that a caller need not know.
var otherHeaders = []string{
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Content-Length", "Content-Security-Policy", "Content-Type", "Date",
	"Vary", "X-Content-Type-Options",
}

func (d *description) checkHeaders(t testing.TB, answer *describedAnswer, header http.Header) {
	t.Helper()
	expected := map[string]bool{}
	for name := range answer.Headers {
		canonical := http.CanonicalHeaderKey(name)
		expected[canonical] = true
		if header.Get(canonical) == "" {
			if d.Components.Headers[name].Required {
				t.Errorf("the answer has no %s", name)
			}
			continue
		}
		schema, err := d.compiler.Compile(descriptionURL + "#/components/headers/" + name + "/schema")
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(header.Get(canonical)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name := range header {
		if !expected[name] && !slices.Contains(otherHeaders, name) {
			t.Errorf("the header %s is not described", name)
		}
	}
}

// served returns the OpenAPI document that a service serves.
func (s *service) served(t *testing.T) map[string]any {
	t.Helper()
	response, err := s.rest.Get(s.scheme + "://" + s.HTTPAddr().String() + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" ||
		response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("X-Request-Id") == "" || response.ContentLength <= 0 {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	var document map[string]any
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	return document
}

func TestTheDocumentServedIsTheOneCommitted(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	served := s.served(t)
	want, err := readDescription()
	if err != nil {
		t.Fatal(err)
	}
	if servers := fmt.Sprint(served["servers"]); servers != "[map[url:.]]" {
		t.Errorf("servers %s", servers)
	}
	delete(served, "servers")
	delete(want, "servers")
	encoded, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var committed map[string]any
	if err := json.Unmarshal(encoded, &committed); err != nil {
		t.Fatal(err)
	}
	for name := range committed {
		if !reflect.DeepEqual(served[name], committed[name]) {
			t.Errorf("%s is not that of gen/openapi.yaml; run tools/generate", name)
		}
	}
	if len(served) != len(committed) {
		t.Errorf("%d members, want %d", len(served), len(committed))
	}
}

func TestTheDocumentAsksForTheCredentialsThatTheServiceWants(t *testing.T) {
	i, ca := newIssuer(t), newAuthority(t)
	tlsOn, jwtOn := withTLS(t, ca), withJWT(i)
	for name, c := range map[string]struct {
		change  func(*server.Config)
		want    string // the security of the document
		schemes string // the types of its schemes
	}{
		"none":                   {func(*server.Config) {}, `[]`, ""},
		"a token":                {jwtOn, `[{"bearerToken":[]}]`, "bearer JWT"},
		"a certificate":          {func(c *server.Config) { tlsOn(c); c.CallerAuth = []string{"mtls"} }, `[{"clientCertificate":[]}]`, "mutualTLS"},
		"either":                 {func(c *server.Config) { tlsOn(c); jwtOn(c); c.CallerAuth = []string{"mtls", "jwt"} }, `[{"clientCertificate":[]},{"bearerToken":[]}]`, "bearer JWT, mutualTLS"},
		"Podero's token":         {passthrough, `[{"bearerToken":[]}]`, "bearer"},
		"that and a certificate": {func(c *server.Config) { tlsOn(c); passthrough(c); c.CallerAuth = []string{"mtls"} }, `[{"bearerToken":[],"clientCertificate":[]}]`, "bearer, mutualTLS"},
		"none, over TLS":         {tlsOn, `[]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			overTLS := false
			s := start(t, newUpstream(t, good, nil), func(config *server.Config) {
				c.change(config)
				overTLS = config.TLSCertFile != ""
			})
			if overTLS {
				s = s.as(t, ca, nil)
			}
			document := s.served(t) // without credentials
			security, err := json.Marshal(document["security"])
			if err != nil {
				t.Fatal(err)
			}
			if string(security) != c.want {
				t.Errorf("security %s, want %s", security, c.want)
			}
			var schemes []string
			named, _ := document["components"].(map[string]any)["securitySchemes"].(map[string]any)
			for _, scheme := range named {
				scheme := scheme.(map[string]any)
				kind := fmt.Sprint(scheme["scheme"], " ", scheme["bearerFormat"])
				if scheme["type"] == "mutualTLS" {
					kind = "mutualTLS"
				}
				schemes = append(schemes, strings.TrimSuffix(kind, " <nil>"))
			}
			slices.Sort(schemes)
			if got := strings.Join(schemes, ", "); got != c.schemes {
				t.Errorf("schemes %s, want %s", got, c.schemes)
			}
		})
	}
}
