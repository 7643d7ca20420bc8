package commissioning

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millwright/millwright/internal/commissioning/shape"
)

// scope is where an object stands: what its siblings' rules need to know.
type scope struct {
	path      string // of the object within the resource, for messages
	operation string // "subscribe", "read" or "write", within an address
	strict    bool   // an unknown key that sounds like security is an error
	closed    bool   // any unknown key is an error
	// replace checks some keys in a way of their own; a nil result leaves the key out.
	replace map[string]func(n *node, path string) any
}

// inner is the scope of a value within; replace holds for one object only.
func (s scope) inner(path string) scope {
	return scope{path: path, operation: s.operation, strict: s.strict, closed: s.closed}
}

func (s scope) below(name string) string { return strings.TrimPrefix(s.path+"."+name, ".") }

var securityKey = regexp.MustCompile(`(?i)secur|cert|tls|auth`)

// object checks a map against its shape and returns it with defaults filled in.
func (e *evaluator) object(s *shape.Shape, n *node, at scope) map[string]any {
	if n.kind != object {
		if n.kind != broken {
			e.wrongType(n, at.path, "a map")
		}
		return nil
	}
	if !e.spend(n, 1+len(n.fields), 0) {
		return nil
	}
	given := e.collect(s, n, at)
	out := make(map[string]any, len(s.Fields))
	for i := range s.Fields {
		f := &s.Fields[i]
		v := given[f.Name]
		if v.absent() {
			e.missing(f, n, at)
			continue
		}
		if len(f.Operations) > 0 && at.operation != "" && !slices.Contains(f.Operations, at.operation) {
			e.warn(v, "no-effect", "remove it", fmt.Sprintf("%s has no effect on %s", at.below(f.Name), at.operation))
			continue
		}
		if c := e.fieldValue(f, v, at); c != nil {
			out[f.Name] = c
		}
	}
	e.exclusive(s, n, given, at)
	fillDefaults(s, out, given, at)
	return out
}

func (e *evaluator) fieldValue(f *shape.Field, v *node, at scope) any {
	path := at.below(f.Name)
	if f.Name == "rules" {
		return e.rules(v, path)
	}
	if replace := at.replace[f.Name]; replace != nil {
		return replace(v, path)
	}
	return e.value(f.Shape, f, v, at.inner(path))
}

func (e *evaluator) missing(f *shape.Field, n *node, at scope) {
	if !f.Required {
		return
	}
	hint := f.Doc
	if n.get(f.Name) != nil && f.Format == "filter" {
		hint = "quote it: # begins a comment"
	}
	e.error(n, "missing-property", hint, fmt.Sprintf("%s is missing", at.below(f.Name)))
}

// collect finds each field's value, at its own key or an alias, and reports unknown keys.
func (e *evaluator) collect(s *shape.Shape, n *node, at scope) map[string]*node {
	given := make(map[string]*node, len(n.fields))
	aliases := aliasesOf(s)
	for _, f := range n.fields {
		if _, ok := s.Field(f.name); ok {
			given[f.name] = f.value
			continue
		}
		if group := aliases[f.name]; group != nil && f.value.kind == object {
			continue
		}
		e.unknown(f.key, f.name, append(s.Names(), sortedKeys(aliases)...), at)
	}
	for _, container := range sortedKeys(aliases) {
		e.collectAliases(n.get(container), container, aliases[container], given, at)
	}
	return given
}

// collectAliases takes fields from an object where they may stand too.
func (e *evaluator) collectAliases(n *node, container string, group map[string]string, given map[string]*node, at scope) {
	if n == nil {
		return
	}
	for _, f := range n.fields {
		name, ok := group[f.name]
		if !ok {
			e.unknown(f.key, f.name, sortedKeys(group), at.inner(at.below(container)))
			continue
		}
		if first := given[name]; !first.absent() && !same(first, f.value) {
			e.error(f.key, "contradiction", "keep one of them", fmt.Sprintf("%s.%s says otherwise than %s", at.below(container), f.name, at.below(name)))
			continue
		}
		given[name] = f.value
	}
}

// aliasesOf maps a containing key to its keys to field names: options -> messageSecurityMode -> securityMode.
func aliasesOf(s *shape.Shape) map[string]map[string]string {
	var out map[string]map[string]string
	for i := range s.Fields {
		for _, alias := range s.Fields[i].Aliases {
			container, key, _ := strings.Cut(alias, ".")
			if out == nil {
				out = map[string]map[string]string{}
			}
			if out[container] == nil {
				out[container] = map[string]string{}
			}
			out[container][key] = s.Fields[i].Name
		}
	}
	return out
}

func (e *evaluator) unknown(key *node, name string, candidates []string, at scope) {
	message, hint := fmt.Sprintf("unknown property %q", at.below(name)), didYouMean(name, candidates)
	if at.strict && securityKey.MatchString(name) {
		if hint == "" {
			hint = "remove it, or correct its name: a link must not run open by a slip of the pen"
		}
		e.error(key, "unknown-security-property", hint, message)
		return
	}
	if at.closed {
		e.error(key, "unknown-property", hint, message)
		return
	}
	e.warn(key, "unknown-property", hint, message)
}

// exclusive checks the groups of which exactly one key must be there.
func (e *evaluator) exclusive(s *shape.Shape, n *node, given map[string]*node, at scope) {
	groups := map[string][]string{}
	for i := range s.Fields {
		if g := s.Fields[i].Xor; g != "" {
			groups[g] = append(groups[g], s.Fields[i].Name)
		}
	}
	for _, g := range sortedKeys(groups) {
		var there []string
		for _, name := range groups[g] {
			if !given[name].absent() {
				there = append(there, name)
			}
		}
		names := strings.Join(groups[g], " or ")
		switch {
		case len(there) == 0:
			e.error(n, "missing-property", "", fmt.Sprintf("%s is missing", at.below(names)))
		case len(there) > 1:
			e.error(given[there[1]], "contradiction", "keep one of them", fmt.Sprintf("only one of %s may be given", at.below(strings.Join(there, " and "))))
		}
	}
}

// fillDefaults adds what is absent and has a default where it stands: first the plain
// ones, on which others may depend.
func fillDefaults(s *shape.Shape, out map[string]any, given map[string]*node, at scope) {
	for i := range s.Fields {
		if f := &s.Fields[i]; f.HasDefault && takesDefault(f, given, at) {
			out[f.Name] = typed(f.Shape, f.Default)
		}
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		key, _ := out[f.DefaultBy.Key].(string)
		if f.DefaultBy.Key == "@operation" {
			key = at.operation
		}
		if v, ok := f.DefaultBy.Lookup(key); ok && takesDefault(f, given, at) {
			out[f.Name] = typed(f.Shape, v)
		}
	}
}

// takesDefault reports a key that is absent, has a meaning here, and stands beside nothing
// that takes its place.
func takesDefault(f *shape.Field, given map[string]*node, at scope) bool {
	if !given[f.Name].absent() || len(f.Operations) > 0 && at.operation != "" && !slices.Contains(f.Operations, at.operation) {
		return false
	}
	return !slices.ContainsFunc(f.Unless, func(name string) bool { return !given[name].absent() })
}

// typed turns a tag's text into a canonical value.
func typed(t *shape.Shape, s string) any {
	switch t.Type {
	case shape.Object:
		out := map[string]any{}
		fillDefaults(t, out, nil, scope{})
		return out
	case shape.Integer, shape.Number:
		return json.Number(s)
	case shape.Boolean:
		return s == "true"
	}
	return s
}

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
