package commissioning

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/commissioning/shape"
)

// checkResource checks the properties of a known type and fills r.Properties.
func (e *evaluator) checkResource(d *declared, r *Resource, n *node) {
	switch d.typ {
	case "Connection":
		e.checkConnection(r, n)
	case "Endpoint":
		e.checkEndpoint(d, r, n)
	case "Mapping":
		e.checkMapping(d, r, n)
	default:
		r.Properties = e.object(d.kind.shape, n, scope{})
		e.checkSpecial(d, r, n)
	}
}

func (e *evaluator) checkConnection(r *Resource, n *node) {
	p, known := protocolOf(n)
	r.Unsupported = unsupported(n, known)
	r.Properties = e.object(resourceTypes[0].shape, n, scope{replace: map[string]func(*node, string) any{
		"protocol": func(v *node, path string) any { return e.protocolName(v, path) },
		"connection": func(v *node, path string) any {
			if !known {
				return e.guess(v, 0)
			}
			return wrapMap(e.object(p.connection, v, scope{path: path, strict: true}))
		},
	}})
	if c, ok := r.Properties["connection"].(map[string]any); ok && known {
		e.checkProtocolConnection(p.spec.Name, c, n.get("connection"))
	}
}

// protocolOf finds the protocol that a Connection's or Endpoint's resolved properties name.
func protocolOf(n *node) (protocolShapes, bool) {
	name := n.get("protocol")
	if name == nil || name.kind != text {
		return protocolShapes{}, false
	}
	p, ok := protocols[strings.ToLower(name.text)]
	return p, ok
}

// protocolName gives the protocol's own spelling.
func (e *evaluator) protocolName(n *node, path string) any {
	if n.kind != text {
		if n.kind != broken {
			e.wrongType(n, path, "text")
		}
		return nil
	}
	var names []string
	for _, s := range protocol.All {
		names = append(names, s.Name)
	}
	for _, name := range append(names, protocol.Later...) {
		if strings.EqualFold(name, n.text) {
			return name
		}
	}
	e.warn(n, "unknown-protocol", didYouMean(n.text, append(names, protocol.Later...)), fmt.Sprintf("unknown protocol %q; its own properties are not checked", n.shown()))
	return n.text
}

func unsupported(n *node, known bool) string {
	if name := n.get("protocol"); !known && name != nil && name.kind == text {
		return fmt.Sprintf("protocol %s is missing from this build", name.shown())
	}
	return ""
}

// guess gives the canonical form of what has no shape: what sounds secret is taken for it.
func (e *evaluator) guess(n *node, depth int) any {
	if n.kind != object || depth > maxDepth || !e.spend(n, 1, 0) {
		return e.canonical(n, depth)
	}
	out := make(map[string]any, len(n.fields))
	for _, f := range n.fields {
		v := e.guess(f.value, depth+1)
		if _, ok := v.(string); ok && (secretName.MatchString(f.name) || strings.Contains(strings.ToLower(f.name), "privatekey")) {
			v = Secret{Value: v}
		}
		out[f.name] = v
	}
	return out
}

// resourceID reads a value that names a resource: its id, or a Symbol for another service's.
func (e *evaluator) resourceID(f *shape.Field, n *node, path string) any {
	if n.target == nil && n.kind == text && strings.Contains(n.text, "::") {
		service, id, _ := strings.Cut(n.text, "::")
		if n = e.foreign(service, id, n); n.kind == broken {
			return nil
		}
	}
	if n.kind == symbolic {
		if n.target == nil {
			e.error(n, "bad-reference", "", fmt.Sprintf("%s must name a %s, not %s", path, strings.Join(f.Refs, " or "), n.shown()))
			return nil
		}
		return scalar(n)
	}
	id := n.text
	if n.target != nil {
		id = n.target.id
	}
	d := e.resources[id]
	if d == nil {
		e.error(n, "unknown-reference", didYouMean(id, e.resourcesOf(f.Refs)), fmt.Sprintf("%s names %q, which is no resource of this file", path, n.shown()))
		return nil
	}
	if d.typ != "" && !slices.Contains(f.Refs, d.typ) {
		e.error(n, "wrong-reference", "", fmt.Sprintf("%s must name a %s, but %q has the type %s", path, strings.Join(f.Refs, " or "), id, d.typ))
		return nil
	}
	e.uses[id] = true
	return id
}

func (e *evaluator) resourcesOf(types []string) []string {
	var ids []string
	for _, id := range sortedKeys(e.resources) {
		if slices.Contains(types, e.resources[id].typ) {
			ids = append(ids, id)
		}
	}
	return ids
}

// checkSpecial holds the rules of the types that tags cannot say.
func (e *evaluator) checkSpecial(d *declared, r *Resource, n *node) {
	switch d.typ {
	case "Container", "Volume":
		if name := e.id + "-" + d.id; len(name) > maxContainerLen {
			e.error(d.key, "name-too-long", "shorten the service's or the resource's id", fmt.Sprintf("%q has %d characters; at most %d are allowed", name, len(name), maxContainerLen))
		}
	case "IngressRoute":
		e.checkIngress(r, n)
	}
}

func (e *evaluator) checkIngress(r *Resource, n *node) {
	needed := []string{"slug"}
	if r.Properties["type"] == "tcp" {
		needed = []string{"containerPort", "connectwarePort"}
	}
	for _, name := range needed {
		if n.get(name).absent() {
			e.error(n, "missing-property", "", fmt.Sprintf("%s is missing; type %v needs it", name, r.Properties["type"]))
		}
	}
	if headers := n.get("headers"); headers != nil {
		for i, h := range headers.items {
			if h.kind == text && !strings.Contains(h.text, ":") {
				e.error(h, "wrong-format", "write name:value", fmt.Sprintf("headers[%d] is %q, which has no value", i, h.shown()))
			}
		}
	}
}
