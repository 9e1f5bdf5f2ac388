// Package openapi describes the REST API as an OpenAPI 3.1 document (contract.md, section 3).
//
// The document is made of what the service itself goes by: paths, parameters and schemas of the descriptors
// with their google.api.http annotations, rules and comments; errors of the table in package fault. What those
// can't say stands in spec.go and beside it: texts, headers, examples.
package openapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"example.com/podero-facade/server/fault"
)

// Options say what the descriptors can't know of a running service.
type Options struct {
	ServerURL string // where the paths begin; may be relative to the document

	// What a lookup needs. Either of JWT and MTLS suffices; Passthrough is needed beside MTLS.
	JWT, MTLS, Passthrough bool
}

// New describes every method with an HTTP path in some files, and returns the document as JSON. The files must
// have their comments. New fails if a method can't be described.
func New(files *protoregistry.Files, options Options) ([]byte, error) {
	var services []protoreflect.ServiceDescriptor
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			services = append(services, file.Services().Get(i))
		}
		return true
	})
	slices.SortFunc(services, func(a, b protoreflect.ServiceDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	b := newBuilder(options)
	for _, service := range services {
		if err := b.addService(service); err != nil {
			return nil, err
		}
	}
	schemas := &b.document.Components.Schemas
	*schemas = append(*schemas, member[*schema]{problemSchema, problem()})
	return b.document.marshal()
}

// builder builds a document. Its parts refer to schemas by name, which schemas collects.
type builder struct {
	document document
	schemas  map[string]protoreflect.FullName
}

func newBuilder(options Options) *builder {
	b := &builder{schemas: map[string]protoreflect.FullName{problemSchema: problemSchema}}
	b.document = document{
		OpenAPI: "3.1.1",
		Info:    about,
		Servers: []server{{URL: options.ServerURL}},
		Components: components{
			Parameters: requestHeaders,
			Headers:    responseHeaders,
			Responses:  failures(),
		},
	}
	b.secure(options)
	return b
}

// secure says what credentials a call needs.
func (b *builder) secure(options Options) {
	schemes := &b.document.Components.SecuritySchemes
	either := []object[[]string]{}
	if options.MTLS {
		*schemes = append(*schemes, member[securityScheme]{"clientCertificate", clientCertificate})
		either = append(either, object[[]string]{{"clientCertificate", []string{}}})
	}
	switch {
	case options.JWT:
		*schemes = append(*schemes, member[securityScheme]{"bearerToken", callerToken})
		either = append(either, object[[]string]{{"bearerToken", []string{}}})
	case options.Passthrough:
		*schemes = append(*schemes, member[securityScheme]{"bearerToken", poderoToken})
		if len(either) == 0 {
			either = append(either, nil)
		}
		either[0] = append(either[0], member[[]string]{"bearerToken", []string{}})
	}
	b.document.Security = either
}

func (b *builder) addService(service protoreflect.ServiceDescriptor) error {
	described := false
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
		if rule == nil {
			continue
		}
		described = true
		if err := b.addMethod(method, rule); err != nil {
			return fmt.Errorf("describe %s: %w", method.FullName(), err)
		}
	}
	if described {
		first, _ := paragraphs(service)
		b.document.Tags = append(b.document.Tags, tag{string(service.Name()), first})
	}
	return nil
}

func (b *builder) addMethod(method protoreflect.MethodDescriptor, rule *annotations.HttpRule) error {
	path := rule.GetGet()
	if path == "" || rule.GetBody() != "" || len(rule.GetAdditionalBindings()) > 0 {
		return fmt.Errorf("the gateway serves GET alone, at one path and without a body")
	}
	name := string(method.Name())
	summary, description := paragraphs(method)
	o := &operation{
		Tags:        []string{string(method.Parent().Name())},
		OperationID: strings.ToLower(name[:1]) + name[1:],
		Summary:     strings.TrimSuffix(summary, "."),
		Description: description,
	}
	for i := range method.Input().Fields().Len() {
		p, err := b.parameter(method.Input().Fields().Get(i), path)
		if err != nil {
			return err
		}
		o.Parameters = append(o.Parameters, p)
	}
	for _, header := range requestHeaders {
		o.Parameters = append(o.Parameters, parameter{Ref: "#/components/parameters/" + header.name})
	}
	success, err := b.success(method, rule.GetResponseBody())
	if err != nil {
		return err
	}
	o.Responses = object[response]{{strconv.Itoa(http.StatusOK), success}}
	for _, status := range failureStatuses() {
		o.Responses = append(o.Responses, member[response]{strconv.Itoa(status), response{Ref: "#/components/responses/" + statusName(status)}})
	}
	b.document.Paths = append(b.document.Paths, member[pathItem]{path, pathItem{o}})
	return nil
}

