package broker

import (
	"slices"
	"sync/atomic"

	"github.com/millwright/millwright/internal/spec"
)

// audience is who has subscribed to one filter.
type audience struct {
	subs []*subscription // not shared
	more *audienceMore   // nil for a small one without groups, as nearly all are
}

type audienceMore struct {
	groups []*shareGroup
	at     map[*subscriber]int // the places in subs when they are many, else nil
}

// manySubs is from how many on the owner of a subscription is found by a map.
const manySubs = 32

// shareGroup is the members that share one filter under one group name.
type shareGroup struct {
	name    string
	members []*subscription
	turn    atomic.Uint32
}

// add puts a subscription in. It replaces, and returns, its owner's former one.
func (a *audience) add(s *subscription) (replaced *subscription) {
	if s.group != "" {
		return a.extra().group(s.group).add(s)
	}
	if i := a.find(s.owner); i >= 0 {
		replaced, a.subs[i] = a.subs[i], s
		return replaced
	}
	a.subs = append(a.subs, s)
	switch n := len(a.subs); {
	case a.more != nil && a.more.at != nil:
		a.more.at[s.owner] = n - 1
	case n > manySubs:
		at := make(map[*subscriber]int, n)
		for i, other := range a.subs {
			at[other.owner] = i
		}
		a.extra().at = at
	}
	return nil
}

func (a *audience) extra() *audienceMore {
	if a.more == nil {
		a.more = &audienceMore{}
	}
	return a.more
}

// find returns the place of the owner's subscription in subs, -1 for none.
func (a *audience) find(owner *subscriber) int {
	if a.more == nil || a.more.at == nil {
		return slices.IndexFunc(a.subs, func(s *subscription) bool { return s.owner == owner })
	}
	if i, there := a.more.at[owner]; there {
		return i
	}
	return -1
}

// remove takes a subscription out, if it is there.
func (a *audience) remove(s *subscription) {
	if s.group != "" {
		a.leave(s)
		return
	}
	i := a.find(s.owner)
	if i < 0 || a.subs[i] != s {
		return
	}
	last := len(a.subs) - 1
	if moved := a.subs[last]; a.more != nil && a.more.at != nil {
		a.more.at[moved.owner] = i
		delete(a.more.at, s.owner)
	}
	a.subs[i] = a.subs[last]
	a.subs[last] = nil
	a.subs = a.subs[:last]
	if last < manySubs/2 && a.more != nil {
		a.more.at = nil
	}
	a.trim()
}

// trim gives back what a crowd that has left took.
func (a *audience) trim() {
	if len(a.subs) < cap(a.subs)/4 {
		a.subs = append(make([]*subscription, 0, 2*len(a.subs)), a.subs...)
	}
	if a.more != nil && a.more.at == nil && len(a.more.groups) == 0 {
		a.more = nil
	}
}

func (a *audience) empty() bool { return len(a.subs) == 0 && a.more == nil }

// group returns the group of that name, made where there is none.
func (m *audienceMore) group(name string) *shareGroup {
	if i := m.find(name); i >= 0 {
		return m.groups[i]
	}
	g := &shareGroup{name: name}
	m.groups = append(m.groups, g)
	return g
}

func (m *audienceMore) find(name string) int {
	return slices.IndexFunc(m.groups, func(g *shareGroup) bool { return g.name == name })
}

// leave takes a member out of its group, and the group with its last one.
func (a *audience) leave(s *subscription) {
	if a.more == nil {
		return
	}
	i := a.more.find(s.group)
	if i < 0 {
		return
	}
	g := a.more.groups[i]
	g.members = slices.DeleteFunc(g.members, func(other *subscription) bool { return other == s })
	if len(g.members) == 0 {
		a.more.groups = slices.Delete(a.more.groups, i, i+1)
		a.trim()
	}
}

func (g *shareGroup) add(s *subscription) (replaced *subscription) {
	for i, other := range g.members {
		if other.owner == s.owner {
			g.members[i] = s
			return other
		}
	}
	g.members = append(g.members, s)
	return nil
}

// gather appends to out who gets a message on topic.
func (a *audience) gather(topic string, out []*subscription) []*subscription {
	if a == nil {
		return out
	}
	out = append(out, a.subs...)
	if a.more != nil {
		for _, g := range a.more.groups {
			out = append(out, g.pick(topic))
		}
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
