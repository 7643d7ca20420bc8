package main

import (
	"encoding/json"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// assignment is one NAME=VALUE of a flag.
type assignment struct {
	name string
	text string // as given
}

// assignments splits a flag's NAME=VALUE texts. A name that comes twice is refused.
func assignments(flag string, texts []string) ([]assignment, error) {
	var list []assignment
	seen := map[string]bool{}
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return nil, spec.Errorf(spec.Invalid, "cannot use %s %q: it is NAME=VALUE", flag, text)
		}
		if seen[name] {
			return nil, spec.Errorf(spec.Invalid, "cannot use %s %s twice", flag, name)
		}
		seen[name] = true
		list = append(list, assignment{name, value})
	}
	return list, nil
}

// values types each text as YAML would.
func values(list []assignment) map[string]any {
	m := make(map[string]any, len(list))
	for _, a := range list {
		m[a.name] = typedValue(a.text)
	}
	return m
}

// typedValue reads a flag's value as YAML: numbers, booleans, null, lists and maps get their
// type, numbers keep all their digits, and everything else is the text as it is. A number
// that JSON cannot hold as it is written ("007", "1e", "0x1F") stays text.
func typedValue(text string) any {
	var node yaml.Node
	if text == "" || yaml.Unmarshal([]byte(text), &node) != nil || node.Kind != yaml.DocumentNode || node.Content[0].Anchor != "" {
		return text
	}
	root := node.Content[0]
	if root.Kind == yaml.ScalarNode && root.Style == 0 && root.ShortTag() == "!!str" {
		return text // white space and comments belong to it
	}
	v, ok := plainValue(root)
	if !ok {
		return text
	}
	return v
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// plainValue turns a YAML node into JSON's types; ok is false for what JSON has no word for.
func plainValue(n *yaml.Node) (v any, ok bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		return plainScalar(n), true
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, child := range n.Content {
			item, ok := plainValue(child)
			if !ok {
				return nil, false
			}
			list = append(list, item)
		}
		return list, true
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			item, ok := plainValue(n.Content[i+1])
			if !ok || n.Content[i].Kind != yaml.ScalarNode {
				return nil, false
			}
			m[n.Content[i].Value] = item
		}
		return m, true
	}
	return nil, false // an alias
}

func plainScalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if jsonNumber.MatchString(n.Value) {
			return json.Number(n.Value)
		}
	}
	return n.Value
}

// parametersOf reads a file of parameters: a map in YAML or JSON.
func parametersOf(name string, text []byte) (map[string]any, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the parameters in %q: %s", name, strings.Join(strings.Fields(err.Error()), " "))
	}
	if node.Kind == yaml.DocumentNode && node.Content[0].Kind == yaml.MappingNode {
		if v, ok := plainValue(node.Content[0]); ok {
			return v.(map[string]any), nil
		}
	}
	return nil, spec.Errorf(spec.Invalid, "cannot read the parameters in %q: it is a map of names to values, without anchors", name)
}
