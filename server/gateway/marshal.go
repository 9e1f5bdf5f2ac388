package gateway

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// marshaler writes messages the way Podero's own API does (contract.md, section 3), which protojson
// can't: every field is there under its proto name, an unset optional one as null; integers of any size
// are numbers; the value ROLE_ADMIN of the enum Role is "admin"; times are in UTC.
type marshaler struct {
	runtime.JSONPb // for what the gateway asks besides, and for requests with a body

	plans sync.Map // of protoreflect.FullName to *plan
}

// ContentType returns application/json.
func (*marshaler) ContentType(any) string { return "application/json" }

// Marshal writes a message.
func (m *marshaler) Marshal(v any) ([]byte, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a message", v)
	}
	return m.appendMessage(make([]byte, 0, 768), message.ProtoReflect())
}

// plan is what can be known of a message type before its values.
type plan struct{ fields []plannedField }

type plannedField struct {
	protoreflect.FieldDescriptor
	key      string                             // what stands before the value: a comma if need be, the name, a colon
	enum     map[protoreflect.EnumNumber]string // in quotes
	isTime   bool
	nullable bool

	// What the descriptor finds out each time that it is asked.
	kind          protoreflect.Kind
	isList, isMap bool
	preset        string // the default of a text
}

// isSet reports whether the field of a message, which has this value, is set. Most values tell, for less than asking.
func (f *plannedField) isSet(message protoreflect.Message, value protoreflect.Value) bool {
	switch f.kind {
	case protoreflect.StringKind:
		return value.String() != f.preset || message.Has(f.FieldDescriptor)
	case protoreflect.MessageKind:
		return value.Message().IsValid()
	default:
		return message.Has(f.FieldDescriptor)
	}
}

func (m *marshaler) plan(message protoreflect.MessageDescriptor) *plan {
	if known, ok := m.plans.Load(message.FullName()); ok {
		return known.(*plan)
	}
	p := &plan{}
	separator := ""
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		planned := plannedField{
			FieldDescriptor: field, key: separator + `"` + string(field.Name()) + `":`,
			nullable: field.HasPresence(), kind: field.Kind(), isList: field.IsList(), isMap: field.IsMap(),
		}
		if planned.kind == protoreflect.StringKind {
			planned.preset = field.Default().String()
		}
		if enum := field.Enum(); enum != nil {
			planned.enum = enumNames(enum)
		}
		if of := field.Message(); of != nil {
			planned.isTime = of.FullName() == "google.protobuf.Timestamp"
		}
		p.fields = append(p.fields, planned)
		separator = ","
	}
	m.plans.Store(message.FullName(), p)
	return p
}

func enumNames(enum protoreflect.EnumDescriptor) map[protoreflect.EnumNumber]string {
	names := map[protoreflect.EnumNumber]string{}
	for i := range enum.Values().Len() {
		value := enum.Values().Get(i)
		names[value.Number()] = `"` + EnumName(value) + `"`
	}
	return names
}

// EnumName returns the name of an enum's value in JSON: in lower case and without the enum's own name, which
// proto style puts before it.
func EnumName(value protoreflect.EnumValueDescriptor) string {
	zero := string(value.Parent().(protoreflect.EnumDescriptor).Values().Get(0).Name())
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), strings.TrimSuffix(zero, "UNSPECIFIED")))
}

func (m *marshaler) appendMessage(b []byte, message protoreflect.Message) ([]byte, error) {
	b = append(b, '{')
	fields := m.plan(message.Descriptor()).fields
	for i := range fields {
		field := &fields[i]
		value := message.Get(field.FieldDescriptor)
		b = append(b, field.key...)
		var err error
		switch {
		case field.nullable && !field.isSet(message, value):
			b = append(b, "null"...)
		case field.isMap:
			return nil, fmt.Errorf("field %s: maps have no form in this API", field.FullName())
		case field.isList:
			b, err = m.appendList(b, field, value.List())
		default:
			b, err = m.appendValue(b, field, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (m *marshaler) appendList(b []byte, field *plannedField, list protoreflect.List) ([]byte, error) {
	b = append(b, '[')
	for i := range list.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = m.appendValue(b, field, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func (m *marshaler) appendValue(b []byte, field *plannedField, value protoreflect.Value) ([]byte, error) {
	switch field.kind {
	case protoreflect.StringKind:
		return appendText(b, value.String())
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, value.Bool()), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return strconv.AppendInt(b, value.Int(), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(b, value.Uint(), 10), nil
	case protoreflect.DoubleKind:
		if number := value.Float(); !math.IsInf(number, 0) && !math.IsNaN(number) {
			return jsontext.AppendFloat(b, number, 64), nil
		}
	case protoreflect.EnumKind:
		if name, ok := field.enum[value.Enum()]; ok {
			return append(b, name...), nil
		}
	case protoreflect.MessageKind:
		if !field.isTime {
			return m.appendMessage(b, value.Message())
		}
		if stamp, ok := value.Message().Interface().(*timestamppb.Timestamp); ok {
			b = append(b, '"')
			b = stamp.AsTime().AppendFormat(b, time.RFC3339Nano)
			return append(b, '"'), nil
		}
	}
	return nil, fmt.Errorf("field %s: this value has no form in this API", field.FullName())
}

// appendText writes a text. Most have nothing to escape and nothing to check, which takes less time to see than to do.
func appendText(b []byte, text string) ([]byte, error) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return jsontext.AppendQuote(b, text)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"'), nil
}
