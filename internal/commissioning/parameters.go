package commissioning

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// parameter is one entry of the file's parameters and, once asked for, its value.
type parameter struct {
	name      string
	key       *node
	node      *node
	value     *node
	sensitive bool
	given     bool
	wrong     bool // the value does not fit; where it is used, it would be found wrong again
}

var parameterKeys = []string{
	"type", "title", "description", "default", "enum", "const", "format", "sensitive", "examples",
	"minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"items", "minItems", "maxItems", "uniqueItems",
	"properties", "required", "additionalProperties", "minProperties", "maxProperties",
	"allOf", "anyOf", "oneOf", "not", "readOnly", "writeOnly", "$comment",
}

// declareParameters reads the names; the values follow when they are needed.
func (e *evaluator) declareParameters() []*parameter {
	var list []*parameter
	section := e.file.root.get("parameters")
	if section == nil || section.kind != object {
		return nil
	}
	for _, f := range section.fields {
		p := &parameter{name: f.name, key: f.key, node: f.value}
		if f.value.kind != object && !f.value.absent() && f.value.tag == "" {
			e.error(f.value, "wrong-type", "write type:, default:, ... below it", fmt.Sprintf("parameter %q must be a map, not a %s", f.name, f.value.kind))
			p.node = &node{kind: object}
		}
		list = append(list, p)
		e.parameters[f.name] = p
	}
	return list
}

// evaluateParameters gives every parameter its value, in file order.
func (e *evaluator) evaluateParameters(declared []*parameter) []Parameter {
	out := make([]Parameter, 0, len(declared))
	for _, p := range declared {
		v := e.parameterValue(p)
		out = append(out, Parameter{Name: p.name, Value: e.plain(v, 0), Sensitive: p.sensitive, Given: p.given})
		for _, key := range p.node.names() {
			if !slices.Contains(parameterKeys, key) && !strings.HasPrefix(key, "x-") {
				e.warn(fieldKey(p.node, key), "unknown-property", didYouMean(key, parameterKeys), fmt.Sprintf("parameter %q: unknown property %q", p.name, key))
			}
		}
	}
	names := make([]string, 0, len(declared))
	for _, p := range declared {
		names = append(names, p.name)
	}
	for _, name := range sortedKeys(e.input.Parameters) {
		if e.parameters[name] == nil {
			e.warn(e.file.root.get("parameters"), "unknown-parameter", didYouMean(name, names), fmt.Sprintf("the file has no parameter %q; its value is not used", name))
		}
	}
	return out
}

// parameterValue returns the given value, else the default, checked against the schema.
func (e *evaluator) parameterValue(p *parameter) *node {
	if p.value != nil {
		return p.value
	}
	name := "parameter " + p.name
	if i := slices.Index(e.open, name); i >= 0 {
		e.error(p.key, "cycle", "break the circle", "these refer to each other: "+arrows(append(slices.Clone(e.open[i:]), name)))
		return e.broken(p.key)
	}
	e.open = append(e.open, name)
	v := e.newValue(p)
	e.open = e.open[:len(e.open)-1]
	p.value = v
	return v
}

func (e *evaluator) newValue(p *parameter) *node {
	schema := e.resolve(p.node)
	if schema.kind != object {
		schema = &node{kind: object}
	}
	p.node = schema
	format, marked := schema.get("format"), schema.get("sensitive")
	p.sensitive = format != nil && format.text == "password" || marked != nil && marked.flag ||
		slices.Contains(e.input.Sensitive, p.name)
	v := schema.get("default")
	if given, ok := e.input.Parameters[p.name]; ok && given != nil {
		p.given = true
		n, err := fromAny(coerce(given, schema.get("type")), 0)
		if err != nil {
			e.error(p.key, "bad-parameter", "", fmt.Sprintf("cannot use the value of parameter %q: %v", p.name, err))
			return e.broken(p.key)
		}
		v = n.at(p.key)
	}
	if v.absent() {
		if !e.input.AllowMissing {
			e.error(p.key, "missing-parameter", "give it when installing, or a default in the file", fmt.Sprintf("parameter %q has no value and no default", p.name))
		}
		return e.broken(p.key)
	}
	if e.plain(schema, 0); e.burst {
		return e.broken(p.key)
	}
	if e.plain(v, 0); e.burst {
		return e.broken(p.key)
	}
	if p.sensitive {
		v = markSecret(v)
	}
	for _, problem := range checkSchema(schema, v, "") {
		e.reportParameter(p, v, problem)
		p.wrong = p.wrong || !problem.warning
	}
	return v
}

func (e *evaluator) reportParameter(p *parameter, v *node, problem problem) {
	at := v
	if problem.inSchema != nil {
		at = problem.inSchema
	}
	name := fmt.Sprintf("parameter %q", p.name)
	if problem.path != "" {
		name += " at " + problem.path
	}
	message := name + " " + problem.message
	if problem.warning {
		e.warn(at, problem.code, problem.hint, message)
		return
	}
	e.error(at, problem.code, problem.hint, message)
}

// coerce lets what command lines and templates can only give as text stand for the declared
// type, and a number or boolean for text.
func coerce(given any, declared *node) any {
	if declared == nil || declared.kind != text {
		return given
	}
	s, isText := given.(string)
	switch declared.text {
	case "string":
		if isText {
			return given
		}
		switch given.(type) {
		case bool, json.Number, int, int64, float64, uint64:
			return fmt.Sprint(given)
		}
	case "integer", "number", "boolean", "array", "object":
		if isText {
			return fromText(s, declared.text)
		}
	}
	return given
}

// fromText reads JSON out of text, if it is of the declared type; else the text stays as it is.
func fromText(s, declared string) any {
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil || decoder.More() {
		return s
	}
	n, err := fromAny(v, 0)
	if err != nil || !isOfType(n, declared) {
		return s
	}
	return v
}

// markSecret returns a copy of n in which nothing may be printed.
func markSecret(n *node) *node {
	c := *n
	c.secret = true
	c.items = make([]*node, len(n.items))
	for i, item := range n.items {
		c.items[i] = markSecret(item)
	}
	c.fields = make([]field, len(n.fields))
	for i, f := range n.fields {
		c.fields[i] = field{name: f.name, key: f.key, value: markSecret(f.value)}
	}
	return &c
}

// fromAny turns a decoded value (JSON's or YAML's) into a node.
func fromAny(v any, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return &node{kind: null}, nil
	case bool:
		return &node{kind: boolean, flag: v}, nil
	case string:
		return &node{kind: text, text: v}, nil
	case json.Number, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		digits, ok := canonicalNumber(fmt.Sprint(v))
		if !ok {
			return nil, fmt.Errorf("%v is no number that JSON can hold", v)
		}
		return &node{kind: number, text: digits}, nil
	case []any:
		return fromList(v, depth)
	case map[string]any:
		return fromMap(v, depth)
	}
	return nil, fmt.Errorf("a %T is no value of a parameter", v)
}

func fromList(items []any, depth int) (*node, error) {
	out := &node{kind: list}
	for _, item := range items {
		n, err := fromAny(item, depth+1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, n)
	}
	return out, nil
}

func fromMap(m map[string]any, depth int) (*node, error) {
	out := &node{kind: object}
	for _, name := range sortedKeys(m) {
		n, err := fromAny(m[name], depth+1)
		if err != nil {
			return nil, err
		}
		out.fields = append(out.fields, field{name: name, key: &node{kind: text, text: name}, value: n})
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fieldKey returns the node of a key, for messages.
func fieldKey(n *node, name string) *node {
	for _, f := range n.fields {
		if f.name == name {
			return f.key
		}
	}
	return n
}
