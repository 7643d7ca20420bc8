package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// subscriber is who gets deliveries: an in-process subscription or a network session.
type subscriber struct {
	name     string // the identity that it acts as
	client   string // for logs: the client id, or the filter in process
	identity atomic.Pointer[identity]
	queue    *queue
	online   atomic.Bool   // a network session without a connection is not
	local    bool          // in process: a full queue holds publishers back
	filters  int           // number of its subscriptions; Broker.mu guards it
	progress atomic.Uint64 // deliveries done, in process

	dropped, refused quiet
	// in process only
	stopped chan struct{} // closed to end the goroutine
	done    chan struct{} // closed when it has ended
}

// quiet lets one log line through per minute.
type quiet struct{ last atomic.Int64 }

func (q *quiet) allow() bool {
	now, last := time.Now().UnixNano(), q.last.Load()
	return (last == 0 || now-last >= int64(time.Minute)) && q.last.CompareAndSwap(last, now)
}

// blocked is a delivery that found its in-process subscriber's queue full.
type blocked struct {
	to *subscriber
	d  delivery
}

// matches are pooled, so that routing does not allocate.
type matches struct {
	subs    []*subscription
	blocked []blocked
}

var matchPool = sync.Pool{New: func() any { return &matches{} }}

func (m *matches) release() {
	clear(m.subs)
	clear(m.blocked)
	m.subs, m.blocked = m.subs[:0], m.blocked[:0]
	matchPool.Put(m)
}

// route keeps the message if it is retained and hands it to every subscriber. Who is full:
// a network client loses its copy, counted; an in-process subscriber holds the caller back,
// or, for a lossy caller, loses its copy too.
func (b *Broker) route(ctx context.Context, m *message, lossy bool) error {
	found := matchPool.Get().(*matches)
	defer found.release()
	if err := b.offer(m, found); err != nil {
		return err
	}
	var errs []error
	for _, f := range found.blocked {
		if lossy {
			b.drop(f.to, m, "its queue is full")
			continue
		}
		if err := b.wait(ctx, f.to, f.d); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// offer queues the message wherever there is room.
func (b *Broker) offer(m *message, found *matches) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return spec.Errorf(spec.Unavailable, "cannot publish to %q: the broker has stopped", m.Topic)
	}
	if m.Retain && !b.retained.set(m) {
		b.stats.dropped.Add(1)
	}
	found.subs = b.index.match(m.Topic, found.subs)
	for i, s := range found.subs {
		ids, qos, rap, again := s.merge(found.subs, i)
		if again {
			continue
		}
		d := delivery{msg: m, ids: ids, qos: min(m.QoS, qos), retain: m.Retain && rap}
		if b.enqueue(s, d) == full {
			found.blocked = append(found.blocked, blocked{s.owner, d})
		}
	}
	return nil
}

// merge joins the subscriptions of one network client that overlap on a topic: it gets one
// copy with the highest QoS and all identifiers (MQTT 5.0, 3.3.4). Again reports that an
// earlier one in the list has spoken for s.
func (s *subscription) merge(all []*subscription, at int) (ids []int, qos byte, rap, again bool) {
	if s.id != 0 {
		ids = []int{s.id}
	}
	qos, rap = s.qos, s.retainAsPublished
	if s.owner.filters < 2 || s.group != "" {
		return ids, qos, rap, false
	}
	same := func(o *subscription) bool { return o.owner == s.owner && o.group == "" }
	if slices.ContainsFunc(all[:at], same) {
		return nil, 0, false, true
	}
	for _, o := range all[at+1:] {
		if same(o) {
			qos, rap = max(qos, o.qos), rap || o.retainAsPublished
			if o.id != 0 {
				ids = append(ids, o.id)
			}
		}
	}
	return ids, qos, rap, false
}

// enqueue checks the subscriber's permission and queues d. Full is left to the caller for an
// in-process subscriber; a network client's copy is dropped here.
func (b *Broker) enqueue(s *subscription, d delivery) result {
	to := s.owner
	if s.noLocal && d.msg.from == to {
		return gone
	}
	if !to.online.Load() && d.qos == 0 {
		return gone // MQTT queues QoS 1 and 2 only
	}
	d.checked = to.identity.Load()
	if !d.checked.may(spec.Read, d.msg.Topic) {
		return gone
	}
	r := to.queue.push(d)
	if r == full && !to.local {
		b.drop(to, d.msg, "its queue is full")
		return gone
	}
	return r
}

// drop counts a copy that its subscriber does not get, and logs the first in a minute.
func (b *Broker) drop(to *subscriber, m *message, why string) {
	b.stats.dropped.Add(1)
	if to.dropped.allow() {
		b.log.Warn("message dropped for a subscriber", "identity", to.name, "client", to.client,
			"topic", m.Topic, "qos", m.QoS, "reason", why, "in_process", to.local)
	}
}

// deliverable reports whether a queued delivery may still go out: it has not expired, and a
// policy that came since it was queued still permits it.
func (to *subscriber) deliverable(d *delivery) bool {
	if d.msg.expired(time.Now()) {
		return false
	}
	now := to.identity.Load()
	return now != nil && (now == d.checked || now.may(spec.Read, d.msg.Topic))
}
