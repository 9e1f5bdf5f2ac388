package openapi

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The types below are the part of the OpenAPI Specification 3.1 that the document needs, under its own names
// and in the order in which the document shows them.

type document struct {
	OpenAPI    string             `json:"openapi"`
	Info       info               `json:"info"`
	Servers    []server           `json:"servers"`
	Security   []object[[]string] `json:"security"`
	Tags       []tag              `json:"tags"`
	Paths      object[pathItem]   `json:"paths"`
	Components components         `json:"components"`
}

type info struct {
	Title       string  `json:"title"`
	Version     string  `json:"version"`
	Summary     string  `json:"summary"`
	Description string  `json:"description"`
	License     license `json:"license"`
}

type license struct {
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
}

type server struct {
	URL string `json:"url"`
}

type tag struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

type pathItem struct {
	Get *operation `json:"get"`
}

type operation struct {
	Tags        []string         `json:"tags"`
	OperationID string           `json:"operationId"`
	Summary     string           `json:"summary"`
	Description string           `json:"description,omitzero"`
	Parameters  []parameter      `json:"parameters"`
	Responses   object[response] `json:"responses"`
}

type parameter struct {
	Ref         string  `json:"$ref,omitzero"`
	Name        string  `json:"name,omitzero"`
	In          string  `json:"in,omitzero"`
	Required    bool    `json:"required,omitzero"`
	Description string  `json:"description,omitzero"`
	Schema      *schema `json:"schema,omitzero"`
}

type response struct {
	Ref         string            `json:"$ref,omitzero"`
	Description string            `json:"description,omitzero"`
	Headers     object[header]    `json:"headers,omitzero"`
	Content     object[mediaType] `json:"content,omitzero"`
}

type header struct {
	Ref         string  `json:"$ref,omitzero"`
	Description string  `json:"description,omitzero"`
	Required    bool    `json:"required,omitzero"`
	Schema      *schema `json:"schema,omitzero"`
}

type mediaType struct {
	Schema   *schema         `json:"schema"`
	Examples object[example] `json:"examples,omitzero"`
}

type example struct {
	Value any `json:"value"`
}

type components struct {
	Schemas         object[*schema]        `json:"schemas"`
	Parameters      object[parameter]      `json:"parameters"`
	Headers         object[header]         `json:"headers"`
	Responses       object[response]       `json:"responses"`
	SecuritySchemes object[securityScheme] `json:"securitySchemes,omitzero"`
}

type securityScheme struct {
	Type         string `json:"type"`
	Scheme       string `json:"scheme,omitzero"`
	BearerFormat string `json:"bearerFormat,omitzero"`
	Description  string `json:"description"`
}

// schema is a JSON Schema (2020-12).
type schema struct {
	Ref         string          `json:"$ref,omitzero"`
	Type        types           `json:"type,omitzero"`
	Description string          `json:"description,omitzero"`
	Format      string          `json:"format,omitzero"`
	Pattern     string          `json:"pattern,omitzero"`
	MinLength   uint64          `json:"minLength,omitzero"`
	MaxLength   uint64          `json:"maxLength,omitzero"`
	Minimum     int64           `json:"minimum,omitzero"`
	Maximum     int64           `json:"maximum,omitzero"`
	Const       any             `json:"const,omitzero"`
	Enum        []string        `json:"enum,omitzero"`
	Default     any             `json:"default,omitzero"`
	AllOf       []*schema       `json:"allOf,omitzero"`
	OneOf       []*schema       `json:"oneOf,omitzero"`
	Items       *schema         `json:"items,omitzero"`
	Properties  object[*schema] `json:"properties,omitzero"`
	Required    []string        `json:"required,omitzero"`
	Examples    []any           `json:"examples,omitzero"`
}

// types are the types of a schema: one is written as a text, more as an array.
type types []string

// MarshalJSONTo writes the types.
func (t types) MarshalJSONTo(e *jsontext.Encoder) error {
	if len(t) == 1 {
		return e.WriteToken(jsontext.String(t[0]))
	}
	return json.MarshalEncode(e, []string(t))
}

// object is a JSON object whose members keep their order.
type object[T any] []member[T]

type member[T any] struct {
	name  string
	value T
}

// MarshalJSONTo writes the object.
func (o object[T]) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range o {
		if err := e.WriteToken(jsontext.String(m.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, m.value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

func (d *document) marshal() ([]byte, error) {
	return json.Marshal(d, jsontext.WithIndent("  "))
}
