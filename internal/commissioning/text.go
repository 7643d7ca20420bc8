package commissioning

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// Same reports whether two files say the same: comments, quoting, anchors, the order of keys and
// the way a number is written make no difference. Nothing is evaluated, so that defaults and
// values put in by references are not looked into. What cannot be read is the same as itself alone.
func Same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	one, other := &reporter{lines: splitLines(a)}, &reporter{lines: splitLines(b)}
	x, y := parseYAML(one, a), parseYAML(other, b)
	if x == nil || y == nil || spec.HasErrors(one.found) || spec.HasErrors(other.found) {
		return false
	}
	return sameNode(x, y, map[[2]*node]bool{})
}

// sameNode compares two parsed nodes. Pairs that were compared are not compared again: aliases
// share nodes, and would be walked through endlessly.
func sameNode(a, b *node, compared map[[2]*node]bool) bool {
	pair := [2]*node{a, b}
	if a == b || compared[pair] {
		return true
	}
	compared[pair] = true
	if a.kind != b.kind || a.tag != b.tag || a.text != b.text || a.flag != b.flag || len(a.items) != len(b.items) || len(a.fields) != len(b.fields) {
		return false
	}
	for i := range a.items {
		if !sameNode(a.items[i], b.items[i], compared) {
			return false
		}
	}
	for _, f := range a.fields {
		other := b.get(f.name)
		if other == nil || !sameNode(f.value, other, compared) {
			return false
		}
	}
	return true
}

// tagPrefix marks the key that stands for a tag in a Tree.
const tagPrefix = "$"

// Tree reads a file as it is written, unevaluated: maps, lists, strings, booleans, json.Number
// and nil. A tagged value is a map of one key: {"$ref": "x"}, {"$sub": "a ${x}"}, {"$merge": [...]}.
// It is nil when src is not even a YAML map.
func Tree(name string, src []byte) (map[string]any, []spec.Diagnostic) {
	r := &reporter{name: name, lines: splitLines(src)}
	root := parseYAML(r, src)
	if root == nil {
		return nil, r.sorted()
	}
	left := maxUnfolded
	tree, _ := unfold(r, root, &left).(map[string]any)
	return tree, r.sorted()
}

func unfold(r *reporter, n *node, left *int) any {
	if *left--; *left == 0 {
		r.error(n, "too-large", "use fewer aliases", "the file unfolds to too many values")
	}
	if *left <= 0 {
		return nil
	}
	var v any
	switch n.kind {
	case list:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = unfold(r, item, left)
		}
		v = items
	case object:
		fields := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			fields[f.name] = unfold(r, f.value, left)
		}
		v = fields
	default:
		v = scalar(n)
	}
	if n.tag != "" {
		return map[string]any{tagPrefix + n.tag: v}
	}
	return v
}

// Text writes a Tree as a commissioning file: keys in the order that people write them at the
// top, by name below. Its values may also be of Go's number types.
func Text(tree map[string]any) ([]byte, error) {
	document, err := textNode(tree)
	if err != nil {
		return nil, err
	}
	order := []string{"description", "metadata", "parameters", "definitions", "resources"}
	rank := func(i int) int {
		if at := slices.Index(order, document.Content[i].Value); at >= 0 {
			return at
		}
		return len(order)
	}
	pairs := make([]int, 0, len(document.Content)/2)
	for i := 0; i < len(document.Content); i += 2 {
		pairs = append(pairs, i)
	}
	slices.SortStableFunc(pairs, func(a, b int) int { return rank(a) - rank(b) })
	sorted := make([]*yaml.Node, 0, len(document.Content))
	for _, i := range pairs {
		sorted = append(sorted, document.Content[i], document.Content[i+1])
	}
	document.Content = sorted
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot write the commissioning file: %w", err)
	}
	return b.Bytes(), nil
}

func textNode(v any) (*yaml.Node, error) {
	switch x := v.(type) {
	case map[string]any:
		if n, tagged, err := taggedNode(x); tagged || err != nil {
			return n, err
		}
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range slices.Sorted(maps.Keys(x)) {
			value, err := textNode(x[key])
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, plainNode(key), value)
		}
		return n, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range x {
			value, err := textNode(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, value)
		}
		return n, nil
	case string:
		return plainNode(x), nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: x.String()}, nil
	}
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot write %T into a commissioning file: %w", v, err)
	}
	return n, nil
}

// plainNode is text that reads as text, quoted where it would read as something else.
func plainNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// taggedNode reads a map of one key such as {"$ref": "x"}.
func taggedNode(m map[string]any) (n *yaml.Node, tagged bool, err error) {
	if len(m) != 1 {
		return nil, false, nil
	}
	for key, v := range m {
		name, marked := strings.CutPrefix(key, tagPrefix)
		if !marked {
			return nil, false, nil
		}
		switch name {
		case "ref", "sub":
			if _, isText := v.(string); !isText {
				return nil, false, spec.Errorf(spec.Invalid, "cannot write %s: it takes a string, not %v", key, v)
			}
		case "merge":
			if _, isList := v.([]any); !isList {
				return nil, false, spec.Errorf(spec.Invalid, "cannot write %s: it takes a list", key)
			}
		default:
			return nil, false, spec.Errorf(spec.Invalid, "cannot write %s: the tags are $ref, $sub and $merge", key)
		}
		if n, err = textNode(v); err != nil {
			return nil, false, err
		}
		n.Tag = "!" + name
		n.Style |= yaml.TaggedStyle
	}
	return n, true, nil
}
