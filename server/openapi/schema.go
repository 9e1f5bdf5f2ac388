package openapi

import (
	"fmt"
	"math"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"example.com/podero-facade/server/gateway"
)

const schemaPath = "#/components/schemas/"

// reference returns a reference to the schema of a message or an enum, which it adds if it is new.
func (b *builder) reference(d protoreflect.Descriptor) (*schema, error) {
	name := string(d.Name())
	reference := &schema{Ref: schemaPath + name}
	switch known := b.schemas[name]; known {
	case d.FullName():
		return reference, nil
	case "":
		b.schemas[name] = d.FullName()
	default:
		return nil, fmt.Errorf("%s and %s would be one schema", known, d.FullName())
	}
	position := len(b.document.Components.Schemas)
	b.document.Components.Schemas = append(b.document.Components.Schemas, member[*schema]{name: name})
	var s *schema
	var err error
	switch d := d.(type) {
	case protoreflect.EnumDescriptor:
		s = enum(d)
	case protoreflect.MessageDescriptor:
		s, err = b.message(d)
	}
	b.document.Components.Schemas[position].value = s
	return reference, err
}

// message returns the schema of a message as the gateway writes it: every field is there.
func (b *builder) message(d protoreflect.MessageDescriptor) (*schema, error) {
	text, _ := paragraphs(d)
	s := &schema{Type: []string{"object"}, Description: text}
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		value, err := b.value(field)
		if err != nil {
			return nil, err
		}
		s.Properties = append(s.Properties, member[*schema]{string(field.Name()), value})
		s.Required = append(s.Required, string(field.Name()))
	}
	return s, nil
}

// value returns the schema of a field's value, which is null if the field can be unset.
func (b *builder) value(field protoreflect.FieldDescriptor) (*schema, error) {
	s, err := b.single(field)
	if err != nil {
		return nil, err
	}
	switch {
	case field.IsMap():
		return nil, fmt.Errorf("field %s: maps have no form in this API", field.FullName())
	case field.IsList():
		s = &schema{Type: []string{"array"}, Items: s}
	case field.HasPresence() && s.Ref != "":
		s = &schema{OneOf: []*schema{s, {Type: []string{"null"}}}}
	case field.HasPresence():
		s.Type = append(s.Type, "null")
	}
	s.Description = comment(field)
	return s, nil
}

// single returns the schema of one value of a field.
func (b *builder) single(field protoreflect.FieldDescriptor) (*schema, error) {
	switch field.Kind() {
	case protoreflect.StringKind:
		return text(field), nil
	case protoreflect.BoolKind:
		return &schema{Type: []string{"boolean"}}, nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &schema{Type: []string{"integer"}, Format: "int32", Minimum: math.MinInt32, Maximum: math.MaxInt32}, nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return &schema{Type: []string{"integer"}, Format: "int64"}, nil
	case protoreflect.DoubleKind:
		return &schema{Type: []string{"number"}, Format: "double"}, nil
	case protoreflect.EnumKind:
		return b.reference(field.Enum())
	case protoreflect.MessageKind:
		if field.Message().FullName() == "google.protobuf.Timestamp" {
			return &schema{Type: []string{"string"}, Format: "date-time"}, nil
		}
		return b.reference(field.Message())
	default:
		return nil, fmt.Errorf("field %s: the kind %s has no form in this API", field.FullName(), field.Kind())
	}
}

// text returns the schema of a string with those of its rules that JSON Schema knows.
func text(field protoreflect.FieldDescriptor) *schema {
	s := &schema{Type: []string{"string"}}
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	of := rules.GetString()
	s.MinLength, s.MaxLength = of.GetMinLen(), of.GetMaxLen()
	s.Pattern = of.GetPattern()
	if of.GetUuid() {
		s.Format = "uuid"
	}
	for _, example := range of.GetExample() {
		s.Examples = append(s.Examples, example)
	}
	return s
}

// enum returns the schema of an enum's names as the gateway writes them.
func enum(d protoreflect.EnumDescriptor) *schema {
	s := &schema{Type: []string{"string"}, Description: comment(d) + "\n"}
	for i := range d.Values().Len() {
		value := d.Values().Get(i)
		name := gateway.EnumName(value)
		s.Enum = append(s.Enum, name)
		s.Description += fmt.Sprintf("\n- `%s`: %s", name, comment(value))
	}
	return s
}

// comment returns the comment of a descriptor in one piece.
func comment(d protoreflect.Descriptor) string {
	first, rest := paragraphs(d)
	return strings.TrimSpace(first + "\n\n" + rest)
}

// paragraphs returns the first paragraph of a descriptor's comment, and the others, each in one line.
func paragraphs(d protoreflect.Descriptor) (first, rest string) {
	location := d.ParentFile().SourceLocations().ByDescriptor(d)
	split := strings.Split(strings.TrimSpace(location.LeadingComments), "\n\n")
	for i, paragraph := range split {
		split[i] = strings.Join(strings.Fields(paragraph), " ")
	}
	return split[0], strings.Join(split[1:], "\n\n")
}
