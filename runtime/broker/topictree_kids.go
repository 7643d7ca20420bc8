package broker

import "slices"

// The kids of a node lie in a slice while they are few, for that takes the least memory and is
// fast, and in a map when they are many.
const (
	mostFew   = 12
	leastMany = 6 // at which a map becomes a slice again
)

// topicKids are the nodes below a node, of which no two begin with the same level.
type topicKids[V any] struct {
	plus *topicNode[V] // whose first level is "+": a filter's, see index
	few  []*topicNode[V]
	many map[string]*topicNode[V] // by first level; nil while they are few
	peak int                      // the most that many has held since it was made
}

// kid returns the kid that begins with the level, or nil.
func (n *topicNode[V]) kid(level string) *topicNode[V] {
	k := n.kids
	switch {
	case k == nil:
		return nil
	case level == "+":
		return k.plus
	case k.many != nil:
		return k.many[level]
	}
	for _, kid := range k.few {
		if startsWith(kid.label, level) {
			return kid
		}
	}
	return nil
}

// startsWith reports whether the path's first level is this one.
func startsWith(path, level string) bool {
	return len(path) >= len(level) && path[:len(level)] == level && (len(path) == len(level) || path[len(level)] == '/')
}

// adopt adds a kid that begins with another level than all others, and returns it.
func (n *topicNode[V]) adopt(kid *topicNode[V]) *topicNode[V] {
	if n.kids == nil {
		n.kids = &topicKids[V]{}
	}
	k, level := n.kids, firstLevel(kid.label)
	switch {
	case level == "+":
		k.plus = kid
	case k.many != nil:
		k.many[level] = kid
		k.peak = max(k.peak, len(k.many))
	case len(k.few) < mostFew:
		k.few = append(k.few, kid)
	default:
		k.toMany(append(k.few, kid))
	}
	return kid
}

func (k *topicKids[V]) toMany(kids []*topicNode[V]) {
	k.few, k.many, k.peak = nil, make(map[string]*topicNode[V], len(kids)), len(kids)
	for _, kid := range kids {
		k.many[firstLevel(kid.label)] = kid
	}
}

// replace puts a kid in the place of the one that begins with the same level.
func (n *topicNode[V]) replace(kid *topicNode[V]) {
	k, level := n.kids, firstLevel(kid.label)
	switch {
	case level == "+":
		k.plus = kid
	case k.many != nil:
		delete(k.many, level) // for the key is text of the other
		k.many[level] = kid
	default:
		i := slices.IndexFunc(k.few, func(other *topicNode[V]) bool { return startsWith(other.label, level) })
		k.few[i] = kid
	}
}

// disown takes a kid out. A map that has become much too large, or small, is made anew: Go's
// do not shrink.
func (n *topicNode[V]) disown(kid *topicNode[V]) {
	k := n.kids
	switch {
	case kid == k.plus:
		k.plus = nil
	case k.many != nil:
		delete(k.many, firstLevel(kid.label))
		k.shrink()
	default:
		k.few = slices.DeleteFunc(k.few, func(other *topicNode[V]) bool { return other == kid })
	}
	if k.plus == nil && len(k.few) == 0 && len(k.many) == 0 {
		n.kids = nil
	}
}

func (k *topicKids[V]) shrink() {
	if len(k.many) > leastMany && len(k.many) > k.peak/4 {
		return
	}
	kids := make([]*topicNode[V], 0, len(k.many))
	for _, kid := range k.many {
		kids = append(kids, kid)
	}
	if len(kids) > leastMany {
		k.toMany(kids)
		return
	}
	k.few, k.many = kids, nil
}

// only returns the kid that has no siblings, or nil.
func (k *topicKids[V]) only() *topicNode[V] {
	switch {
	case len(k.many) > 0:
		return nil // there are more than leastMany
	case k.plus != nil && len(k.few) == 0:
		return k.plus
	case k.plus == nil && len(k.few) == 1:
		return k.few[0]
	}
	return nil
}

// each calls f for every kid until it returns false, and reports whether it never did.
func (k *topicKids[V]) each(f func(*topicNode[V]) bool) bool {
	if k == nil {
		return true
	}
	if k.plus != nil && !f(k.plus) {
		return false
	}
	for _, kid := range k.few {
		if !f(kid) {
			return false
		}
	}
	for _, kid := range k.many {
		if !f(kid) {
			return false
		}
	}
	return true
}