// parameter describes a field of a request, which stands in the path or else in the query.
func (b *builder) parameter(field protoreflect.FieldDescriptor, path string) (parameter, error) {
	s, err := b.single(field)
	if err != nil {
		return parameter{}, err
	}
	p := parameter{Name: string(field.Name()), In: "query", Description: comment(field), Schema: s}
	if strings.Contains(path, "{"+p.Name+"}") {
		p.In, p.Required = "path", true
		return p, nil
	}
	if field.Kind() != protoreflect.BoolKind || field.IsList() {
		return parameter{}, fmt.Errorf("field %s: the gateway reads no query parameters but booleans", field.FullName())
	}
	s.Default = false
	p.Description += " " + booleanWords()
	return p, nil
}

// success describes the answer of a method: its response, or the field of it that is the body.
func (b *builder) success(method protoreflect.MethodDescriptor, bodyField string) (response, error) {
	body := method.Output()
	if bodyField != "" {
		field := body.Fields().ByName(protoreflect.Name(bodyField))
		if field == nil || field.Message() == nil || field.Cardinality() == protoreflect.Repeated {
			return response{}, fmt.Errorf("the response body %q is not a message", bodyField)
		}
		body = field.Message()
	}
	reference, err := b.reference(body)
	if err != nil {
		return response{}, err
	}
	examples, err := examplesOf(body.FullName())
	if err != nil {
		return response{}, err
	}
	text, _ := paragraphs(method.Output())
	return response{
		Description: text,
		Headers:     headerReferences("X-Request-Id", "Cache-Control", "X-Cache", "Age"),
		Content:     object[mediaType]{{"application/json", mediaType{reference, examples}}},
	}, nil
}

// failureStatuses returns the statuses of failed calls, without that of a caller who left and that of a method
// that no path takes: neither is an answer to a described call.
func failureStatuses() []int {
	var statuses []int
	for _, kind := range fault.Kinds() {
		if kind != fault.CallerCancelled && kind != fault.MethodNotAllowed {
			statuses = append(statuses, kind.HTTPStatus())
		}
	}
	slices.Sort(statuses)
	return slices.Compact(statuses)
}

// statusName names a status among the components.
func statusName(status int) string { return strings.ReplaceAll(http.StatusText(status), " ", "") }

// failures describes every failed answer: a problem, with the reasons of its status and an example of each.
func failures() object[response] {
	var all object[response]
	for _, status := range failureStatuses() {
		var reasons, codes []string
		examples := object[example]{}
		var texts []string
		for _, kind := range fault.Kinds() {
			if kind.HTTPStatus() != status || slices.Contains(reasons, kind.Reason()) {
				continue
			}
			p := problemExample(kind)
			reasons = append(reasons, kind.Reason())
			codes = append(codes, p.Code)
			texts = append(texts, fmt.Sprintf("- `%s`: %s", kind.Reason(), p.Detail))
			examples = append(examples, member[example]{kind.Reason(), example{p}})
		}
		slices.Sort(codes)
		narrowed := &schema{Properties: object[*schema]{
			{"status", &schema{Const: status}},
			{"code", &schema{Enum: slices.Compact(codes)}},
			{"reason", &schema{Enum: reasons}},
		}}
		if status == http.StatusBadRequest {
			narrowed.Required = []string{"errors"}
		}
		all = append(all, member[response]{statusName(status), response{
			Description: http.StatusText(status) + ".\n\n" + strings.Join(texts, "\n"),
			Headers:     headerReferences(failureHeaders(status)...),
			Content: object[mediaType]{{"application/problem+json", mediaType{
				&schema{AllOf: []*schema{{Ref: schemaPath + problemSchema}, narrowed}}, examples,
			}}},
		}})
	}
	return all
}
