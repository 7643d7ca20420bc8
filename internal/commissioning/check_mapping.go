package commissioning

import (
	"fmt"
	"strings"
)

func (e *evaluator) checkMapping(d *declared, r *Resource, n *node) {
	r.Properties = e.object(d.kind.shape, n, scope{})
	entries, _ := r.Properties["mappings"].([]any)
	for _, entry := range entries {
		m, _ := entry.(map[string]any)
		sources, _ := m["subscribe"].([]any)
		for _, s := range sources {
			e.replaceEndpoint(s, false)
		}
		e.replaceEndpoint(m["publish"], true)
	}
	if list := n.get("mappings"); list != nil {
		for i, entry := range list.items {
			e.checkEntry(entry, fmt.Sprintf("mappings[%d]", i))
		}
	}
}

// replaceEndpoint puts the topic in the place of an endpoint of this file.
func (e *evaluator) replaceEndpoint(v any, target bool) {
	m, _ := v.(map[string]any)
	id, ok := m["endpoint"].(string)
	if !ok {
		return
	}
	d := e.resources[id]
	topic := e.topicOf(d)
	delete(m, "endpoint")
	suffix := ""
	if target {
		suffix = targetSuffix(e.operationOf(d))
	}
	switch topic.kind {
	case symbolic:
		c := *topic
		if suffix != "" {
			c.parts = append(append([]SymbolPart{}, topic.parts...), SymbolPart{Text: suffix})
		}
		m["topic"] = scalar(&c)
	case text:
		m["topic"] = topic.text + suffix
	}
}

// targetSuffix is where an endpoint takes messages, below its topic.
func targetSuffix(operation string) string {
	switch operation {
	case "write":
		return "/set"
	case "read":
		return "/req"
	}
	return ""
}

// operationOf says what an endpoint of this file does, "" if it does not tell.
func (e *evaluator) operationOf(d *declared) string {
	properties := e.shallow(d.node.get("properties"))
	for _, op := range operations {
		if !properties.get(op).absent() {
			return op
		}
	}
	return ""
}

// checkEntry reports what is well formed and yet cannot work.
func (e *evaluator) checkEntry(n *node, path string) {
	sources := []*node{n.get("subscribe")}
	if sources[0] != nil && sources[0].kind == list {
		sources = sources[0].items
	}
	for _, s := range sources {
		if d := e.endpointOf(s); d != nil && d.typ == "Endpoint" {
			if op := e.operationOf(d); op == "read" || op == "write" {
				e.warn(s.get("endpoint"), "silent-source", "its replies come on the topic with /res; or make it a subscribe endpoint", fmt.Sprintf("%s.subscribe: %q is a %s endpoint, which publishes nothing by itself", path, d.id, op))
			}
		}
		e.checkMqtt(s, path+".subscribe")
	}
	publish := n.get("publish")
	if d := e.endpointOf(publish); d != nil && d.typ == "Endpoint" && e.operationOf(d) == "subscribe" {
		e.warn(publish.get("endpoint"), "wrong-target", "publish to a write endpoint", fmt.Sprintf("%s.publish: %q is a subscribe endpoint; nothing is written to the machine", path, d.id))
	}
	e.checkMqtt(publish, path+".publish")
	e.checkLoop(sources, publish, path)
}

func (e *evaluator) endpointOf(n *node) *declared {
	v := n.get("endpoint")
	if v == nil {
		return nil
	}
	if v.target != nil && v.target.service == "" {
		return e.resources[v.target.id]
	}
	return e.resources[v.text]
}

// checkMqtt checks that an external broker is one.
func (e *evaluator) checkMqtt(n *node, path string) {
	v := n.get("connection")
	if v == nil || v.kind != text {
		return
	}
	id := v.text
	if v.target != nil {
		id = v.target.id
	}
	d := e.resources[id]
	if d == nil || d.typ != "Connection" || d.node.get("properties").absent() {
		return
	}
	if p := e.resolve(d.node.get("properties")).get("protocol"); p != nil && p.kind == text && !strings.EqualFold(p.text, "Mqtt") {
		e.error(v, "wrong-reference", "", fmt.Sprintf("%s.connection must be an Mqtt connection, but %q has protocol %s", path, id, p.shown()))
	}
}
