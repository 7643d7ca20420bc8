package broker

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/millwright/millwright/internal/spec"
)

const sharePrefix = "$share/"

// maxLevels bounds the depth of a filter, and so of the index.
const maxLevels = 1024

// subscription is one filter of one subscriber.
type subscription struct {
	owner             *subscriber
	filter            string // without the share group
	group             string // of a shared subscription, else ""
	qos               byte
	retainHandling    byte
	noLocal           bool
	retainAsPublished bool
	id                int // subscription identifier, 0 for none
}

// name is the filter as the client writes it.
func (s *subscription) name() string {
	if s.group == "" {
		return s.filter
	}
	return sharePrefix + s.group + "/" + s.filter
}

// parseFilter checks a filter, shared or not, and takes it apart.
func parseFilter(name string) (*subscription, error) {
	s := &subscription{filter: name}
	if rest, shared := strings.CutPrefix(name, sharePrefix); shared || name == "$share" {
		group, filter, ok := strings.Cut(rest, "/")
		if !ok || group == "" || strings.ContainsAny(group, "+#") {
			return nil, spec.Errorf(spec.Invalid, "cannot use filter %q: a shared one is written $share/GROUP/FILTER", name)
		}
		s.group, s.filter = group, filter
	}
	if strings.Count(s.filter, "/") >= maxLevels {
		return nil, spec.Errorf(spec.Invalid, "cannot use a filter of more than %d levels", maxLevels)
	}
	return s, spec.CheckFilter(s.filter)
}

// index finds the subscriptions whose filter matches a topic. Broker.mu guards it.
type index struct{ root node }

// node is one level of a filter.
type node struct {
	children map[string]*node // literal levels and "+"
	hash     *node            // "#"
	subs     []*subscription
	groups   []*shareGroup
}

// shareGroup is the members that share one filter under one group name.
type shareGroup struct {
	name    string
	members []*subscription
	turn    atomic.Uint32
}

// add puts a subscription in. It replaces, and returns, its owner's former one for the same filter.
func (x *index) add(s *subscription) (replaced *subscription) {
	n := &x.root
	for level := range strings.SplitSeq(s.filter, "/") {
		n = n.child(level)
	}
	list := &n.subs
	if s.group != "" {
		list = &n.group(s.group).members
	}
	for i, other := range *list {
		if other.owner == s.owner {
			(*list)[i] = s
			return other
		}
	}
	*list = append(*list, s)
	return nil
}

func (n *node) child(level string) *node {
	if level == "#" {
		if n.hash == nil {
			n.hash = &node{}
		}
		return n.hash
	}
	c := n.children[level]
	if c == nil {
		c = &node{}
		if n.children == nil {
			n.children = map[string]*node{}
		}
		n.children[strings.Clone(level)] = c
	}
	return c
}

func (n *node) group(name string) *shareGroup {
	for _, g := range n.groups {
		if g.name == name {
			return g
		}
	}
	g := &shareGroup{name: name}
	n.groups = append(n.groups, g)
	return g
}

// remove takes a subscription out, with the levels that nobody else needs.
func (x *index) remove(s *subscription) { x.root.remove(s, strings.Split(s.filter, "/")) }

func (n *node) remove(s *subscription, levels []string) {
	if len(levels) == 0 {
		n.drop(s)
		return
	}
	level := levels[0]
	if level == "#" {
		if n.hash != nil {
			n.hash.drop(s)
			if n.hash.empty() {
				n.hash = nil
			}
		}
		return
	}
	if c := n.children[level]; c != nil {
		c.remove(s, levels[1:])
		if c.empty() {
			delete(n.children, level)
		}
	}
}

func (n *node) drop(s *subscription) {
	is := func(other *subscription) bool { return other == s }
	if s.group == "" {
		n.subs = slices.DeleteFunc(n.subs, is)
		return
	}
	g := n.group(s.group)
	g.members = slices.DeleteFunc(g.members, is)
	if len(g.members) == 0 {
		n.groups = slices.DeleteFunc(n.groups, func(other *shareGroup) bool { return other == g })
	}
}

func (n *node) empty() bool {
	return len(n.children) == 0 && n.hash == nil && len(n.subs) == 0 && len(n.groups) == 0
}

// match appends to out the subscriptions that get a message on topic: all that are not
// shared, and one of each share group.
func (x *index) match(topic string, out []*subscription) []*subscription {
	return x.root.match(topic, topic, true, strings.HasPrefix(topic, "$"), out)
}

// match goes down the levels in rest; more is false when all are consumed. Dollar is true at
// the root for a topic that leading wildcards do not match (MQTT 5.0, 4.7.2).
func (n *node) match(topic, rest string, more, dollar bool, out []*subscription) []*subscription {
	if n.hash != nil && !dollar {
		out = n.hash.gather(topic, out)
	}
	if !more {
		return n.gather(topic, out)
	}
	if len(n.children) == 0 {
		return out
	}
	level, rest, more := strings.Cut(rest, "/")
	if c := n.children[level]; c != nil {
		out = c.match(topic, rest, more, false, out)
	}
	if c := n.children["+"]; c != nil && !dollar {
		out = c.match(topic, rest, more, false, out)
	}
	return out
}

func (n *node) gather(topic string, out []*subscription) []*subscription {
	out = append(out, n.subs...)
	for _, g := range n.groups {
		out = append(out, g.pick(topic))
	}
	return out
}

// pick takes the members in turn and prefers one that is connected and may read the topic.
func (g *shareGroup) pick(topic string) *subscription {
	start := int(g.turn.Add(1) % uint32(len(g.members)))
	for i := range g.members {
		s := g.members[(start+i)%len(g.members)]
		if s.owner.online.Load() && s.owner.identity.Load().may(spec.Read, topic) {
			return s
		}
	}
	return g.members[start]
}
