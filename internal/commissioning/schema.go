package commissioning

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/commissioning/shape"
)

// JSONSchema returns the JSON Schema (draft 2020-12) of commissioning files, made from the
// same structs as the validator. Editors see a tagged value as text (!ref, !sub) or a list
// (!merge), so these are allowed wherever a value of another type is; unknown properties
// are too, as they are but a warning. `millwright validate` says more.
func JSONSchema() ([]byte, error) {
	raw, err := json.MarshalIndent(fileSchema(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the JSON Schema: %w", err)
	}
	return append(raw, '\n'), nil
}

// schema is one JSON Schema.
type schema map[string]any

func fileSchema() schema {
	defs := schema{
		"tag":       schema{"type": []string{"string", "array"}, "description": "A value behind !ref, !sub or !merge."},
		"parameter": parameterSchema(),
		"resource":  resourceSchema(),
		"rule":      ruleSchema(),
	}
	for _, t := range resourceTypes {
		defs[defName(t.name)] = typeSchema(t)
	}
	for _, s := range protocol.All {
		p := protocols[strings.ToLower(s.Name)]
		defs["protocol."+s.Name+".connection"] = objectSchema(p.connection, "")
		for _, op := range s.Operations {
			defs["protocol."+s.Name+"."+op] = objectSchema(p.address, op)
		}
	}
	return schema{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "Millwright commissioning file",
		"description": "One service: its connections to machines, the endpoints on them, and how their data is mapped to topics.",
		"type":        "object",
		"required":    []string{"resources"},
		"properties": schema{
			"description":              schema{"type": "string", "description": "What the service does."},
			"metadata":                 orTag(metadataSchema()),
			"parameters":               orTag(schema{"type": "object", "additionalProperties": ref("parameter"), "description": "Asked for when the service is installed."}),
			"definitions":              orTag(schema{"type": "object", "description": "Values that !ref and !sub can name."}),
			"resources":                orTag(schema{"type": "object", "propertyNames": schema{"pattern": hyphenID.String()}, "additionalProperties": ref("resource"), "description": "What the service is made of."}),
			"descriptionFormatVersion": schema{"description": "Accepted, ignored."},
			"version":                  schema{"description": "Accepted, ignored."},
		},
		"$defs": defs,
	}
}

func ref(name string) schema { return schema{"$ref": "#/$defs/" + name} }

// orTag also allows what a tag makes of a value.
func orTag(s schema) schema { return schema{"anyOf": []schema{s, ref("tag")}} }

func defName(typ string) string { return strings.ReplaceAll(typ, "::", ".") }

func metadataSchema() schema {
	text := func(doc string) schema { return schema{"type": "string", "description": doc} }
	return schema{
		"type": "object",
		"properties": schema{
			"name":     schema{"type": []string{"string", "number"}, "description": "The service's name; its id is made from it."},
			"version":  schema{"type": []string{"string", "number"}, "description": "The file's version."},
			"icon":     text("An image, as a URL."),
			"provider": text("Who provides the service."),
			"homepage": text("The provider's page."),
		},
	}
}

func parameterSchema() schema {
	properties := schema{}
	for _, key := range parameterKeys {
		properties[key] = schema{}
	}
	properties["type"] = schema{"enum": schemaTypes[:6]}
	properties["sensitive"] = schema{"type": "boolean", "description": "Whether the value is a secret."}
	properties["format"] = schema{"type": "string", "description": "password makes the value a secret."}
	return orTag(schema{"type": "object", "properties": properties})
}

// resourceSchema picks the properties' schema by the type.
func resourceSchema() schema {
	var names []string
	var choices []schema
	for _, t := range resourceTypes {
		both := []string{globalPrefix + t.name, "Millwright::" + t.name}
		names = append(names, both...)
		then := schema{"properties": schema{"properties": orTag(ref(defName(t.name)))}}
		if slices.ContainsFunc(t.shape.Fields, func(f shape.Field) bool { return f.Required }) {
			then["required"] = []string{"properties"}
		}
		choices = append(choices, schema{"if": schema{"properties": schema{"type": schema{"enum": both}}}, "then": then})
	}
	return orTag(schema{
		"type":     "object",
		"required": []string{"type"},
		"properties": schema{
			"type":       schema{"anyOf": []schema{{"enum": names}, {"type": "string"}}, "description": "The resource's type."},
			"properties": schema{},
			"dependsOn":  schema{"type": []string{"string", "array"}, "description": "Ids of resources that must be there first."},
		},
		"allOf": choices,
	})
}

// typeSchema is a resource type's; protocols decide about parts of Connection and Endpoint.
func typeSchema(t *resourceType) schema {
	s := objectSchema(t.shape, "")
	s["description"] = t.doc
	parts := []string{"connection"}
	switch t.name {
	case "Connection":
	case "Endpoint":
		parts = operations
	default:
		return s
	}
	var choices []schema
	for _, p := range protocol.All {
		then := schema{}
		for _, part := range parts {
			if t.name == "Connection" || slices.Contains(p.Operations, part) {
				then[part] = orTag(ref("protocol." + p.Name + "." + part))
			}
		}
		choices = append(choices, schema{
			"if":   schema{"properties": schema{"protocol": schema{"pattern": anyCase(p.Name)}}},
			"then": schema{"properties": then},
		})
	}
	groups, _ := s["allOf"].([]schema)
	s["allOf"] = append(groups, choices...)
	return s
}

// anyCase is the pattern of a name in upper or lower case, for dialects without flags.
func anyCase(name string) string {
	var b strings.Builder
	b.WriteString("^")
	for _, c := range name {
		if unicode.IsLetter(c) {
			fmt.Fprintf(&b, "[%c%c]", unicode.ToUpper(c), unicode.ToLower(c))
			continue
		}
		b.WriteRune(c)
	}
	return b.String() + "$"
}

// objectSchema is a struct's; operation leaves out what has no meaning there.
func objectSchema(s *shape.Shape, operation string) schema {
	out := schema{"type": "object"}
	properties := schema{}
	var required []string
	groups := map[string][]string{}
	for i := range s.Fields {
		f := &s.Fields[i]
		if operation != "" && len(f.Operations) > 0 && !slices.Contains(f.Operations, operation) {
			continue
		}
		properties[f.Name] = fieldSchema(f, operation)
		if f.Required && len(f.Aliases) == 0 {
			required = append(required, f.Name)
		}
		if f.Xor != "" {
			groups[f.Xor] = append(groups[f.Xor], f.Name)
		}
	}
	for container, group := range aliasesOf(s) {
		below := schema{}
		for key, name := range group {
			below[key] = properties[name]
		}
		properties[container] = orTag(schema{"type": "object", "properties": below})
	}
	if len(properties) > 0 {
		out["properties"] = properties
	}
	if required != nil {
		out["required"] = required
	}
	if all := groupSchemas(groups); all != nil {
		out["allOf"] = all
	}
	return out
}

// groupSchemas asks for exactly one key of each group.
func groupSchemas(groups map[string][]string) []schema {
	var all []schema
	for _, g := range sortedKeys(groups) {
		var ways []schema
		for _, name := range groups[g] {
			ways = append(ways, schema{"required": []string{name}})
		}
		all = append(all, schema{"oneOf": ways})
	}
	return all
}

func fieldSchema(f *shape.Field, operation string) schema {
	if f.Name == "rules" {
		return orTag(schema{"type": "array", "items": ref("rule"), "description": f.Doc})
	}
	s := shapeSchema(f.Shape, f, operation)
	describe := f.Doc
	if f.Unit != "" {
		describe += " In " + f.Unit + "."
	}
	if f.Shape.Type == shape.String && len(f.Enum) == 0 {
		s["description"] = describe
		return s
	}
	out := orTag(s)
	out["description"] = describe
	if f.HasDefault {
		out["default"] = typed(f.Shape, f.Default)
	}
	return out
}

// shapeSchema is a shape's, with a field's limits.
func shapeSchema(s *shape.Shape, f *shape.Field, operation string) schema {
	switch s.Type {
	case shape.Any:
		return schema{}
	case shape.Object:
		return objectSchema(s, operation)
	case shape.Map:
		values := shapeSchema(s.Elem, nil, operation)
		if f.Scalars {
			values = schema{"type": []string{"string", "number", "boolean"}}
		}
		return schema{"type": "object", "additionalProperties": values}
	case shape.List:
		var elem *shape.Field
		if len(f.Enum) > 0 {
			elem = f
		}
		item := shapeSchema(s.Elem, elem, operation)
		if f.Scalars {
			item = schema{"type": []string{"string", "number", "boolean"}}
		}
		list := schema{"type": "array", "items": orTag(item)}
		if f.Single {
			return schema{"anyOf": []schema{list, item}}
		}
		return list
	}
	out := schema{"type": string(s.Type)}
	if f != nil {
		limits(out, s, f)
	}
	return out
}

func limits(out schema, s *shape.Shape, f *shape.Field) {
	if len(f.Enum) > 0 {
		values := make([]any, 0, len(f.Enum))
		for _, v := range f.Enum {
			values = append(values, typed(s, v))
		}
		out["enum"] = values
	}
	if f.Minimum != nil {
		out["minimum"] = json.Number(formatFloat(*f.Minimum))
	}
	if f.Maximum != nil {
		out["maximum"] = json.Number(formatFloat(*f.Maximum))
	}
	if f.MinLength > 0 {
		out["minLength"] = f.MinLength
	}
}

// ruleSchema allows exactly one of the rules.
func ruleSchema() schema {
	properties := schema{}
	for i := range ruleShape.Fields {
		f := &ruleShape.Fields[i]
		s := objectSchema(f.Shape, "")
		if len(f.Shape.Fields) == 0 {
			s["type"] = []string{"object", "null"}
		}
		properties[f.Name] = schema{"anyOf": []schema{s, ref("tag")}, "description": f.Doc}
	}
	return orTag(schema{"type": "object", "minProperties": 1, "maxProperties": 1, "properties": properties, "additionalProperties": false})
}
