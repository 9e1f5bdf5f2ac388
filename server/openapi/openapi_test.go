package openapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"example.com/podero-facade/gen"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/openapi"
)

// describe returns the document of some files as JSON and as any JSON object is read.
func describe(t *testing.T, files *protoregistry.Files) ([]byte, map[string]any) {
	t.Helper()
	document, err := openapi.New(files, openapi.Options{ServerURL: "."})
	if err != nil {
		t.Fatal(err)
	}
	var read map[string]any
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatal(err)
	}
	return document, read
}

// at returns what stands at a path of member names.
func at(value any, path ...string) any {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

func TestEveryFailureHasItsReasonAndAnExampleThatIsValid(t *testing.T) {
	files, err := gen.Files()
	if err != nil {
		t.Fatal(err)
	}
	document, read := describe(t, files)
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("openapi.json", resource); err != nil {
		t.Fatal(err)
	}
	examples := map[string]any{} // by status and reason
	for name, response := range at(read, "components", "responses").(map[string]any) {
		schema, err := compiler.Compile("openapi.json#/components/responses/" + name + "/content/application~1problem+json/schema")
		if err != nil {
			t.Fatal(err)
		}
		for reason, example := range at(response, "content", "application/problem+json", "examples").(map[string]any) {
			value := at(example, "value")
			if err := schema.Validate(value); err != nil || at(value, "reason") != reason {
				t.Errorf("%s, %s: %v", name, reason, err)
			}
			examples[fmt.Sprint(at(value, "status"), " ", reason)] = value
		}
	}
	for _, kind := range fault.Kinds() {
		if kind == fault.CallerCancelled || kind == fault.MethodNotAllowed { // no answer to a call that is described
			continue
		}
		if examples[fmt.Sprint(kind.HTTPStatus(), " ", kind.Reason())] == nil {
			t.Errorf("%d %s has no example", kind.HTTPStatus(), kind.Reason())
		}
		text, _ := json.Marshal(at(read, "components", "schemas", "Problem", "properties", "reason", "enum"))
		if !strings.Contains(string(text), `"`+kind.Reason()+`"`) {
			t.Errorf("%s is no reason of a problem", kind.Reason())
		}
	}
	user, err := compiler.Compile("openapi.json#/components/schemas/User")
	if err != nil {
		t.Fatal(err)
	}
	users := at(read, "paths", "/api/partners/v2.0/org/{org_id}/users/by-ext-id/{external_id}", "get", "responses", "200", "content", "application/json", "examples")
	for name, example := range users.(map[string]any) {
		if err := user.Validate(at(example, "value")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fixture is a file beside the API's, with one method.
const fixture = `
	name: "test/v1/devices.proto" package: "test.v1" syntax: "proto3"
	dependency: ["google/api/annotations.proto", "google/protobuf/timestamp.proto"]
	service { name: "DeviceService" method {
		name: "ListDevices" input_type: ".test.v1.ListDevicesRequest" output_type: ".test.v1.ListDevicesResponse"
		options { [google.api.http] { %s } }
	} }
	message_type { name: "ListDevicesRequest"
		field { name: "org_id" number: 1 type: TYPE_STRING }
		field { name: "online" number: 2 type: TYPE_BOOL } }
	message_type { name: "ListDevicesResponse"
		field { name: "devices" number: 1 type: TYPE_MESSAGE type_name: ".test.v1.Device" label: LABEL_REPEATED }
		field { name: "first" number: 2 type: TYPE_MESSAGE type_name: ".test.v1.Device" } }
	message_type { name: "%s"
		field { name: "serial" number: 1 type: TYPE_STRING }
		field { name: "energy" number: 2 type: TYPE_INT64 }
		field { name: "state" number: 3 type: TYPE_ENUM type_name: ".test.v1.State" label: LABEL_REPEATED }
		field { name: "parent" number: 4 type: TYPE_MESSAGE type_name: ".test.v1.Device" }
		field { name: "seen" number: 5 type: %s } }
	enum_type { name: "State" value { name: "STATE_UNSPECIFIED" number: 0 } value { name: "STATE_ON" number: 1 } }
	source_code_info {
		location { path: [4, 2, 2, 0] span: [1, 1, 1] leading_comments: " What the device\n is named by.\n" }
		location { path: [6, 0, 2, 0] span: [1, 1, 1] leading_comments: " Lists devices.\n\n All of them.\n" } }`

func parse(t *testing.T, rule, message, kind string) *protoregistry.Files {
	t.Helper()
	var file descriptorpb.FileDescriptorProto
	text := strings.ReplaceAll(fmt.Sprintf(fixture, rule, message, kind), ".test.v1.Device\"", ".test.v1."+message+`"`)
	if err := prototext.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	linked, err := protodesc.NewFile(&file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := &protoregistry.Files{}
	if err := files.RegisterFile(linked); err != nil {
		t.Fatal(err)
	}
	return files
}

const (
	listRule  = `get: "/org/{org_id}/devices"`
	timestamp = `TYPE_MESSAGE type_name: ".google.protobuf.Timestamp"`
)

// TestAnotherMethodIsDescribedByItsDescriptorAlone holds what the next RPC relies on.
func TestAnotherMethodIsDescribedByItsDescriptorAlone(t *testing.T) {
	_, document := describe(t, parse(t, listRule, "Device", timestamp))
	operation := at(document, "paths", "/org/{org_id}/devices", "get")
	for member, want := range map[string]string{
		"operationId": `"listDevices"`, "summary": `"Lists devices"`, "description": `"All of them."`, "tags": `["DeviceService"]`,
	} {
		if got, _ := json.Marshal(at(operation, member)); string(got) != want {
			t.Errorf("%s %s, want %s", member, got, want)
		}
	}
	var parameters []string
	for _, parameter := range at(operation, "parameters").([]any) {
		if at(parameter, "name") != nil {
			parameters = append(parameters, fmt.Sprint(at(parameter, "name"), " in ", at(parameter, "in"), " ", at(parameter, "required")))
		}
	}
	if want := []string{"org_id in path true", "online in query <nil>"}; !slices.Equal(parameters, want) {
		t.Errorf("parameters %v, want %v", parameters, want)
	}
	schemas := at(document, "components", "schemas")
	for path, want := range map[string]string{
		"ListDevicesResponse devices": `{"items":{"$ref":"#/components/schemas/Device"},"type":"array"}`,
		"ListDevicesResponse first":   `{"oneOf":[{"$ref":"#/components/schemas/Device"},{"type":"null"}]}`,
		"Device serial":               `{"description":"What the device is named by.","type":"string"}`,
		"Device energy":               `{"format":"int64","type":"integer"}`,
		"Device state":                `{"items":{"$ref":"#/components/schemas/State"},"type":"array"}`,
		"Device seen":                 `{"format":"date-time","type":["string","null"]}`,
	} {
		message, field, _ := strings.Cut(path, " ")
		if got, _ := json.Marshal(at(schemas, message, "properties", field)); string(got) != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got, _ := json.Marshal(at(schemas, "State", "enum")); string(got) != `["unspecified","on"]` {
		t.Errorf("enum %s", got)
	}
	if ok := at(operation, "responses", "200"); ok == nil || at(operation, "responses", "404") == nil {
		t.Errorf("responses %v", at(operation, "responses"))
	}
}

func TestWhatTheGatewayCannotServeIsNotDescribed(t *testing.T) {
	for name, files := range map[string]*protoregistry.Files{
		"another method":        parse(t, `post: "/devices" body: "*"`, "Device", timestamp),
		"a second path":         parse(t, listRule+` additional_bindings { get: "/devices" }`, "Device", timestamp),
		"an unknown body":       parse(t, listRule+` response_body: "things"`, "Device", timestamp),
		"a list as body":        parse(t, listRule+` response_body: "devices"`, "Device", timestamp),
		"another parameter":     parse(t, `get: "/devices"`, "Device", timestamp),
		"bytes":                 parse(t, listRule, "Device", `TYPE_BYTES`),
		"two schemas, one name": parse(t, listRule, "Problem", timestamp),
	} {
		if document, err := openapi.New(files, openapi.Options{}); err == nil {
			t.Errorf("%s: %s", name, document)
		}
	}
}
