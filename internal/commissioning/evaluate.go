package commissioning

import (
	"fmt"
	"slices"

	"github.com/millwright/millwright/internal/spec"
)

// Evaluate resolves parameters, definitions, tags and references, checks every resource and
// fills in defaults. Globals that the runtime decides and references to other services stay
// symbolic. With an error among the diagnostics the Service is still returned as far as it
// makes sense, for editors, but must not be installed. Parse's diagnostics are not repeated.
func (f *File) Evaluate(in Input) (*Service, []spec.Diagnostic) {
	e := newEvaluator(f, in)
	s := e.service()
	return s, e.sorted()
}

func newEvaluator(f *File, in Input) *evaluator {
	return &evaluator{
		reporter:   &reporter{name: f.Name, lines: f.lines},
		file:       f,
		input:      in,
		parameters: map[string]*parameter{},
		resources:  map[string]*declared{},
		memo:       map[*node]*node{},
		topics:     map[string]*node{},
		nodes:      maxUnfolded,
		bytes:      maxUnfoldedBytes,
	}
}

func (e *evaluator) service() *Service {
	definitions := e.file.root.get("definitions")
	e.definitions = rawDefinitions(definitions)
	e.definitions = rawDefinitions(e.shallow(definitions))
	parameters := e.declareParameters()
	e.id = e.input.ID
	if e.id == "" {
		e.id = e.deriveID()
	}
	e.checkID()
	s := &Service{ID: e.id, Parameters: e.evaluateParameters(parameters)}
	declared := e.declareResources()
	for _, name := range sortedKeys(e.definitions) {
		d := e.definitions[name]
		e.guarded("definition "+name, d, d)
	}
	e.checkNames(definitions, declared)
	e.describe(s)
	for _, d := range declared {
		if r := e.resource(d); r != nil {
			s.Resources = append(s.Resources, r)
		}
	}
	e.checkCycles(declared, s)
	e.checkTopics(s)
	return s
}

// checkNames warns of names that !ref can only read in one way.
func (e *evaluator) checkNames(definitions *node, resources []*declared) {
	warn := func(key *node, name, taken string) {
		e.warn(key, "same-name", "give it another name", fmt.Sprintf("!ref %s means the %s of this name", name, taken))
	}
	for name := range e.definitions {
		if e.parameters[name] != nil {
			warn(fieldKey(definitions, name), name, "parameter")
		}
	}
	for _, d := range resources {
		switch {
		case e.parameters[d.id] != nil:
			warn(d.key, d.id, "parameter")
		case e.definitions[d.id] != nil:
			warn(d.key, d.id, "definition")
		}
	}
}

func rawDefinitions(section *node) map[string]*node {
	out := map[string]*node{}
	if section != nil && section.kind == object {
		for _, f := range section.fields {
			out[f.name] = f.value
		}
	}
	return out
}

// deriveID takes the id from metadata.name. Globals in the name have no service yet.
func (e *evaluator) deriveID() string {
	name := e.shallow(e.file.root.get("metadata")).get("name")
	if name.absent() {
		return ""
	}
	v := e.resolve(name)
	delete(e.memo, name)
	if v.kind != text && v.kind != number {
		return ""
	}
	return deriveID(v.text)
}

func (e *evaluator) checkID() {
	at := e.file.root
	if name := e.file.root.get("metadata").get("name"); name != nil {
		at = name
	}
	switch err := spec.CheckServiceID(e.id); {
	case e.id == "":
		e.error(at, "missing-id", "give metadata.name, or an id when installing", "the service has no id")
	case err != nil:
		e.error(at, "bad-id", "", err.Error())
	}
}

// describe takes over what the file says about itself.
func (e *evaluator) describe(s *Service) {
	s.Description = e.plainText("description", e.file.root.get("description"))
	metadata := e.file.root.get("metadata")
	if metadata.absent() {
		return
	}
	m := e.resolve(metadata)
	if m.kind != object {
		return
	}
	s.Name = e.plainText("metadata.name", m.get("name"))
	s.Version = e.plainText("metadata.version", m.get("version"))
	s.Metadata, _ = e.canonical(m, 0).(map[string]any)
}

