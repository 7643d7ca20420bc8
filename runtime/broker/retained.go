package broker

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// retained holds the last retained message of each topic, in memory, and follows on disk
// (retainedlog.go).
type retained struct {
	maxMessages, maxBytes int
	log                   *slog.Logger
	refused               quiet

	mu       sync.RWMutex
	messages map[string]*message
	system   map[string]*message // $SYS
	bytes    int
	dirty    map[string]struct{} // changed since they were last written to disk
	next     *round              // those who wait for the next writing; nil for nobody

	wanted chan struct{} // holds a token when somebody waits

	// of the goroutine that persists
	dir       string
	file      *os.File
	written   int64 // bytes in file
	compacted int64 // bytes in file when it was last written anew
}

// set keeps m as its topic's retained message; one without a payload removes it. It reports
// false where a limit keeps it out; the topic's former message is then removed too, because
// it is no longer the last one.
func (r *retained) set(m *message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(m.Topic, "$SYS/") {
		r.system[m.Topic] = m // few, the broker's own, not persisted
		return true
	}
	if old := r.messages[m.Topic]; old != nil {
		r.bytes -= retainedBytes(old)
		delete(r.messages, m.Topic)
	} else if len(m.Payload) == 0 {
		return true
	}
	topic := strings.Clone(m.Topic)
	r.dirty[topic] = struct{}{}
	if len(m.Payload) == 0 {
		return true
	}
	if len(r.messages) >= r.maxMessages || r.bytes+retainedBytes(m) > r.maxBytes {
		if r.refused.allow() {
			r.log.Warn("retained message not kept: the limit is reached", "topic", m.Topic,
				"messages", len(r.messages), "bytes", r.bytes)
		}
		return false
	}
	r.messages[topic] = m
	r.bytes += retainedBytes(m)
	return true
}

func retainedBytes(m *message) int { return deliveryBytes + len(m.Topic) + len(m.Payload) }

// match calls f for each retained message that matches the filter.
func (r *retained) match(filter string, f func(*message)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := time.Now()
	if !strings.ContainsAny(filter, "+#") {
		for _, m := range []*message{r.messages[filter], r.system[filter]} {
			if m != nil && !m.expired(now) {
				f(m)
			}
		}
		return
	}
	if strings.HasPrefix(filter, "$") {
		for topic, m := range r.system {
			if spec.TopicMatches(filter, topic) {
				f(m)
			}
		}
	}
	for topic, m := range r.messages {
		if spec.TopicMatches(filter, topic) && !m.expired(now) {
			f(m)
		}
	}
}

// expire removes what has expired.
func (r *retained) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, m := range r.messages {
		if m.expired(now) {
			r.bytes -= retainedBytes(m)
			delete(r.messages, topic)
			r.dirty[topic] = struct{}{}
		}
	}
}

func (r *retained) count() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return int64(len(r.messages))
}
