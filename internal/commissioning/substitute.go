package commissioning

import (
	"fmt"
	"slices"
	"strings"
)

// substitute resolves !sub, and the text of a !ref that holds ${names}.
func (e *evaluator) substitute(n *node) *node {
	out := &node{kind: text, line: n.line, column: n.column, source: n.source, computed: true}
	rest := n.text
	var parts []SymbolPart
	for {
		before, after, ok := strings.Cut(rest, "${")
		parts = append(parts, SymbolPart{Text: before})
		if !ok {
			break
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed {
			e.error(n, "bad-substitution", "write ${name}", "a \"${\" is not closed")
			return e.broken(n)
		}
		inserted, ok := e.insert(strings.TrimSpace(name), n, out)
		if !ok {
			return e.broken(n)
		}
		parts = append(parts, inserted...)
		rest = behind
	}
	return e.join(n, out, parts)
}

// insert gives the text that stands for one ${name}, and marks out with what it brings along.
func (e *evaluator) insert(name string, n, out *node) ([]SymbolPart, bool) {
	v := e.lookup(name, n)
	out.secret = out.secret || v.secret
	out.used = append(out.used, v.used...)
	switch v.kind {
	case text, number:
		return []SymbolPart{{Text: v.text}}, true
	case boolean:
		return []SymbolPart{{Text: fmt.Sprint(v.flag)}}, true
	case symbolic:
		return v.parts, true
	case broken:
		return nil, false
	}
	e.error(n, "wrong-type", "only text, numbers and booleans fit into text", fmt.Sprintf("cannot insert %q: it is a %s", name, v.kind))
	return nil, false
}

// join puts literal neighbours together; what is left of names makes the node symbolic.
func (e *evaluator) join(at, out *node, parts []SymbolPart) *node {
	size := 0
	for _, p := range parts {
		size += len(p.Text)
	}
	if !e.spend(at, 1, size) {
		return e.broken(at)
	}
	var joined []SymbolPart
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			joined = append(joined, SymbolPart{Text: literal.String()})
			literal.Reset()
		}
	}
	for _, p := range parts {
		if p.Name != "" {
			flush()
			joined = append(joined, p)
			continue
		}
		literal.WriteString(p.Text)
	}
	flush()
	if slices.ContainsFunc(joined, func(p SymbolPart) bool { return p.Name != "" }) {
		out.kind, out.parts = symbolic, joined
	} else if len(joined) > 0 {
		out.text = joined[0].Text
	}
	return out
}

// mergeItems resolves !merge: maps from left to right, or lists behind each other.
func (e *evaluator) mergeItems(n *node) *node {
	var out *node
	for _, raw := range n.items {
		item := e.resolve(raw)
		switch {
		case item.kind == broken:
			return e.broken(n)
		case item.kind == null:
		case item.kind != object && item.kind != list:
			e.error(raw, "wrong-type", "", fmt.Sprintf("!merge takes maps or lists, not a %s", item.kind))
			return e.broken(n)
		case out == nil:
			out = item
		case out.kind != item.kind:
			e.error(raw, "wrong-type", "", fmt.Sprintf("cannot merge a %s into a %s", item.kind, out.kind))
			return e.broken(n)
		default:
			if out = e.mergeTwo(out, item); out.kind == broken {
				return e.broken(n)
			}
		}
	}
	if out == nil {
		out = &node{kind: object}
	}
	return out.at(n)
}

func (e *evaluator) mergeTwo(a, b *node) *node {
	switch {
	case a.kind == list && b.kind == list:
		if !e.spend(b, len(a.items)+len(b.items), 0) {
			return e.broken(b)
		}
		c := *b
		c.items = slices.Concat(a.items, b.items)
		c.used = slices.Concat(a.used, b.used)
		return &c
	case a.kind == object && b.kind == object:
		return e.mergeObjects(a, b)
	}
	return b
}

func (e *evaluator) mergeObjects(a, b *node) *node {
	if !e.spend(b, len(a.fields)+len(b.fields), 0) {
		return e.broken(b)
	}
	c := *b
	c.used = slices.Concat(a.used, b.used)
	c.fields = slices.Clone(a.fields)
	index := make(map[string]int, len(c.fields))
	for i, f := range c.fields {
		index[f.name] = i
	}
	for _, f := range b.fields {
		i, ok := index[f.name]
		if !ok {
			c.fields = append(c.fields, f)
			continue
		}
		c.fields[i] = field{name: f.name, key: f.key, value: e.mergeTwo(c.fields[i].value, f.value)}
	}
	return &c
}
