package server_test

import (
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TestEveryMethodKeepsTheHabits holds what the rest of the service goes by, for whoever adds the next one.
func TestEveryMethodKeepsTheHabits(t *testing.T) {
	methods := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "podero.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				methods++
				checkMethod(t, service.Methods().Get(j))
			}
		}
		return true
	})
	if methods == 0 {
		t.Error("no method of ours was found")
	}
}

func checkMethod(t *testing.T, method protoreflect.MethodDescriptor) {
	options := method.Options().(*descriptorpb.MethodOptions)
	if options.GetIdempotencyLevel() != descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		t.Errorf("%s may have side effects, and callers and finders repeat it", method.FullName())
	}
	rule, _ := proto.GetExtension(options, annotations.E_Http).(*annotations.HttpRule)
	if !strings.HasPrefix(rule.GetGet(), "/api/partners/v2.0/") || rule.GetResponseBody() == "" {
		t.Errorf("%s has no path of Podero's, or no response_body", method.FullName())
	}
	if method.Input().Fields().ByName("org_id") == nil {
		t.Errorf("%s names no org_id, by which the policy goes", method.FullName())
	}
	for i := range method.Input().Fields().Len() {
		field := method.Input().Fields().Get(i)
		if rules, err := protovalidate.ResolveFieldRules(field); field.Kind() == protoreflect.StringKind && (err != nil || rules == nil) {
			t.Errorf("%s has no rule: %v", field.FullName(), err)
		}
	}
}
