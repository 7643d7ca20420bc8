package commissioning

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

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
	if n.get(f.Name) != nil && (f.Format == "filter" || f.Format == "source") {
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
