package commissioning

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

var operations = []string{"subscribe", "read", "write"}

func (e *evaluator) checkEndpoint(d *declared, r *Resource, n *node) {
	p, known := protocolOf(n)
	r.Unsupported = unsupported(n, known)
	replace := map[string]func(*node, string) any{
		"protocol": func(v *node, path string) any { return e.protocolName(v, path) },
		"topic":    func(v *node, _ string) any { return e.endpointTopic(d, v) },
	}
	for _, op := range operations {
		replace[op] = func(v *node, path string) any { return e.address(p, known, op, v, path) }
	}
	r.Properties = e.object(d.kind.shape, n, scope{replace: replace})
	if r.Properties == nil {
		return
	}
	if n.get("topic").absent() {
		r.Properties["topic"] = spec.MqttRoot(e.id) + "/" + d.id
	}
	e.checkAgainstConnection(r, n)
}

// address checks what stands under subscribe, read or write.
func (e *evaluator) address(p protocolShapes, known bool, op string, n *node, path string) any {
	if !known {
		if n.kind != object && n.kind != broken {
			e.wrongType(n, path, "a map")
			return nil
		}
		return e.guess(n, 0)
	}
	if !slices.Contains(p.spec.Operations, op) {
		e.error(n, "not-allowed", "one of "+strings.Join(p.spec.Operations, ", "), fmt.Sprintf("protocol %s cannot %s", p.spec.Name, op))
	}
	out := e.object(p.address, n, scope{path: path, operation: op})
	if out != nil {
		e.checkProtocolAddress(p.spec.Name, op, out, n, path)
	}
	return wrapMap(out)
}

// endpointTopic gives the whole topic.
func (e *evaluator) endpointTopic(d *declared, n *node) any {
	switch n.kind {
	case broken:
		return nil
	case text:
	case symbolic:
		return scalar(e.topicOf(d))
	default:
		e.wrongType(n, "topic", "text")
		return nil
	}
	if n.secret {
		e.error(n, "secret-shown", "topics are visible to everyone who may read them", "topic must not hold a secret")
		return nil
	}
	if strings.HasPrefix(n.text, "/") {
		e.warn(n, "spelling", fmt.Sprintf("write %q", strings.TrimLeft(n.text, "/")), "topic begins with a slash, which is left out")
	}
	e.checkFormat("topic", n, "topic")
	return e.topicOf(d).text
}

// checkAgainstConnection compares the endpoint's protocol and agent with its connection's.
func (e *evaluator) checkAgainstConnection(r *Resource, n *node) {
	id, ok := r.Properties["connection"].(string)
	if !ok {
		return
	}
	c := e.resources[id]
	if c.node.get("properties").absent() {
		return
	}
	connection := e.resolve(c.node.get("properties"))
	theirs, ours := connection.get("protocol"), n.get("protocol")
	if theirs != nil && ours != nil && theirs.kind == text && ours.kind == text && !strings.EqualFold(theirs.text, ours.text) {
		e.error(ours, "contradiction", fmt.Sprintf("write protocol: %s", theirs.shown()), fmt.Sprintf("protocol is %s, but connection %q has %s", ours.shown(), id, theirs.shown()))
	}
	agent := connection.get("agentName")
	if agent.absent() {
		agent = &node{kind: text, text: spec.DefaultAgent}
	}
	own := n.get("agentName")
	switch {
	case own.absent():
		if v := scalar(agent); v != nil {
			r.Properties["agentName"] = v
		}
	case !same(own, agent):
		e.error(own, "contradiction", "leave it out: an endpoint runs where its connection does", fmt.Sprintf("agentName is %s, but connection %q has %s", own.shown(), id, agent.shown()))
	}
}

// checkTopics reports endpoints that share a topic. Operations that differ use topics below
// it (/req, /set) and do not meet.
func (e *evaluator) checkTopics(s *Service) {
	first := map[string]string{}
	for _, r := range s.Resources {
		topic, ok := r.Properties["topic"].(string)
		if r.Type != "Endpoint" || !ok {
			continue
		}
		for _, op := range operations {
			if r.Properties[op] == nil {
				continue
			}
			key := op + " " + topic
			other := first[key]
			if other == "" {
				first[key] = r.ID
				continue
			}
			message := fmt.Sprintf("resource %q: topic %q is also that of %q", r.ID, topic, other)
			if op == "subscribe" {
				e.warn(e.resources[r.ID].key, "duplicate-topic", "give one of them another topic, or their values mix", message)
				continue
			}
			e.error(e.resources[r.ID].key, "duplicate-topic", "give one of them another topic, or each request reaches both", message)
		}
	}
}
