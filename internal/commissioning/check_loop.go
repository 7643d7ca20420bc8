package commissioning

import (
	"fmt"
	"strings"
)

// checkLoop warns of an entry that listens to what it publishes.
func (e *evaluator) checkLoop(sources []*node, publish *node, path string) {
	deep := map[string]bool{}
	for _, s := range sources {
		if topic := s.get("topic"); topic != nil {
			deepVariable(topic.text, deep)
		}
	}
	target, at := e.mappingTopic(publish, true)
	if target == "" {
		return
	}
	target = templateFilter(target, deep)
	for _, s := range sources {
		source, _ := e.mappingTopic(s, false)
		if source == "" || !sameBroker(s, publish) || !filtersMeet(unshared(plainFilter(source)), target) {
			continue
		}
		e.warn(at, "feeds-itself", "publish outside of what the entry subscribes to", fmt.Sprintf("%s.publish feeds itself: what goes to %q comes in again by the subscription to %q", path, at.shown(), source))
		return
	}
}

// mappingTopic gives the topic that a source or target means, and where it stands; "" where
// only the runtime knows it.
func (e *evaluator) mappingTopic(n *node, target bool) (string, *node) {
	if topic := n.get("topic"); topic != nil && topic.kind == text && !topic.secret {
		return topic.text, topic
	}
	d := e.endpointOf(n)
	if d == nil {
		return "", nil
	}
	topic := e.topicOf(d)
	if topic.kind != text || topic.secret {
		return "", nil
	}
	if !target {
		return topic.text, n.get("endpoint")
	}
	return topic.text + targetSuffix(e.operationOf(d)), n.get("endpoint")
}

func sameBroker(a, b *node) bool {
	x, y := a.get("connection"), b.get("connection")
	if x.absent() || y.absent() {
		return x.absent() && y.absent()
	}
	return connectionName(x) == connectionName(y)
}

func connectionName(n *node) string {
	if n.target != nil {
		return strings.TrimPrefix(n.target.service+"::"+n.target.id, "::")
	}
	return n.text
}

// unshared takes the group off a shared subscription's filter.
func unshared(filter string) string {
	if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
		_, filter, _ = strings.Cut(rest, "/")
	}
	return filter
}

// filtersMeet reports whether some topic matches both.
func filtersMeet(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; ; i++ {
		switch {
		case i < len(x) && x[i] == "#", i < len(y) && y[i] == "#":
			return true
		case i == len(x) || i == len(y):
			return len(x) == len(y)
		case x[i] != y[i] && x[i] != "+" && y[i] != "+":
			return false
		}
	}
}
