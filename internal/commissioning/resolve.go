package commissioning

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Bounds on what tags may unfold to: aliases and references share their values, so a small
// file could name an endless one.
const (
	maxUnfolded      = 2_000_000 // values
	maxUnfoldedBytes = 64 << 20
	maxReferences    = 1000 // deep
)

// evaluator resolves one file with one Input. Every node is resolved once.
type evaluator struct {
	*reporter
	file  *File
	input Input
	id    string

	parameters  map[string]*parameter
	definitions map[string]*node
	resources   map[string]*declared

	memo   map[*node]*node
	open   []string // what is being resolved, to name the members of a cycle
	depth  int
	nodes  int // left to unfold
	bytes  int
	burst  bool
	topics map[string]*node // of endpoints and nodes, as far as known
	uses   map[string]bool  // resources that the one being checked needs
}

// declared is a resource as the file names it.
type declared struct {
	id   string
	key  *node
	node *node
	kind *resourceType // nil if unknown
	typ  string        // without its prefix
}

// resolve returns n without tags.
func (e *evaluator) resolve(n *node) *node {
	if done, ok := e.memo[n]; ok {
		return done
	}
	if e.depth++; e.depth > maxReferences {
		e.depth--
		e.error(n, "too-deep", "", fmt.Sprintf("references are nested more than %d levels deep", maxReferences))
		return &node{kind: broken, line: n.line, column: n.column, source: n.source}
	}
	done := e.resolveNew(n)
	e.depth--
	e.memo[n] = done
	return done
}

func (e *evaluator) resolveNew(n *node) *node {
	switch n.tag {
	case "ref":
		return e.reference(n)
	case "sub":
		return e.substitute(n)
	case "merge":
		return e.mergeItems(n)
	}
	switch n.kind {
	case list:
		return e.resolveList(n)
	case object:
		return e.resolveObject(n)
	}
	return n
}

func (e *evaluator) resolveList(n *node) *node {
	c := *n
	c.items = make([]*node, len(n.items))
	for i, item := range n.items {
		c.items[i] = e.resolve(item)
	}
	return &c
}

func (e *evaluator) resolveObject(n *node) *node {
	c := *n
	c.fields = make([]field, len(n.fields))
	for i, f := range n.fields {
		c.fields[i] = field{name: f.name, key: f.key, value: e.resolve(f.value)}
	}
	return &c
}

func (e *evaluator) broken(n *node) *node {
	return &node{kind: broken, line: n.line, column: n.column, source: n.source}
}

// reference resolves !ref. Its text may itself hold ${names}.
func (e *evaluator) reference(n *node) *node {
	name := n
	if strings.Contains(n.text, "${") {
		name = e.substitute(n)
		if name.kind == symbolic {
			e.error(n, "bad-reference", "", fmt.Sprintf("cannot refer to %q: its name is only known to the runtime", n.text))
		}
		if name.kind != text {
			return e.broken(n)
		}
	}
	return e.lookup(strings.TrimSpace(name.text), n)
}

// lookup finds what a name stands for; the result stands at the place of the reference.
func (e *evaluator) lookup(name string, at *node) *node {
	if prefix, rest, ok := strings.Cut(name, "::"); ok {
		if prefix == "Cybus" || prefix == "Millwright" {
			return e.global(rest, at)
		}
		return e.foreign(prefix, rest, at)
	}
	if p := e.parameters[name]; p != nil {
		v := e.parameterValue(p)
		if p.wrong {
			return e.broken(at)
		}
		return v.at(at)
	}
	if d := e.definitions[name]; d != nil {
		return e.guarded("definition "+name, d, at)
	}
	if r := e.resources[name]; r != nil {
		return e.resourceReference(r, at)
	}
	e.error(at, "unknown-reference", didYouMean(name, e.referable()),
		fmt.Sprintf("nothing is named %q: no parameter, definition, resource or global", name))
	return e.broken(at)
}

