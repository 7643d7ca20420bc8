package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// subscriber is who gets deliveries: an in-process subscription or a network session.
type subscriber struct {
	name     string // the identity that it acts as
	client   string // for logs: the client id, or the filter in process
	identity atomic.Pointer[identity]
	session  *session    // nil in process
	queue    *queue      // in process only: a full one holds publishers back
	online   atomic.Bool // a network session without a connection is not
	filters  int         // number of its subscriptions; Broker.mu guards it

	lost             atomic.Int64 // copies that it did not get
	dropped, refused quiet
	// in process only
	progress atomic.Uint64 // deliveries done
	stopped  chan struct{} // closed to end the goroutine
	done     chan struct{} // closed when it has ended
}

// quiet lets one log line through per minute.
type quiet struct{ last atomic.Int64 }

func (q *quiet) allow() bool {
	now, last := time.Now().UnixNano(), q.last.Load()
	return (last == 0 || now-last >= int64(time.Minute)) && q.last.CompareAndSwap(last, now)
}

// result of handing a delivery to a subscriber.
type result int

const (
	pushed result = iota
	full
	gone  // it is not to have it, or has no use for it
	spill // to the disk, as the memory that it may use is full
)

// copyFor is one subscriber's copy of the message that is routed.
type copyFor struct {
	to    *subscriber
	d     delivery
	alone bool // no other subscription joins it
}

// fanout is what routing a message needs, pooled so that it does not allocate, and the
// connections that have got something and are to be flushed. One goroutine uses it at a time.
type fanout struct {
	subs    []*subscription
	copies  []copyFor           // who gets the message
	places  map[*subscriber]int // in copies, where there are many
	blocked []copyFor           // who had no room
	spilled []copyFor
	slow    []*session // connected, and what it got waits on disk
	record  []recipient
	frames  [4]frame // by version and kind of QoS; an empty one is not encoded yet
	space   [4][]byte
	touched []*conn
}

var fanouts = sync.Pool{New: func() any { return &fanout{} }}

func newFanout() *fanout { return fanouts.Get().(*fanout) }

func (f *fanout) free() {
	f.kick() // only after a panic is there anything
	f.begin()
	fanouts.Put(f)
}

// begin prepares for the next message.
func (f *fanout) begin() {
	clear(f.subs)
	clear(f.copies)
	clear(f.blocked)
	clear(f.spilled)
	clear(f.slow)
	clear(f.record)
	f.subs, f.copies, f.blocked, f.spilled, f.slow, f.record = f.subs[:0], f.copies[:0], f.blocked[:0], f.spilled[:0], f.slow[:0], f.record[:0]
	f.frames = [4]frame{}
	if len(f.places) > 0 {
		clear(f.places)
	}
}

// frame returns the message encoded for a version of MQTT and a QoS.
func (f *fanout) frame(m *message, version, qos byte) frame {
	i := 0
	if version == 5 {
		i = 1
	}
	if qos > 0 {
		i += 2
	}
	if f.frames[i].data == nil {
		f.frames[i] = encodePublish(f.space[i][:0], m, publishFrame{version: version, qos: min(qos, 1), topic: m.Topic})
		if f.space[i] = f.frames[i].data; cap(f.space[i]) > writeAhead {
			f.space[i] = nil
		}
	}
	return f.frames[i]
}

// touch notes a connection to be flushed. The caller holds its session's mu.
func (f *fanout) touch(c *conn) {
	if !c.out.dirty && !c.out.writing {
		c.out.dirty = true
		f.touched = append(f.touched, c)
	}
}

// flush writes what the connections have got. It never waits for one.
func (f *fanout) flush() {
	f.eachTouched((*conn).flush)
}

// kick leaves the writing to the connections' writers: for callers that publish single messages.
func (f *fanout) kick() {
	f.eachTouched((*conn).kick)
}

func (f *fanout) eachTouched(do func(*conn)) {
	for i, c := range f.touched {
		f.touched[i] = nil
		if c != nil { // a panic has come between
			do(c)
		}
	}
	f.touched = f.touched[:0]
}

// manner is how a message deals with subscribers who have no room for it.
type manner int

const (
	patient manner = iota // in-process ones hold the publisher back, network ones shortly
	brisk                 // network ones hold it back shortly; in-process ones lose it
	lossy                 // nobody is waited for
)

// route routes a message of this process; see routeWith.
func (b *Broker) route(ctx context.Context, m *message, how manner) (journal.Position, error) {
	f := newFanout()
	defer f.free()
	at, err := b.routeWith(ctx, f, m, receipt{}, how)
	f.kick()
	return at, err
}

// routeWith keeps the message if it is retained and hands it to every subscriber. It returns
// the position up to which the journal must be on disk before the message may be
// acknowledged, 0 for none.
func (b *Broker) routeWith(ctx context.Context, f *fanout, m *message, r receipt, how manner) (journal.Position, error) {
	f.begin()
	at, err := b.offer(m, r, f)
	if err != nil {
		return 0, err
	}
	if len(f.blocked) > 0 {
		err = b.settleBlocked(ctx, f, m, how)
	}
	if len(f.slow) > 0 && how != lossy {
		b.awaitSlow(ctx, f)
	}
	return at, err
}

