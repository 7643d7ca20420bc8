package broker

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// retained holds the last retained message of each topic in memory. They stand in the
// journal too (durable.go); Broker.order makes both the same.
type retained struct {
	maxMessages, maxBytes int
	log                   *slog.Logger
	refused               quiet

	mu       sync.RWMutex
	messages topicTree[kept]
	system   map[string]*message // $SYS
	bytes    int
	last     uint64 // number of the last one that was set
}

// kept is a retained message and where it lies on disk.
type kept struct {
	m      *message
	at     journal.Position
	number uint64 // ascending by the time of setting
}

func newRetained(limits Limits, log *slog.Logger) *retained {
	return &retained{
		maxMessages: limits.RetainedMessages, maxBytes: limits.RetainedBytes, log: log,
		system: map[string]*message{},
	}
}

// fate is what becomes of a message that is published as retained.
type fate int

const (
	fateNone    fate = iota // nothing changes
	fateKept                // it is its topic's retained message now
	fateRemoved             // its topic has none any more
)

// judge says what becomes of m: one without a payload removes the topic's. Where a limit
// keeps it out the topic's former message is removed too, because it is no longer the last one.
func (r *retained) judge(m *message) (f fate, refused bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	old, there := r.messages.get(m.Topic)
	if len(m.Payload) > 0 {
		n, size := r.messages.len(), r.bytes+m.bytes()
		if there {
			n, size = n-1, size-old.m.bytes()
		}
		if n < r.maxMessages && size <= r.maxBytes {
			return fateKept, false
		}
		refused = true
		if r.refused.allow() {
			r.log.Warn("retained message not kept: the limit is reached", "topic", logged(m.Topic),
				"messages", r.messages.len(), "bytes", r.bytes)
		}
	}
	if there {
		return fateRemoved, refused
	}
	return fateNone, refused
}

// set puts m, which lies on disk at the position, in its topic's place, or with nil removes
// it. It returns the position of the one before, 0 for none.
func (r *retained) set(topic string, m *message, at journal.Position) (former journal.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, there := r.messages.remove(topic); there {
		r.bytes -= old.m.bytes()
		former = old.at
	}
	if m == nil {
		return former
	}
	own := *m
	own.from, own.kept, own.Retain = nil, nil, true
	r.last++
	r.messages.put(m.Topic, kept{&own, at, r.last})
	r.bytes += own.bytes()
	return former
}

// setSystem keeps one of the broker's own messages. They are few, and not on disk.
func (r *retained) setSystem(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.system[m.Topic] = m
}

// moved notes a new place on disk of what lay at from; false if nothing does.
func (r *retained) moved(topic string, from, to journal.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, there := r.messages.get(topic)
	if !there || k.at != from {
		return false
	}
	k.at = to
	r.messages.put(topic, k)
	return true
}

func (r *retained) at(topic string) journal.Position {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, _ := r.messages.get(topic)
	return k.at
}

// current reports whether a message that was found is still its topic's. The broker's own are.
func (r *retained) current(m *message) bool {
	return strings.HasPrefix(m.Topic, "$SYS/") || r.get(m.Topic) == m
}

func (r *retained) get(topic string) *message {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, _ := r.messages.get(topic)
	return k.m
}

// mark names this moment: match leaves out what was set after it.
func (r *retained) mark() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.last
}

// match returns the retained messages that match the filter and were set before the mark.
func (r *retained) match(filter string, mark uint64) []*message {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []*message
	now := time.Now()
	add := func(m *message) {
		if m != nil && !m.expired(now) {
			out = append(out, m)
		}
	}
	add(r.system[filter])
	if strings.HasPrefix(filter, "$") && strings.ContainsAny(filter, "+#") {
		for topic, m := range r.system {
			if spec.TopicMatches(filter, topic) {
				add(m)
			}
		}
	}
	r.messages.match(filter, func(_ string, k kept) bool {
		if k.number <= mark {
			add(k.m)
		}
		return true
	})
	return out
}

// expired returns the topics whose messages have expired.
func (r *retained) expired(now time.Time) (topics []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, filter := range []string{"#", "$SYS/#"} {
		r.messages.match(filter, func(topic string, k kept) bool {
			if k.m.expired(now) {
				topics = append(topics, topic)
			}
			return true
		})
	}
	return topics
}

func (r *retained) count() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return int64(r.messages.len())
}
