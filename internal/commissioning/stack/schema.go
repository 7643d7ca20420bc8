package stack

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/commissioning/shape"
)

// schema is one JSON Schema.
type schema map[string]any

// JSONSchema returns the JSON Schema (draft 2020-12) of stack files, made from the structs that
// the parser reads. `millwright validate` says more.
func JSONSchema() ([]byte, error) {
	root := objectSchema(shape.Of(&file{}))
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Millwright stack file"
	root["description"] = "An instance on a Docker engine, and roles, users and services of one owner."
	root["$defs"] = schema{
		"source": sourceSchema(),
		"text":   schema{"anyOf": []schema{{"type": "string"}, reference("source")}},
		"port":   schema{"type": []string{"integer", "string", "null"}},
	}
	raw, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the JSON Schema: %w", err)
	}
	return append(raw, '\n'), nil
}

func reference(name string) schema { return schema{"$ref": "#/$defs/" + name} }

func sourceSchema() schema {
	one := func(key, doc string) schema {
		return schema{
			"type": "object", "required": []string{key}, "additionalProperties": false,
			"properties": schema{key: schema{"type": "string", "description": doc}},
		}
	}
	return schema{"oneOf": []schema{one("env", "An environment variable."), one("file", "A file, relative to the stack file.")}}
}

func objectSchema(s *shape.Shape) schema {
	properties := schema{}
	var required []string
	for i := range s.Fields {
		f := &s.Fields[i]
		properties[f.Name] = fieldSchema(f)
		if f.Required {
			required = append(required, f.Name)
		}
	}
	out := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		out["required"] = required
	}
	return out
}

func fieldSchema(f *shape.Field) schema {
	out := shapeSchema(f.Shape, f)
	out["description"] = f.Doc
	if f.Minimum != nil {
		out["minimum"] = *f.Minimum
	}
	if f.Maximum != nil {
		out["maximum"] = *f.Maximum
	}
	if f.MinLength > 0 {
		out["minLength"] = f.MinLength
	}
	return out
}

func shapeSchema(s *shape.Shape, f *shape.Field) schema {
	switch s.Type {
	case shape.Any:
		return anySchema(f)
	case shape.Object:
		return objectSchema(s)
	case shape.Map:
		elem := *f
		elem.Format = ""
		if f.Format == formatSources {
			return schema{"type": "object", "additionalProperties": reference("source")}
		}
		return schema{"type": "object", "additionalProperties": shapeSchema(s.Elem, &elem)}
	case shape.List:
		return schema{"type": "array", "items": shapeSchema(s.Elem, f)}
	}
	out := schema{"type": string(s.Type)}
	if s.Type == shape.String && f.Scalars {
		out["type"] = []string{"string", "number", "boolean"}
	}
	if len(f.Enum) > 0 {
		out["enum"] = f.Enum
	}
	return out
}

// The formats of values that no Go type describes.
const (
	formatSource  = "elsewhere"     // text, {env: NAME} or {file: PATH}
	formatSources = "all-elsewhere" // a map of {env: NAME} or {file: PATH}
	formatPorts   = "ports"
)

func anySchema(f *shape.Field) schema {
	switch f.Format {
	case formatSource:
		return reference("text")
	case formatPorts:
		ports := schema{}
		for _, name := range []string{"https", "http", "mqtts", "mqtt"} {
			ports[name] = reference("port")
		}
		return schema{"type": "object", "properties": ports, "additionalProperties": false}
	}
	return schema{}
}

const referenceHead = `# The stack file

<!-- Generated from the Go structs in internal/commissioning/stack by "make generate"; do not edit. -->

One YAML file declares an instance, roles, users and services: ` + "`millwright plan FILE`, `millwright apply FILE`, `millwright destroy FILE`" + `.
Everything in it belongs to its ` + "`stack`" + `; objects of another owner are left alone. ` + "`millwright validate FILE`" + ` checks it;
` + "`millwright schema stack`" + ` prints its JSON Schema for editors. What is not given keeps what is there; a list that is given is complete.

Paths count from the stack file's folder. Where the table says *text*, the value may lie elsewhere: ` + "`{env: NAME}`" + ` is an environment
variable, ` + "`{file: PATH}`" + ` a file (without its last line's end). A plan file holds neither.

With an ` + "`instance`" + ` see [an instance on Docker](../instance.md); without one the stack is applied to the instance of the context.
`

// ReferencePage writes the reference of the stack file, in Markdown.
func ReferencePage() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	b.Write(commissioning.ReferenceTable(&file{}, map[string]string{formatSource: "text", formatSources: "map of text", formatPorts: "map"}))
	return b.Bytes()
}
