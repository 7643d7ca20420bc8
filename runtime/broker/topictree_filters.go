package broker

import "strings"

// filterSet answers whether one of many filters matches a topic, at a cost that does not grow
// with their number. It is safe for concurrent use once it is made.
type filterSet struct{ tree topicTree[filterEnd] }

// filterEnd says which filters end at a node: the path to it, and that path with "/#".
type filterEnd struct{ here, below bool }

// newFilterSet makes a set of filters, which must be valid ones.
func newFilterSet(filters []string) *filterSet {
	s := &filterSet{}
	for _, f := range filters {
		path, below := strings.CutSuffix(f, "/#")
		switch {
		case f == "#":
			s.tree.root.value.below = true
		case below:
			end, _ := s.tree.slot(path)
			end.below = true
		default:
			end, _ := s.tree.slot(path)
			end.here = true
		}
	}
	return s
}

// matches reports whether a filter matches the topic (MQTT 5.0, 4.7.1 and 4.7.2). It does not
// allocate. It takes time for each node that matches, once: with filters that branch at many
// levels these may be all of them.
func (s *filterSet) matches(topic string) bool {
	root := &s.tree.root
	if !strings.HasPrefix(topic, "$") {
		if root.value.below || root.kids != nil && root.kids.plus != nil && anyFilter(root.kids.plus, topic) {
			return true
		}
	}
	kid := root.kid(firstLevel(topic))
	return kid != nil && anyFilter(kid, topic)
}

// anyFilter goes on at a node whose label is yet to be matched with the topic's levels in rest.
func anyFilter(n *topicNode[filterEnd], rest string) bool {
	rest, more, matches := matchLabel(n.label, rest)
	switch {
	case !matches:
		return false
	case n.value.below:
		return true
	case !more:
		return n.value.here
	case n.kids == nil:
		return false
	}
	if kid := n.kid(firstLevel(rest)); kid != nil && anyFilter(kid, rest) {
		return true
	}
	return n.kids.plus != nil && anyFilter(n.kids.plus, rest)
}
