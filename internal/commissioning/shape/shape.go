// Package shape reads the struct tags of package protocol once into plain values, from which
// the validator, the JSON Schema and the reference page are made.
package shape

import (
	"reflect"
	"strconv"
	"strings"
)

// Type is what a value may be.
type Type string

// The types. A Map has free keys, an Object fixed ones.
const (
	String  Type = "string"
	Integer Type = "integer"
	Number  Type = "number"
	Boolean Type = "boolean"
	List    Type = "array"
	Object  Type = "object"
	Map     Type = "map"
	Any     Type = "any"
)

// Shape is a type with its limits. Fields is set for an Object, Elem for a List and a Map.
type Shape struct {
	Type   Type
	Fields []Field
	Elem   *Shape
}

// Field is one key of an object, with what its tags say.
type Field struct {
	Name       string
	Shape      *Shape
	Doc        string
	Unit       string
	Default    string
	HasDefault bool
	DefaultBy  DefaultBy
	Unless     []string // siblings beside which no default is filled in
	Enum       []string
	Minimum    *float64
	Maximum    *float64
	MinLength  int
	Required   bool
	Xor        string
	Aliases    []string // dotted paths
	Operations []string
	Format     string
	Refs       []string // resource types
	Sensitive  bool
	SecretKeys bool // a map whose entries may be secret by their names
	Scalars    bool
	Single     bool
}

// DefaultBy is a default that depends on the sibling Key.
type DefaultBy struct {
	Key    string
	Values []Choice
}

// Choice is one pair of a DefaultBy.
type Choice struct{ When, Then string }

// Lookup returns the default for the sibling's value.
func (d DefaultBy) Lookup(value string) (string, bool) {
	for _, c := range d.Values {
		if c.When == value {
			return c.Then, true
		}
	}
	return "", false
}

// Of reads the tags of a pointer to a struct. Fields without a json name are left out.
func Of(pointer any) *Shape { return ofType(reflect.TypeOf(pointer)) }

// Field finds a key.
func (s *Shape) Field(name string) (*Field, bool) {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i], true
		}
	}
	return nil, false
}

// Names lists the keys of an object.
func (s *Shape) Names() []string {
	names := make([]string, 0, len(s.Fields))
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	return names
}

func ofType(t reflect.Type) *Shape {
	switch t.Kind() {
	case reflect.Pointer:
		return ofType(t.Elem())
	case reflect.Struct:
		return &Shape{Type: Object, Fields: fields(t)}
	case reflect.Slice:
		return &Shape{Type: List, Elem: ofType(t.Elem())}
	case reflect.Map:
		return &Shape{Type: Map, Elem: ofType(t.Elem())}
	case reflect.String:
		return &Shape{Type: String}
	case reflect.Bool:
		return &Shape{Type: Boolean}
	case reflect.Float64:
		return &Shape{Type: Number}
	case reflect.Int, reflect.Int64:
		return &Shape{Type: Integer}
	}
	return &Shape{Type: Any}
}

func fields(t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		out = append(out, field(name, f))
	}
	return out
}

func field(name string, f reflect.StructField) Field {
	tag := f.Tag
	fallback, has := tag.Lookup("default")
	length, _ := strconv.Atoi(tag.Get("minLength"))
	return Field{
		Name:       name,
		Shape:      ofType(f.Type),
		Doc:        tag.Get("doc"),
		Unit:       tag.Get("unit"),
		Default:    fallback,
		HasDefault: has,
		DefaultBy:  defaultBy(tag.Get("defaultby")),
		Unless:     list(tag.Get("unless")),
		Enum:       list(tag.Get("enum")),
		Minimum:    number(tag.Get("minimum")),
		Maximum:    number(tag.Get("maximum")),
		MinLength:  length,
		Required:   tag.Get("required") == "true",
		Xor:        tag.Get("xor"),
		Aliases:    list(tag.Get("alias")),
		Operations: list(tag.Get("ops")),
		Format:     tag.Get("format"),
		Refs:       list(tag.Get("ref")),
		Sensitive:  tag.Get("sensitive") == "true",
		SecretKeys: tag.Get("sensitive") == "keys",
		Scalars:    tag.Get("scalars") == "true",
		Single:     tag.Get("single") == "true",
	}
}

func defaultBy(tag string) DefaultBy {
	key, pairs, ok := strings.Cut(tag, ":")
	if !ok {
		return DefaultBy{}
	}
	d := DefaultBy{Key: key}
	for _, pair := range list(pairs) {
		when, then, _ := strings.Cut(pair, "=")
		d.Values = append(d.Values, Choice{When: when, Then: then})
	}
	return d
}

func list(tag string) []string {
	if tag == "" {
		return nil
	}
	return strings.Split(tag, ",")
}

func number(tag string) *float64 {
	n, err := strconv.ParseFloat(tag, 64)
	if err != nil {
		return nil
	}
	return &n
}