// guarded resolves a named value, reporting names that lead back to themselves.
func (e *evaluator) guarded(name string, n, at *node) *node {
	if i := slices.Index(e.open, name); i >= 0 {
		e.error(at, "cycle", "break the circle", "these refer to each other: "+arrows(append(slices.Clone(e.open[i:]), name)))
		return e.broken(at)
	}
	e.open = append(e.open, name)
	v := e.resolve(n)
	e.open = e.open[:len(e.open)-1]
	return v.at(at)
}

var globals = []string{"MqttHost", "MqttPort", "MqttUser", "MqttPassword", "MqttRoot", "ServiceId"}

func (e *evaluator) global(name string, at *node) *node {
	v := &node{kind: text, line: at.line, column: at.column, source: at.source}
	switch name {
	case "ServiceId":
		v.text = e.id
	case "MqttRoot":
		v.text = spec.MqttRoot(e.id)
	case "MqttHost", "MqttPort", "MqttUser", "MqttPassword":
		v.kind = symbolic
		v.parts = []SymbolPart{{Name: globalPrefix + name}}
	default:
		e.error(at, "unknown-reference", didYouMean(name, globals), fmt.Sprintf("there is no global %q", name))
		return e.broken(at)
	}
	return v
}

func (e *evaluator) foreign(service, resource string, at *node) *node {
	if service == e.id {
		if r := e.resources[resource]; r != nil {
			return e.resourceReference(r, at)
		}
	}
	if spec.CheckServiceID(service) != nil || !resourceID.MatchString(resource) {
		e.error(at, "bad-reference", "write otherService::resource", fmt.Sprintf("%q names no resource of another service", service+"::"+resource))
		return e.broken(at)
	}
	return &node{
		kind: symbolic, line: at.line, column: at.column, source: at.source,
		parts:  []SymbolPart{{Name: service + "::" + resource}},
		target: &target{service: service, id: resource},
	}
}

// resourceReference gives what a reference to a resource of this file stands for.
func (e *evaluator) resourceReference(r *declared, at *node) *node {
	v := &node{kind: text, text: r.id, line: at.line, column: at.column, source: at.source}
	switch r.typ {
	case "Container", "Volume":
		v.text = e.id + "-" + r.id
	case "Endpoint", "Node::Http", "Node::Opcua":
		v = e.topicOf(r).at(at)
	}
	v.target = &target{id: r.id}
	v.used = append(slices.Clone(v.used), r.id)
	return v
}

// topicOf is the whole topic of an endpoint or node.
func (e *evaluator) topicOf(r *declared) *node {
	if t := e.topics[r.id]; t != nil {
		return t
	}
	automatic := &node{kind: text, text: spec.MqttRoot(e.id) + "/" + r.id, line: r.key.line, column: r.key.column, source: r.key.source}
	e.topics[r.id] = automatic // while it is looked for; the graph reports the cycle
	given := e.shallow(r.node.get("properties")).get("topic")
	if r.typ != "Endpoint" || given.absent() {
		return automatic
	}
	v := e.resolve(given)
	c := *v
	switch v.kind {
	case text:
		c.text = spec.MqttRoot(e.id) + "/" + strings.TrimLeft(v.text, "/")
		e.topics[r.id] = &c
	case symbolic:
		c.parts = append([]SymbolPart{{Text: spec.MqttRoot(e.id) + "/"}}, v.parts...)
		e.topics[r.id] = &c
	}
	return e.topics[r.id]
}

func (e *evaluator) referable() []string {
	var names []string
	for name := range e.parameters {
		names = append(names, name)
	}
	for name := range e.definitions {
		names = append(names, name)
	}
	for name := range e.resources {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, g := range globals {
		names = append(names, globalPrefix+g)
	}
	return names
}

// spend accounts for values and bytes that tags unfold to; false means that no more may.
func (e *evaluator) spend(at *node, nodes, bytes int) bool {
	e.nodes -= nodes
	e.bytes -= bytes
	if e.nodes >= 0 && e.bytes >= 0 {
		return true
	}
	if !e.burst {
		e.burst = true
		e.error(at, "too-large", "references or aliases multiply each other", "the file unfolds to more than can be held")
	}
	return false
}

func arrows(names []string) string { return strings.Join(names, " -> ") }
