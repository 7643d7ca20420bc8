package commissioning

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var topKeys = []string{"description", "metadata", "parameters", "definitions", "resources", "descriptionFormatVersion", "version"}

// checkTop checks what stands at the top of a file.
func checkTop(r *reporter, root *node) {
	for _, f := range root.fields {
		if f.name == "stack" {
			r.error(f.key, "mixed-file", "a stack file names its commissioning files under services", "a commissioning file cannot hold stack")
			continue
		}
		if !slices.Contains(topKeys, f.name) {
			r.warn(f.key, "unknown-property", didYouMean(f.name, topKeys), fmt.Sprintf("unknown property %q", f.name))
		}
	}
	for _, name := range []string{"metadata", "parameters", "definitions", "resources"} {
		if n := root.get(name); !n.absent() && n.tag == "" && n.kind != object {
			r.error(n, "wrong-type", "", fmt.Sprintf("%s must be a map, not a %s", name, n.kind))
		}
	}
	if root.get("description").absent() {
		r.warn(root, "missing-property", "say in a sentence what the service does", "description is missing")
	}
	if root.get("resources").absent() {
		r.error(root, "missing-property", "declare at least one resource", "resources is missing")
	}
}

var (
	resourceID      = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.]*$`)
	hyphenID        = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
	resourceKeys    = []string{"type", "properties", "dependsOn"}
	maxContainerLen = 63
)

// shallow gives n as a map whose values may still carry tags: sections and resources are
// looked at before everything in them can be resolved.
func (e *evaluator) shallow(n *node) *node {
	switch {
	case n == nil:
		return nil
	case n.tag == "ref":
		d := e.definitions[strings.TrimSpace(n.text)]
		name := "definition " + n.text
		if d == nil || slices.Contains(e.open, name) {
			return e.resolve(n)
		}
		e.open = append(e.open, name)
		v := e.shallow(d)
		e.open = e.open[:len(e.open)-1]
		return v
	case n.tag == "merge":
		return e.shallowMerge(n)
	case n.tag != "":
		return e.resolve(n)
	}
	return n
}

func (e *evaluator) shallowMerge(n *node) *node {
	out := &node{kind: object, line: n.line, column: n.column, source: n.source}
	index := map[string]int{}
	for _, item := range n.items {
		m := e.shallow(item)
		if m.kind == null || m.kind == broken {
			continue
		}
		if m.kind != object {
			return e.resolve(n) // which reports what is wrong
		}
		if !e.spend(n, 1+len(m.fields), 0) {
			return e.broken(n)
		}
		for _, f := range m.fields {
			i, ok := index[f.name]
			if !ok {
				index[f.name] = len(out.fields)
				out.fields = append(out.fields, f)
				continue
			}
			both := &node{kind: list, tag: "merge", line: f.value.line, column: f.value.column, source: f.value.source}
			both.items = []*node{out.fields[i].value, f.value}
			if f.value.tag == "" && f.value.kind != object && f.value.kind != list {
				both = f.value
			}
			out.fields[i] = field{name: f.name, key: f.key, value: both}
		}
	}
	return out
}

// declareResources reads ids and types; properties follow when they are needed.
func (e *evaluator) declareResources() []*declared {
	section := e.shallow(e.file.root.get("resources"))
	if section == nil || section.kind != object {
		return nil
	}
	out := make([]*declared, 0, len(section.fields))
	for _, f := range section.fields {
		d := &declared{id: f.name, key: f.key, node: e.shallow(f.value)}
		e.checkResourceID(d)
		e.resources[f.name] = d
		out = append(out, d)
	}
	for _, d := range out {
		e.declareType(d)
	}
	return out
}

func (e *evaluator) checkResourceID(d *declared) {
	switch {
	case resourceID.MatchString(d.id):
	case hyphenID.MatchString(d.id):
		e.warn(d.key, "hyphen-in-id", "use letters, digits, \"_\" and \".\"", fmt.Sprintf("resource id %q holds a hyphen", d.id))
	default:
		e.error(d.key, "bad-id", "begin with a letter or digit, then letters, digits, \"_\", \".\"", fmt.Sprintf("cannot use resource id %q", d.id))
	}
}

// declareType finds a resource's type and checks its keys.
func (e *evaluator) declareType(d *declared) {
	if d.node.kind != object {
		if d.node.kind != broken {
			e.error(d.node, "wrong-type", "write type: and properties: below it", fmt.Sprintf("resource %q must be a map, not a %s", d.id, d.node.kind))
		}
		return
	}
	for _, f := range d.node.fields {
		if !slices.Contains(resourceKeys, f.name) {
			e.warn(f.key, "unknown-property", didYouMean(f.name, resourceKeys), fmt.Sprintf("resource %q: unknown property %q", d.id, f.name))
		}
	}
	given := d.node.get("type")
	if given.absent() {
		e.error(d.key, "missing-property", "such as Cybus::Endpoint", fmt.Sprintf("resource %q: type is missing", d.id))
		return
	}
	t := e.resolve(given)
	if t.kind != text {
		if t.kind != broken {
			e.error(t, "wrong-type", "", fmt.Sprintf("resource %q: type must be text, not a %s", d.id, t.kind))
		}
		return
	}
	var prefixed bool
	d.kind, d.typ, prefixed = findType(t.text)
	e.reportType(d, t, prefixed)
}

func (e *evaluator) reportType(d *declared, t *node, prefixed bool) {
	hint := didYouMean(d.typ, typeNames())
	switch {
	case d.kind == nil && (hint != "" || !prefixed):
		e.error(t, "unknown-type", hint, fmt.Sprintf("unknown resource type %q", t.shown()))
	case d.kind == nil:
		e.warn(t, "unknown-type", "it can be installed only with allow-unsupported", fmt.Sprintf("unknown resource type %q", t.shown()))
	case !prefixed:
		e.warn(t, "spelling", fmt.Sprintf("write %q", globalPrefix+d.typ), fmt.Sprintf("resource type %q has no prefix", t.shown()))
	}
}