// plainText reads text or a number that everyone may see.
func (e *evaluator) plainText(path string, n *node) string {
	if n.absent() {
		return ""
	}
	v := e.resolve(n)
	switch {
	case v.secret:
		e.error(n, "secret-shown", "everyone who sees the service reads it", path+" must not hold a secret")
	case v.kind == text || v.kind == symbolic:
		return v.text
	case v.kind == number:
		return scalarText(v)
	case v.kind != broken:
		e.error(n, "wrong-type", "", fmt.Sprintf("%s must be text, not a %s", path, v.kind))
	}
	return ""
}

// resource checks one resource and gives its canonical form; nil if its type is not even text.
func (e *evaluator) resource(d *declared) *Resource {
	if d.typ == "" {
		return nil
	}
	r := &Resource{ID: d.id, Type: d.typ, Position: e.lines.position(e.name, d.key)}
	properties := &node{kind: object, line: d.key.line, column: d.key.column, source: d.key.source}
	if given := d.node.get("properties"); !given.absent() {
		properties = e.resolve(given)
	}
	e.uses = map[string]bool{}
	before := len(e.found)
	if d.kind == nil {
		r.Unsupported = fmt.Sprintf("resource type %s is not known to this build", d.typ)
		r.Properties, _ = e.guess(properties, 0).(map[string]any)
	} else {
		if !d.kind.runnable {
			r.Unsupported = fmt.Sprintf("resource type %s cannot be run by this build", d.typ)
		}
		e.checkResource(d, r, properties)
	}
	e.nameResource(before, d)
	e.collectUses(properties, map[*node]bool{})
	e.dependsOn(d)
	r.DependsOn = sortedKeys(e.uses)
	if r.Properties == nil || e.burst { // what was cut off makes no sense
		r.Properties = map[string]any{}
	}
	return r
}

// nameResource puts the resource's id in front of what was found in it.
func (e *evaluator) nameResource(from int, d *declared) {
	for i := from; i < len(e.found); i++ {
		e.found[i].Message = fmt.Sprintf("resource %q: %s", d.id, e.found[i].Message)
	}
}

// collectUses finds the resources that references in the properties name.
func (e *evaluator) collectUses(n *node, seen map[*node]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	for _, id := range n.used {
		e.uses[id] = true
	}
	for _, item := range n.items {
		e.collectUses(item, seen)
	}
	for _, f := range n.fields {
		e.collectUses(f.value, seen)
	}
}

// dependsOn reads the resource's own list, or single id.
func (e *evaluator) dependsOn(d *declared) {
	given := d.node.get("dependsOn")
	if given.absent() {
		return
	}
	v := e.resolve(given)
	items := v.items
	if v.kind != list {
		items = []*node{v}
	}
	for _, item := range items {
		switch {
		case item.kind == broken || item.target != nil && item.target.service != "":
		case item.target != nil:
			e.uses[item.target.id] = true
		case item.kind != text:
			e.error(item, "wrong-type", "", fmt.Sprintf("resource %q: dependsOn must name resources, not hold a %s", d.id, item.kind))
		case e.resources[item.text] == nil:
			e.error(item, "unknown-reference", didYouMean(item.text, sortedKeys(e.resources)), fmt.Sprintf("resource %q depends on %q, which is no resource of this file", d.id, item.shown()))
		default:
			e.uses[item.text] = true
		}
	}
}

// checkCycles reports resources that need each other, each circle once.
func (e *evaluator) checkCycles(all []*declared, s *Service) {
	needs := map[string][]string{}
	for _, r := range s.Resources {
		needs[r.ID] = r.DependsOn
	}
	done, path := map[string]bool{}, []string{}
	var visit func(id string)
	visit = func(id string) {
		if i := slices.Index(path, id); i >= 0 {
			members := append(slices.Clone(path[i:]), id)
			e.error(e.resources[id].key, "cycle", "break the circle", "these resources depend on each other: "+arrows(members))
			return
		}
		if done[id] {
			return
		}
		path = append(path, id)
		for _, next := range needs[id] {
			visit(next)
		}
		path = path[:len(path)-1]
		done[id] = true
	}
	for _, d := range all {
		visit(d.id)
	}
}
