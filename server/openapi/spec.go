package openapi

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/reflect/protoreflect"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/gateway"
)

//go:embed description.md
var description string

// examples has a directory for each message that answers have examples of, named for the message.
//
//go:embed examples
var examples embed.FS

var about = info{
	Title:       "podero-facade",
	Version:     "v1",
	Summary:     "Podero's Partner API, on its own paths.",
	Description: description,
	License:     license{"Proprietary", "LicenseRef-Proprietary"},
}

// The ways to say who calls.
var (
	clientCertificate = securityScheme{Type: "mutualTLS", Description: "A client certificate that the service trusts."}
	callerToken       = securityScheme{Type: "http", Scheme: "bearer", BearerFormat: "JWT",
		Description: "A token of the issuer that the service trusts."}
	poderoToken = securityScheme{Type: "http", Scheme: "bearer",
		Description: "An access token of Podero's, which the service passes on."}
)

// requestHeaders are what a call may have beside its parameters.
var requestHeaders = object[parameter]{
	{"X-Request-Id", parameter{
		Name: "X-Request-Id", In: "header",
		Description: "Names the call in logs and traces, here and at Podero. The service makes one up for a call without it.",
		Schema:      &schema{Type: types{"string"}, MinLength: 1, MaxLength: 128, Pattern: "^[!-~]+$"},
	}},
	{"Grpc-Timeout", parameter{
		Name: "Grpc-Timeout", In: "header",
		Description: "How long the caller waits: a number of up to 8 digits and a unit, `H`, `M`, `S`, `m` (milliseconds), `u` or `n`. The lookup ends by then.",
		Schema:      &schema{Type: types{"string"}, Pattern: "^[1-9][0-9]{0,7}[HMSmun]$"},
	}},
}

// responseHeaders are what answers have beside their bodies.
var responseHeaders = object[header]{
	{"X-Request-Id", header{
		Description: "The call's name. Quote it to the operator.", Required: true,
		Schema: &schema{Type: types{"string"}, MinLength: 1, MaxLength: 128},
	}},
	{"Cache-Control", header{
		Description: "No answer may be stored.", Required: true,
		Schema: &schema{Type: types{"string"}, Const: "no-store"},
	}},
	{"X-Cache", header{
		Description: "The answer is from the service's cache: `stale` if it is past its time, as Podero can't be reached.",
		Schema:      &schema{Type: types{"string"}, Enum: []string{"hit", "stale"}},
	}},
	{"Age", header{
		Description: "How old an answer from the cache is, in seconds.",
		Schema:      &schema{Type: types{"string"}, Pattern: "^[0-9]+$"},
	}},
	{"Retry-After", header{
		Description: "After how many seconds to try again.",
		Schema:      &schema{Type: types{"string"}, Pattern: "^[0-9]+$"},
	}},
	{"WWW-Authenticate", header{
		Description: "How to authenticate.", Required: true,
		Schema: &schema{Type: types{"string"}, Enum: []string{"Bearer", `Bearer error="invalid_token"`}},
	}},
}

// failureHeaders names the headers of a failed answer.
func failureHeaders(status int) []string {
	names := []string{"X-Request-Id", "Cache-Control"}
	switch status {
	case http.StatusUnauthorized:
		names = append(names, "WWW-Authenticate")
	case http.StatusNotFound:
		names = append(names, "X-Cache", "Age")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		names = append(names, "Retry-After")
	}
	return names
}

func headerReferences(names ...string) object[header] {
	var references object[header]
	for _, name := range names {
		references = append(references, member[header]{name, header{Ref: "#/components/headers/" + name}})
	}
	return references
}

const problemSchema = "Problem"

// problem is the schema of gateway.Problem.
func problem() *schema {
	line := func(text string) *schema { return &schema{Type: types{"string"}, Description: text} }
	return &schema{
		Type:        types{"object"},
		Description: "An error (RFC 9457). Program against its reason.",
		Properties: object[*schema]{
			{"type", &schema{Type: types{"string"}, Description: "Says nothing: the reason does.", Const: "about:blank"}},
			{"title", line("The phrase of the status.")},
			{"status", &schema{Type: types{"integer"}, Description: "The HTTP status."}},
			{"detail", line("What happened and what to do about it, for people.")},
			{"code", line("The name of the gRPC code.")},
			{"reason", &schema{Type: types{"string"}, Description: "What happened, for programs.", Enum: fault.Reasons()}},
			{"request_id", line("The call's name, as in the header `X-Request-Id`.")},
			{"errors", &schema{
				Type: types{"array"}, Description: "What is wrong with the request, field by field. Every answer with the status 400 has it.",
				Items: &schema{
					Type:       types{"object"},
					Properties: object[*schema]{{"field", line("The field.")}, {"message", line("What is wrong with it.")}},
					Required:   []string{"field", "message"},
				},
			}},
		},
		Required: []string{"type", "title", "status", "detail", "code", "reason", "request_id"},
	}
}

// problemExample returns the problem that a kind of failure becomes.
func problemExample(kind fault.Kind) gateway.Problem {
	failure := fault.New(kind, nil)
	switch kind {
	case fault.InvalidRequest:
		failure.Violations = []fault.Violation{{Field: "org_id", Message: "must be a valid UUID"}}
	case fault.UpstreamRejectedRequest:
		failure.Violations = []fault.Violation{{Field: "external_id", Message: "String should have at most 255 characters"}}
	}
	return gateway.NewProblem(failure.Status("KRUGKIDROVUWG2ZAMJZG653OEB"))
}

// booleanWords says what else than true and false the gateway takes.
func booleanWords() string {
	text := func(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }
	yes, no := gateway.BooleanWords()
	return fmt.Sprintf("%s mean true, %s false, in any case.", text(yes), text(no))
}

// examplesOf returns the examples of a message, if there are any, by the names of their files.
func examplesOf(message protoreflect.FullName) (object[example], error) {
	files, err := fs.Glob(examples, "examples/"+string(message)+"/*.json")
	if err != nil {
		return nil, err
	}
	var all object[example]
	for _, file := range files {
		content, err := examples.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, member[example]{strings.TrimSuffix(path.Base(file), ".json"), example{jsontext.Value(content)}})
	}
	return all, nil
}
