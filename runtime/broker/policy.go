package broker

import (
	"slices"
	"strings"
	"sync"

	"github.com/millwright/millwright/internal/spec"
)

// policy is what is in force, compiled. It is never changed, only replaced.
type policy struct {
	identities map[string]*identity
	cursor     string
	revision   int64
}

// The bounds of what one identity remembers: decisions, and the length of a topic.
const (
	maxRemembered      = 32768
	maxRememberedTopic = 256
)

// identity is one compiled identity. A nil identity may do nothing. One that a new policy
// leaves as it was is carried over, with what it remembers.
type identity struct {
	spec.Identity
	read               []string // the filters granted
	readable, writable *filterSet

	mu         sync.RWMutex
	remembered map[decision]bool
}

type decision struct {
	op    spec.Operation
	topic string
}

func compile(s spec.Identity) *identity {
	id := &identity{Identity: s, remembered: map[decision]bool{}}
	var write []string
	for _, p := range s.Permissions {
		if p.Context != spec.MQTT {
			continue
		}
		if p.Operation != spec.Write {
			id.read = append(id.read, p.Resource)
		}
		if p.Operation != spec.Read {
			write = append(write, p.Resource)
		}
	}
	id.readable, id.writable = newFilterSet(id.read), newFilterSet(write)
	return id
}

// may reports whether the identity may read or write one topic. The first decisions are
// remembered, so that the second one for a topic is a map access; with more topics than that
// each is decided anew, which takes a few map accesses.
func (id *identity) may(op spec.Operation, topic string) bool {
	if id == nil {
		return false
	}
	id.mu.RLock()
	allowed, known := id.remembered[decision{op, topic}]
	full := len(id.remembered) >= maxRemembered
	id.mu.RUnlock()
	if known {
		return allowed
	}
	allowed = id.decide(op, topic)
	if full || len(topic) > maxRememberedTopic {
		return allowed
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.remembered[decision{op, strings.Clone(topic)}] = allowed
	return allowed
}

func (id *identity) decide(op spec.Operation, topic string) bool {
	if op == spec.Read {
		return id.readable.matches(topic)
	}
	return id.writable.matches(topic) && !reserved(topic) && spec.CheckTopic(topic) == nil
}

// reserved reports whether the topic is one that only the broker writes.
func reserved(topic string) bool {
	return strings.HasPrefix(topic, "$SYS/") || strings.HasPrefix(topic, sharePrefix)
}

// maySubscribe reports whether one granted filter covers the filter asked for.
func (id *identity) maySubscribe(filter string) bool {
	return id != nil && slices.ContainsFunc(id.read, func(granted string) bool { return spec.FilterCovers(granted, filter) })
}

// apply puts a set of identities in force, all at once. Clients whose identity is gone, or
// whose credential no longer lets in, are disconnected; sessions of identities that are gone, or
// that nobody can log in as, end. It returns whose retained messages are to go: see Identity.Home.
func (b *Broker) apply(set map[string]spec.Identity, cursor string, revision int64) (left []string) {
	old := b.policy.Load()
	next := &policy{identities: make(map[string]*identity, len(set)), cursor: cursor, revision: revision}
	for name, s := range set {
		before := old.identities[name]
		if before != nil && same(before.Identity, s) {
			next.identities[name] = before
			continue
		}
		next.identities[name] = compile(s)
	}
	for _, c := range b.swap(next) {
		c.stop(errAdministrative)
	}
	b.syncOnce.Do(func() { close(b.synced) })
	b.log.Info("policy in force", "identities", len(set), "revision", revision)
	for name, id := range old.identities {
		if now, stays := set[name]; id.Home != "" && (!stays || now.Born != id.Born || now.Home != id.Home) {
			left = append(left, id.Home)
		}
	}
	return left
}

func same(a, b spec.Identity) bool {
	return slices.Equal(a.Credentials, b.Credentials) && slices.Equal(a.Permissions, b.Permissions) && a.Home == b.Home && a.Born == b.Born
}

// known reports whether a policy is in force, from disk or from the watch.
func (b *Broker) known() bool {
	select {
	case <-b.synced:
		return true
	default:
		return false
	}
}

// swap replaces the policy and returns the connections that it shuts out.
func (b *Broker) swap(next *policy) []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.policy.Store(next)
	for l := range b.locals {
		l.identity.Store(next.identities[l.name])
	}
	var out []*conn
	for key, s := range b.sessions {
		id := next.identities[key.user]
		s.identity.Store(id)
		if s.conn != nil && (id == nil || !slices.Contains(id.Credentials, s.conn.credential)) {
			out = append(out, s.conn)
		}
		if id == nil || len(id.Credentials) == 0 {
			s.expiry = 0 // ends when its connection does
			if s.conn == nil {
				b.endSession(s)
			}
		}
	}
	return out
}
