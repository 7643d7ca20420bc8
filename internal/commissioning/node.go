package commissioning

import (
	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// kind says what a node holds.
type kind int

const (
	null kind = iota
	boolean
	number   // text is JSON: an integer with all its digits, or a float64
	text     // a string
	list     // items
	object   // fields
	symbolic // parts: text around names that only the runtime can resolve
	broken   // already reported; nothing more is said about it
)

// String names the kind as messages do.
func (k kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "list", "map", "string", "broken value"}[k]
}

// node is a value of the file with its place. As parsed it may carry a tag; a resolved node
// and all below it have none. Nodes are never changed once made, so they are shared: by
// aliases, by references, and between evaluations.
type node struct {
	kind   kind
	tag    string // "", "ref", "sub" or "merge"
	text   string
	flag   bool
	items  []*node
	fields []field
	line   int
	column int
	source *yaml.Node // for the end of the place; nil where computed

	parts    []SymbolPart
	secret   bool // must not be printed
	computed bool // made by !sub: text that reads as a number may stand for one
	target   *target
	used     []string // resources of this service that a !ref or !sub named to make this value
}

// target is the resource that a !ref names; service is empty for one of this file.
type target struct{ service, id string }

// field is one key of a map, in file order.
type field struct {
	name  string
	key   *node
	value *node
}

// get returns the value under a key, nil if there is none.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// names lists the keys of a map, in file order.
func (n *node) names() []string {
	if n == nil {
		return nil
	}
	names := make([]string, 0, len(n.fields))
	for _, f := range n.fields {
		names = append(names, f.name)
	}
	return names
}

// absent reports a key that is not there or has no value.
func (n *node) absent() bool { return n == nil || n.kind == null && n.tag == "" }

// at returns a copy of n that stands at the place of other.
func (n *node) at(other *node) *node {
	c := *n
	c.line, c.column, c.source = other.line, other.column, other.source
	return &c
}

// shown is the node's text as messages may quote it.
func (n *node) shown() string {
	switch {
	case n.secret:
		return "(sensitive)"
	case n.kind == boolean && n.flag:
		return "true"
	case n.kind == boolean:
		return "false"
	case n.kind == null:
		return "null"
	case n.kind == symbolic:
		return Symbol{Parts: n.parts}.String()
	case n.kind == text && len(n.text) > 60:
		return n.text[:57] + "..."
	}
	return n.text
}

// reporter gathers diagnostics about one file, up to a bound.
type reporter struct {
	name  string
	lines lines
	found []spec.Diagnostic
	full  bool
}

// maxDiagnostics bounds what one call reports; a person mends a file from the top.
const maxDiagnostics = 1000

func (r *reporter) error(n *node, code, hint, message string) {
	r.add(n, spec.SeverityError, code, hint, message)
}

func (r *reporter) warn(n *node, code, hint, message string) {
	r.add(n, spec.SeverityWarning, code, hint, message)
}

func (r *reporter) add(n *node, severity spec.Severity, code, hint, message string) {
	if r.full {
		return
	}
	if len(r.found) == maxDiagnostics {
		r.full = true
		severity, code, hint = spec.SeverityError, "too-many-findings", "mend the first ones and validate again"
		message = "there are more findings than are listed here"
	}
	d := spec.Diagnostic{Severity: severity, Code: code, Message: message, Hint: hint}
	d.File = r.name
	if n != nil && n.line > 0 {
		d.Position = r.lines.position(r.name, n)
	}
	r.found = append(r.found, d)
}

// sorted returns the findings in file order, each once.
func (r *reporter) sorted() []spec.Diagnostic {
	spec.SortDiagnostics(r.found)
	var out []spec.Diagnostic
	for i, d := range r.found {
		if i == 0 || d != r.found[i-1] {
			out = append(out, d)
		}
	}
	return out
}