// settleBlocked deals with those who had no room. A network client that makes progress is
// waited for shortly, then loses its copy of QoS 0, counted.
func (b *Broker) settleBlocked(ctx context.Context, f *fanout, m *message, how manner) error {
	var errs []error
	patience := time.Now().Add(networkPatience)
	for i := range f.blocked {
		c := &f.blocked[i]
		switch {
		case c.to.session != nil && how != lossy:
			b.awaitNetwork(ctx, c, f, patience)
		case c.to.session != nil:
			b.deliverLast(c, f)
		case how != patient:
			b.drop(c.to, m, "its queue is full")
		default:
			f.kick()
			c.d.msg = m.keep()
			if err := b.wait(ctx, c.to, c.d); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// offer hands the message to whoever has room.
func (b *Broker) offer(m *message, r receipt, f *fanout) (journal.Position, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return 0, spec.Errorf(spec.Unavailable, "cannot publish to %q: the broker has stopped", m.Topic)
	}
	f.subs = b.index.match(m.Topic, f.subs)
	durable := m.Retain || r.num != 0
	for _, s := range f.subs {
		if f.copyTo(s, m) {
			durable = true
		}
	}
	if durable {
		return b.offerDurably(m, r, f), nil
	}
	b.offerCopies(f)
	return 0, nil
}

func (b *Broker) offerCopies(f *fanout) {
	b.handOut(f)
	if len(f.spilled) > 0 {
		b.order.Lock()
		defer b.order.Unlock()
		b.spillOver(f)
	}
}

// handOut hands each copy to its subscriber, and notes who has no room.
func (b *Broker) handOut(f *fanout) {
	for i := range f.copies {
		c := &f.copies[i]
		switch b.hand(c.to, &c.d, f) {
		case full:
			f.blocked = append(f.blocked, *c)
		case spill:
			f.spilled = append(f.spilled, *c)
		case pushed, gone:
		}
	}
}

// copyTo makes the subscription's copy and reports whether it must be on disk. There is none
// where the policy forbids it. The subscriptions of one network client that overlap on a topic
// have one copy, with the highest QoS and all identifiers (MQTT 5.0, 3.3.4).
func (f *fanout) copyTo(s *subscription, m *message) (durable bool) {
	to, qos := s.owner, min(s.qos, m.QoS)
	switch {
	case s.noLocal && m.from == to:
		return false
	case qos == 0 && !to.online.Load():
		return false // without a connection, QoS 1 and 2 only are kept (MQTT 5.0, 4.1)
	}
	durable = qos > 0 && to.session != nil && to.session.durable
	alone := to.filters < 2 || s.group != ""
	if !alone {
		if c := f.copyOf(to); c != nil {
			c.join(s, qos, m)
			return durable
		}
	}
	id := to.identity.Load()
	if !id.may(spec.Read, m.Topic) {
		return false
	}
	c := copyFor{to, delivery{msg: m, qos: qos, retain: m.Retain && s.retainAsPublished, checked: id}, alone}
	if s.id != 0 {
		c.d.ids = []int{s.id}
	}
	f.copies = append(f.copies, c)
	if !alone {
		f.note(to)
	}
	return durable
}

// join adds another subscription of the same client to its copy.
func (c *copyFor) join(s *subscription, qos byte, m *message) {
	c.d.qos = max(c.d.qos, qos)
	c.d.retain = c.d.retain || m.Retain && s.retainAsPublished
	if s.id != 0 {
		c.d.ids = append(c.d.ids, s.id)
	}
}

// fewCopies are searched one by one.
const fewCopies = 8

// note lets copyOf find the last copy.
func (f *fanout) note(to *subscriber) {
	if len(f.subs) <= fewCopies {
		return
	}
	if f.places == nil {
		f.places = map[*subscriber]int{}
	}
	f.places[to] = len(f.copies) - 1
}

// copyOf returns the copy that other subscriptions of the subscriber may join, nil for none.
func (f *fanout) copyOf(to *subscriber) *copyFor {
	if len(f.subs) > fewCopies {
		if i, there := f.places[to]; there {
			return &f.copies[i]
		}
		return nil
	}
	for i := range f.copies {
		if c := &f.copies[i]; c.to == to && !c.alone {
			return c
		}
	}
	return nil
}

// hand gives a copy to its subscriber.
func (b *Broker) hand(to *subscriber, d *delivery, f *fanout) result {
	if to.session != nil {
		return b.deliver(to.session, d, f)
	}
	d.msg = d.msg.keep()
	return to.queue.push(*d)
}

// drop counts a copy that its subscriber does not get, and logs the first in a minute.
func (b *Broker) drop(to *subscriber, m *message, why string) {
	b.stats.dropped.Add(1)
	lost := to.lost.Add(1)
	if to.dropped.allow() {
		b.log.Warn("message dropped for a subscriber", "identity", to.name, "client", to.client, "dropped", lost,
			"topic", m.Topic, "qos", m.QoS, "reason", why, "in_process", to.session == nil)
	}
}
