package gateway

import (
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"example.com/podero-facade/server/fault"
)

// BooleanWords returns the spellings of a boolean that Podero's framework takes, in any case.
func BooleanWords() (yes, no []string) {
	return []string{"true", "t", "yes", "y", "on", "1"}, []string{"false", "f", "no", "n", "off", "0"}
}

// boolean returns true or false for a spelling of it, and "" for anything else.
func boolean(word string) string {
	word = strings.ToLower(word)
	yes, no := BooleanWords()
	switch {
	case slices.Contains(yes, word):
		return "true"
	case slices.Contains(no, word):
		return "false"
	default:
		return ""
	}
}

// query reads query strings as Podero does.
type query struct {
	booleans []string // the boolean parameters of all methods
}

// addService makes the boolean fields of a service's requests known.
func (q *query) addService(desc *grpc.ServiceDesc) error {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(desc.ServiceName))
	if err != nil {
		return err
	}
	methods := found.(protoreflect.ServiceDescriptor).Methods()
	for i := range methods.Len() {
		fields := methods.Get(i).Input().Fields()
		for j := range fields.Len() {
			if field := fields.Get(j); field.Kind() == protoreflect.BoolKind {
				q.booleans = append(q.booleans, string(field.Name()))
			}
		}
	}
	return nil
}

// read returns what is known of a query string, and what is wrong with that. What can't be decoded can't be known,
// so it is left out like every other unknown parameter.
func (q *query) read(raw string) (known url.Values, bad []fault.Violation) {
	known = url.Values{}
	if raw == "" {
		return known, nil
	}
	for pair := range strings.SplitSeq(raw, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !slices.Contains(q.booleans, name) {
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		word := boolean(value)
		if err != nil || word == "" {
			return url.Values{}, []fault.Violation{{Field: name, Message: "must be true or false"}}
		}
		if known.Has(name) {
			return url.Values{}, []fault.Violation{{Field: name, Message: "must be given once"}}
		}
		known.Set(name, word)
	}
	return known, nil
}
