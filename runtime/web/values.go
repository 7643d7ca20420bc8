package web

import (
	"sync"
	"time"
)

// What the last values may take of memory.
const (
	// keptPayload is how much of a payload is kept.
	keptPayload = 1 << 10
	// valuesBytes bounds all values together; those of topics that no mapper has reported
	// as an endpoint's get a quarter.
	valuesBytes = 16 << 20
	// valueOverhead is what a value costs beside its topic and payload.
	valueOverhead = 200
	// strangerLife is how long a topic may be unknown: mappers report within seconds.
	strangerLife = 30 * time.Second
)

// value is the last message on a topic.
type value struct {
	payload []byte // its first keptPayload bytes
	size    int    // of the whole payload
	retain  bool   // it was there when the page started to look
	at      time.Time
	since   time.Time // the topic's first message
	known   bool      // the topic is an endpoint's
}

func (v *value) cost(topic string) int { return valueOverhead + len(topic) + cap(v.payload) }

// values holds the last value of each topic, within bounds. It is safe for use from several goroutines.
type values struct {
	mu      sync.Mutex
	byTopic map[string]*value
	bytes   map[bool]int // by known
}

func newValues() *values {
	return &values{byTopic: map[string]*value{}, bytes: map[bool]int{}}
}

// put takes a message. One whose topic is new finds no place when the bounds are reached;
// one without a payload removes the retained message, and is no value.
func (s *values) put(m Message, now time.Time) {
	if len(m.Payload) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := m.Payload[:min(len(m.Payload), keptPayload)]
	v, there := s.byTopic[m.Topic]
	if !there {
		v = &value{since: now}
	} else {
		s.bytes[v.known] -= v.cost(m.Topic)
	}
	if cap(v.payload) < len(kept) {
		v.payload = make([]byte, 0, len(kept))
	}
	v.payload, v.size, v.retain, v.at = append(v.payload[:0], kept...), len(m.Payload), m.Retain, now
	if s.room(v, v.cost(m.Topic)) {
		s.byTopic[m.Topic] = v
		s.bytes[v.known] += v.cost(m.Topic)
	} else {
		delete(s.byTopic, m.Topic)
	}
}

func (s *values) room(v *value, cost int) bool {
	if !v.known {
		return s.bytes[false]+cost <= valuesBytes/4
	}
	return s.bytes[true]+cost <= valuesBytes-valuesBytes/4
}

// prune forgets the topics that are no endpoint's, where a mapper had the time to say so.
func (s *values) prune(endpoints map[string]bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes = map[bool]int{}
	for topic, v := range s.byTopic {
		v.known = endpoints[topic]
		if cost := v.cost(topic); v.known && s.room(v, cost) || !v.known && now.Sub(v.since) < strangerLife && s.room(v, cost) {
			s.bytes[v.known] += cost
			continue
		}
		delete(s.byTopic, topic)
	}
}

// get returns a copy of a topic's last value.
func (s *values) get(topic string) (value, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.byTopic[topic]
	if !ok {
		return value{}, false
	}
	c := *v
	c.payload = append([]byte(nil), v.payload...)
	return c, true
}
