package broker

import (
	"strings"

	"github.com/millwright/millwright/internal/journal"
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
	id                int              // subscription identifier, 0 for none
	record            journal.Position // of a durable session: where it lies on disk; Broker.order guards it
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
	s := &subscription{filter: strings.Clone(name)} // name may be a part of a large packet
	if rest, shared := strings.CutPrefix(s.filter, sharePrefix); shared || s.filter == "$share" {
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

// index finds the subscriptions whose filter matches a topic. Looking costs no more than the
// nodes that match, each once: filters that share levels share the work. Broker.mu guards it.
type index struct{ tree topicTree[filterEnds] }

// filterEnds are the filters that end at a node.
type filterEnds struct {
	here  *audience // of the filter that is the path to the node
	below *audience // of that filter and "/#"; at the root of "#" alone
}

// place returns where the subscribers of a filter are, nil for nowhere unless it is made.
func (x *index) place(filter string, made bool) **audience {
	if filter == "#" {
		return &x.tree.root.value.below
	}
	path, below := strings.CutSuffix(filter, "/#")
	if _, there := x.tree.get(path); !there && !made {
		return nil
	}
	ends, _ := x.tree.slot(path)
	if below {
		return &ends.below
	}
	return &ends.here
}

// add puts a subscription in. It replaces, and returns, its owner's former one for the same filter.
func (x *index) add(s *subscription) (replaced *subscription) {
	at := x.place(s.filter, true)
	if *at == nil {
		*at = &audience{}
	}
	return (*at).add(s)
}

// remove takes a subscription out, with the levels that nobody else needs.
func (x *index) remove(s *subscription) {
	at := x.place(s.filter, false)
	if at == nil || *at == nil {
		return
	}
	if (*at).remove(s); !(*at).empty() {
		return
	}
	*at = nil
	path := strings.TrimSuffix(s.filter, "/#")
	if ends, there := x.tree.get(path); there && ends == (filterEnds{}) {
		x.tree.remove(path)
	}
}

// match appends to out the subscriptions that get a message on topic: all that are not
// shared, and one of each share group. Leading wildcards match no topic that begins with "$"
// (MQTT 5.0, 4.7.2).
func (x *index) match(topic string, out []*subscription) []*subscription {
	root := &x.tree.root
	dollar := strings.HasPrefix(topic, "$")
	if !dollar {
		out = root.value.below.gather(topic, out)
	}
	if kid := root.kid(firstLevel(topic)); kid != nil {
		out = matchFilters(kid, topic, topic, out)
	}
	if root.kids != nil && root.kids.plus != nil && !dollar {
		out = matchFilters(root.kids.plus, topic, topic, out)
	}
	return out
}

// matchFilters goes on at a node whose label is yet to be matched with the topic's levels in rest.
func matchFilters(n *topicNode[filterEnds], topic, rest string, out []*subscription) []*subscription {
	rest, more, matches := matchLabel(n.label, rest)
	if !matches {
		return out
	}
	out = n.value.below.gather(topic, out)
	if !more {
		return n.value.here.gather(topic, out)
	}
	if n.kids == nil {
		return out
	}
	if kid := n.kid(firstLevel(rest)); kid != nil {
		out = matchFilters(kid, topic, rest, out)
	}
	if n.kids.plus != nil {
		out = matchFilters(n.kids.plus, topic, rest, out)
	}
	return out
}

// matchLabel matches a filter's levels with the first ones of a topic; rest is what the topic
// has after them, if there is more. It looks at bytes, since a label may have 1,000 levels.
func matchLabel(label, topic string) (rest string, more, matches bool) {
	at := 0 // in topic, as i is in label: both at the same level
	for i := 0; i < len(label); i++ {
		switch {
		case label[i] == '+': // alone in its level (spec.CheckFilter)
			if end := strings.IndexByte(topic[at:], '/'); end >= 0 {
				at += end
			} else {
				at = len(topic)
			}
		case at == len(topic) || label[i] != topic[at]:
			return "", false, false
		default:
			at++
		}
	}
	switch {
	case at == len(topic):
		return "", false, true
	case topic[at] == '/':
		return topic[at+1:], true, true
	}
	return "", false, false
}
