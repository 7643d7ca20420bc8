package commissioning

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millwright/millwright/internal/commissioning/shape"
)

// value checks one value against its shape and, where f is set, its tags.
func (e *evaluator) value(s *shape.Shape, f *shape.Field, n *node, at scope) any {
	if n.kind == broken || e.burst {
		return nil
	}
	switch s.Type {
	case shape.Object:
		return wrapMap(e.object(s, n, at.inner(at.path)))
	case shape.List:
		return e.listValue(s, f, n, at)
	case shape.Map:
		return e.mapValue(s, f, n, at)
	case shape.Any:
		return e.canonical(n, 0)
	}
	return e.scalarValue(s, f, n, at.path)
}

// wrapMap keeps a nil map from becoming a value that is not nil.
func wrapMap(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func (e *evaluator) listValue(s *shape.Shape, f *shape.Field, n *node, at scope) any {
	items := n.items
	if n.kind != list {
		if f == nil || !f.Single {
			e.wrongType(n, at.path, "a list")
			return nil
		}
		items = []*node{n}
	}
	if !e.spend(n, 1+len(items), 0) {
		return nil
	}
	var elem *shape.Field
	if f != nil && s.Elem.Type != shape.Object {
		c := *f
		elem = &c
	}
	out := make([]any, 0, len(items))
	for i, item := range items {
		path := fmt.Sprintf("%s[%d]", at.path, i)
		if v := e.value(s.Elem, elem, item, at.inner(path)); v != nil {
			out = append(out, v)
		}
	}
	return out
}

var secretName = regexp.MustCompile(`(?i)passw|secret|token|auth|cookie|api-?_?key|credential`)

func (e *evaluator) mapValue(s *shape.Shape, f *shape.Field, n *node, at scope) any {
	if n.kind != object {
		e.wrongType(n, at.path, "a map")
		return nil
	}
	if !e.spend(n, 1+len(n.fields), 0) {
		return nil
	}
	out := make(map[string]any, len(n.fields))
	for _, entry := range n.fields {
		elem := shape.Field{}
		if f != nil {
			elem.Scalars = f.Scalars
			elem.Sensitive = f.SecretKeys && secretName.MatchString(entry.name)
		}
		if v := e.value(s.Elem, &elem, entry.value, at.inner(at.below(entry.name))); v != nil {
			out[entry.name] = v
		}
	}
	return out
}

// scalarValue checks text, numbers and booleans.
func (e *evaluator) scalarValue(s *shape.Shape, f *shape.Field, n *node, path string) any {
	if !e.spend(n, 1, len(n.text)) {
		return nil
	}
	n, ok := e.convertScalar(s.Type, f, n, path)
	if !ok {
		return nil
	}
	if f == nil {
		f = &shape.Field{}
	}
	if len(f.Refs) > 0 {
		return e.resourceID(f, n, path)
	}
	v := scalar(n)
	if n.kind != symbolic {
		n = e.checkLimits(f, n, path)
		v = scalar(n)
	}
	_, isSymbol := v.(Symbol)
	if n.secret || f.Sensitive && !isSymbol {
		return Secret{Value: v}
	}
	return v
}

// convertScalar gives n in the wanted type, where its meaning is clear.
func (e *evaluator) convertScalar(t shape.Type, f *shape.Field, n *node, path string) (*node, bool) {
	if n.kind == symbolic && t != shape.Boolean {
		return n, true
	}
	c := *n
	switch t {
	case shape.String:
		if n.kind == text {
			return n, true
		}
		if f != nil && f.Scalars && (n.kind == number || n.kind == boolean) {
			c.kind, c.text = text, scalarText(n)
			return &c, true
		}
		e.wrongType(n, path, "text")
	case shape.Integer, shape.Number:
		if n.kind == text && n.computed {
			if digits, ok := canonicalNumber(strings.TrimSpace(n.text)); ok {
				c.kind, c.text = number, digits
			}
		}
		if c.kind == number && (t == shape.Number || isInteger(c.text)) {
			return &c, true
		}
		e.wrongType(n, path, map[shape.Type]string{shape.Integer: "a whole number", shape.Number: "a number"}[t])
	case shape.Boolean:
		if n.kind == text && n.computed && (n.text == "true" || n.text == "false") {
			c.kind, c.flag = boolean, n.text == "true"
		}
		if c.kind == boolean {
			return &c, true
		}
		e.wrongType(n, path, "true or false")
	}
	return nil, false
}

// scalarText is a number or boolean as it was written.
func scalarText(n *node) string {
	if n.source != nil && n.source.Value != "" && n.target == nil {
		return n.source.Value
	}
	return (&node{kind: n.kind, text: n.text, flag: n.flag}).shown()
}

func (e *evaluator) wrongType(n *node, path, wanted string) {
	hint := ""
	switch {
	case wanted == "text" && (n.kind == number || n.kind == boolean):
		hint = "put it in quotes"
	case n.kind == text && n.source != nil && n.tag == "" && looksLike(n.text, wanted):
		hint = "remove the quotes"
	case wanted == "true or false" && n.kind == text && slices.Contains([]string{"yes", "on"}, strings.ToLower(n.text)):
		hint = "write true"
	case wanted == "true or false" && n.kind == text && slices.Contains([]string{"no", "off"}, strings.ToLower(n.text)):
		hint = "write false"
	}
	found := "a " + n.kind.String()
	if n.kind == number && !n.secret {
		found = n.text
	}
	e.error(n, "wrong-type", hint, fmt.Sprintf("%s must be %s, not %s", path, wanted, found))
}

func looksLike(s, wanted string) bool {
	if strings.HasSuffix(wanted, "number") {
		_, ok := canonicalNumber(s)
		return ok
	}
	return wanted == "true or false" && (s == "true" || s == "false")
}

// checkLimits checks a known value against its tags. It returns the value with an enum's own spelling.
func (e *evaluator) checkLimits(f *shape.Field, n *node, path string) *node {
	if len(f.Enum) > 0 {
		return e.checkEnum(f, n, path)
	}
	if n.kind == number {
		e.checkRange(f, n, path)
	}
	if n.kind == text && utf8.RuneCountInString(n.text) < f.MinLength {
		e.error(n, "too-short", "", fmt.Sprintf("%s has %d characters; at least %d are needed", path, utf8.RuneCountInString(n.text), f.MinLength))
	}
	if n.kind == text && f.Required && n.text == "" && f.MinLength == 0 {
		e.error(n, "too-short", "", fmt.Sprintf("%s must not be empty", path))
		return n
	}
	e.checkFormat(f.Format, n, path)
	return n
}

func (e *evaluator) checkEnum(f *shape.Field, n *node, path string) *node {
	if slices.Contains(f.Enum, n.text) {
		return n
	}
	for _, allowed := range f.Enum {
		if strings.EqualFold(allowed, n.text) {
			e.warn(n, "spelling", fmt.Sprintf("write %q", allowed), fmt.Sprintf("%s is written %q", path, n.shown()))
			c := *n
			c.text = allowed
			return &c
		}
	}
	hint := didYouMean(n.text, f.Enum)
	if hint == "" || n.secret || n.kind == number {
		hint = "one of " + strings.Join(f.Enum, ", ")
	}
	e.error(n, "not-allowed", hint, fmt.Sprintf("%s cannot be %q", path, n.shown()))
	return n
}

func (e *evaluator) checkRange(f *shape.Field, n *node, path string) {
	switch {
	case f.Minimum != nil && compareNumber(n.text, *f.Minimum) < 0:
		e.error(n, "out-of-range", "", fmt.Sprintf("%s is %s; it must be at least %s", path, n.shown(), formatFloat(*f.Minimum)))
	case f.Maximum != nil && compareNumber(n.text, *f.Maximum) > 0:
		e.error(n, "out-of-range", "", fmt.Sprintf("%s is %s; it must be at most %s", path, n.shown(), formatFloat(*f.Maximum)))
	case f.Shape != nil && f.Shape.Type == shape.Integer:
		if _, err := strconv.ParseInt(n.text, 10, 64); err != nil {
			e.error(n, "out-of-range", "", fmt.Sprintf("%s is %s; it must fit into 64 bits", path, n.shown()))
		}
	}
}
