package broker

import "strings"

// topicTree holds one value for each of many topics, by their levels, and finds those that a
// filter matches without looking at the others. Chains of levels that nobody else shares are
// one node, so that there are never more than two nodes for each topic, however deep it is.
//
// The tree keeps no text that it was given: a topic may be part of a packet. It is not safe
// for concurrent use.
type topicTree[V any] struct {
	root topicNode[V]
	n    int
}

// topicNode is what is below its parent by the levels in label.
type topicNode[V any] struct {
	label string // one level or more; the root's is not looked at
	kids  *topicKids[V]
	value V
	set   bool
}

// len returns the number of topics.
func (t *topicTree[V]) len() int { return t.n }

// get returns the topic's value. It does not allocate.
func (t *topicTree[V]) get(topic string) (v V, there bool) {
	n, rest, more := &t.root, topic, true
	for more {
		if n = n.kid(firstLevel(rest)); n == nil {
			return v, false
		}
		var whole bool
		if _, rest, more, whole = commonLevels(n.label, rest); !whole {
			return v, false
		}
	}
	return n.value, n.set
}

// put gives the topic a value, in place of the one it had.
func (t *topicTree[V]) put(topic string, v V) {
	slot, _ := t.slot(topic)
	*slot = v
}

// slot returns the place of the topic's value, made where there was none. The pointer is
// good until the tree changes.
func (t *topicTree[V]) slot(topic string) (v *V, there bool) {
	n, rest, more := &t.root, topic, true
	for more {
		kid := n.kid(firstLevel(rest))
		if kid == nil {
			n = n.adopt(&topicNode[V]{label: strings.Clone(rest)})
			break
		}
		common, after, moreTopic, whole := commonLevels(kid.label, rest)
		if !whole {
			kid = n.split(kid, common)
		}
		n, rest, more = kid, after, moreTopic
	}
	if there = n.set; !there {
		n.set = true
		t.n++
	}
	return &n.value, there
}

// split puts a node in the middle of a kid's label, after n bytes of whole levels.
func (n *topicNode[V]) split(kid *topicNode[V], bytes int) *topicNode[V] {
	mid := &topicNode[V]{label: strings.Clone(kid.label[:bytes])}
	n.replace(mid)
	kid.label = strings.Clone(kid.label[bytes+1:])
	mid.adopt(kid)
	return mid
}

// remove takes the topic out, with the nodes that only it needed.
func (t *topicTree[V]) remove(topic string) (v V, there bool) {
	var grand, parent *topicNode[V]
	n, rest, more := &t.root, topic, true
	for more {
		grand, parent = parent, n
		if n = n.kid(firstLevel(rest)); n == nil {
			return v, false
		}
		var whole bool
		if _, rest, more, whole = commonLevels(n.label, rest); !whole {
			return v, false
		}
	}
	if !n.set {
		return v, false
	}
	var none V
	v, n.value, n.set = n.value, none, false
	t.n--
	if n.kids != nil {
		parent.join(n)
		return v, true
	}
	parent.disown(n)
	if grand != nil && !parent.set { // it had two kids at least, or a value
		grand.join(parent)
	}
	return v, true
}

// join makes one node of a kid that has no value and its only kid.
func (n *topicNode[V]) join(kid *topicNode[V]) {
	only := kid.kids.only()
	if only == nil {
		return
	}
	only.label = kid.label + "/" + only.label
	n.replace(only)
}

// match calls yield for each topic that the filter matches (MQTT 5.0, 4.7: a filter that begins
// with a wildcard matches no topic that begins with "$"), in no order, until it returns false. The
// tree must not change meanwhile. It goes no deeper than the levels of the longest topic.
func (t *topicTree[V]) match(filter string, yield func(topic string, v V) bool) {
	w := topicWalk[V]{yield: yield}
	first := firstLevel(filter)
	if first != "#" && first != "+" {
		w.below(&t.root, filter)
		return
	}
	t.root.kids.each(func(kid *topicNode[V]) bool {
		return strings.HasPrefix(kid.label, "$") || w.enter(kid, filter)
	})
}

// topicWalk is one match under way. Its methods return false when yield has.
type topicWalk[V any] struct {
	yield func(topic string, v V) bool
	path  []byte // the topic down to the node, each level behind a "/"
}

// below looks for the filter's levels below a node.
func (w *topicWalk[V]) below(n *topicNode[V], filter string) bool {
	if first := firstLevel(filter); first != "+" {
		kid := n.kid(first)
		return kid == nil || w.enter(kid, filter)
	}
	return n.kids.each(func(kid *topicNode[V]) bool { return w.enter(kid, filter) })
}

// enter goes on at a node whose label is yet to be matched with the filter's first levels.
func (w *topicWalk[V]) enter(n *topicNode[V], filter string) bool {
	before := len(w.path)
	defer func() { w.path = w.path[:before] }()
	w.path = append(append(w.path, '/'), n.label...)
	rest := n.label
	for moreLabel, moreFilter := true, true; moreLabel; {
		var level, wanted string
		if !moreFilter {
			return true // the topics here have more levels than the filter
		}
		wanted, filter, moreFilter = strings.Cut(filter, "/")
		if wanted == "#" {
			return w.all(n)
		}
		level, rest, moreLabel = strings.Cut(rest, "/")
		switch {
		case wanted != "+" && wanted != level:
			return true
		case moreLabel:
		case !moreFilter:
			return !n.set || w.found(n)
		case filter == "#": // "a/#" also matches its parent "a"
			return w.all(n)
		default:
			return w.below(n, filter)
		}
	}
	return true
}

// all yields a node and all below it, whose label the path already has.
func (w *topicWalk[V]) all(n *topicNode[V]) bool {
	if n.set && !w.found(n) {
		return false
	}
	return n.kids.each(func(kid *topicNode[V]) bool {
		before := len(w.path)
		w.path = append(append(w.path, '/'), kid.label...)
		on := w.all(kid)
		w.path = w.path[:before]
		return on
	})
}

func (w *topicWalk[V]) found(n *topicNode[V]) bool { return w.yield(string(w.path[1:]), n.value) }

func firstLevel(path string) string {
	level, _, _ := strings.Cut(path, "/")
	return level
}

// commonLevels compares the first levels of a topic with a label, of which at least the first
// is the same. Common is the bytes of label that are the same whole levels, and whole says that
// these are all of it; rest is what the topic has after them, if there is more.
func commonLevels(label, topic string) (common int, rest string, more, whole bool) {
	at := 0 // of the first difference
	for at < len(label) && at < len(topic) && label[at] == topic[at] {
		at++
	}
	labelEnds, topicEnds := at == len(label), at == len(topic)
	switch {
	case labelEnds && topicEnds:
		return at, "", false, true
	case labelEnds && topic[at] == '/':
		return at, topic[at+1:], true, true
	case topicEnds && label[at] == '/':
		return at, "", false, false
	}
	at = strings.LastIndexByte(label[:at], '/')
	return at, topic[at+1:], true, false
}
