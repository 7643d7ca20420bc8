package broker

import (
	"strings"
	"time"

	"github.com/millwright/millwright/internal/journal"
)

// offerDurably writes the message with all whom it waits for, and hands it out. Broker.order
// makes the order in the journal that of each session. It returns the message's place, 0
// where nobody needs it on disk.
func (b *Broker) offerDurably(m *message, r receipt, f *fanout) journal.Position {
	b.order.Lock()
	defer b.order.Unlock()
	return b.offerOrdered(m, r, f)
}

// offerOrdered is offerDurably for a caller that holds Broker.order.
func (b *Broker) offerOrdered(m *message, r receipt, f *fanout) journal.Position {
	for i := range f.copies {
		c := &f.copies[i]
		if s := c.to.session; s != nil && s.durable && c.d.qos > 0 {
			b.reserve(s, &c.d, f)
		}
	}
	at := b.write(m, r, f)
	n := 0
	for i := range f.copies {
		c := &f.copies[i]
		if c.d.seq == overflow {
			continue
		}
		if c.d.seq > 0 {
			c.d.at = at
		}
		f.copies[n] = *c
		n++
	}
	clear(f.copies[n:])
	f.copies = f.copies[:n]
	b.handCopies(f)
	return at
}

// handCopies hands all copies out. The caller holds Broker.order.
func (b *Broker) handCopies(f *fanout) {
	b.handOut(f)
	b.spillOver(f)
}

// overflow is the seq of a copy for which there is no room on disk.
const overflow = ^uint64(0)

// reserve gives a durable session's copy its seq, if there is room on disk.
func (b *Broker) reserve(s *session, d *delivery, f *fanout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why := b.noRoom(s, d.msg); why != "" {
		d.seq = overflow
		b.drop(&s.subscriber, d.msg, why)
		return
	}
	s.box.seq++
	d.seq = s.box.seq
	f.record = append(f.record, recipient{num: s.num, seq: d.seq, qos: d.qos, retain: d.retain, ids: d.ids})
}

// noRoom says why no more may wait on disk for the session; "" where it may. The caller holds session.mu.
func (b *Broker) noRoom(s *session, m *message) string {
	switch size := int64(m.bytes()); {
	case s.box.waiting() >= b.limits.QueueMessages+s.box.inflight.len():
		return "its queue is full (broker.queue-messages)"
	case s.box.onDisk+size > int64(b.limits.QueueBytes):
		return "its queue is full (broker.queue-bytes)"
	case b.queuedBytes.Load()+size > int64(b.limits.TotalQueueBytes):
		return "the queues of all clients are full (broker.total-queue-bytes)"
	}
	return ""
}

// write appends the message's record, if somebody needs it: its recipients, the retained
// store, or the exchange in which it came. The caller holds Broker.order.
func (b *Broker) write(m *message, r receipt, f *fanout) journal.Position {
	becomes, live := fateNone, len(f.record)
	if m.Retain {
		becomes = b.retain(m)
	}
	if becomes == fateKept {
		live++
	}
	if r.num != 0 {
		live++
	}
	var removed journal.Position
	if becomes == fateRemoved {
		removed = b.removeRetained(m.Topic)
	}
	if live == 0 {
		return removed
	}
	h := messageRecord{stored: time.Now(), retained: becomes == fateKept, receipt: r}
	b.scratch = appendMessage(b.scratch[:0], &h, f.record, m)
	at := b.journal.Append(live, b.scratch)
	if becomes == fateKept {
		b.release(b.retained.set(m.Topic, m.keep(), at))
	}
	if s := b.numbered[r.num]; s != nil {
		s.mu.Lock()
		s.receive(r.id, at)
		s.mu.Unlock()
	}
	return at
}

// retain judges a retained message. The broker's own are not on disk.
func (b *Broker) retain(m *message) fate {
	if strings.HasPrefix(m.Topic, "$SYS/") {
		b.retained.setSystem(m)
		return fateNone
	}
	becomes, refused := b.retained.judge(m)
	if refused {
		b.stats.dropped.Add(1)
	}
	return becomes
}

// removeRetained writes that the topic has no retained message any more. The caller holds Broker.order.
func (b *Broker) removeRetained(topic string) journal.Position {
	h := messageRecord{retained: true}
	b.scratch = appendMessage(b.scratch[:0], &h, nil, &message{Message: Message{Topic: topic}})
	at := b.journal.Append(0, b.scratch)
	b.release(b.retained.set(topic, nil, 0))
	return at
}

// expireRetained removes the retained messages whose time is over.
func (b *Broker) expireRetained(now time.Time) {
	for _, topic := range b.retained.expired(now) {
		b.order.Lock()
		if m := b.retained.get(topic); m != nil && m.expired(now) {
			b.removeRetained(topic)
		}
		b.order.Unlock()
	}
}

func (s *session) receive(id uint16, at journal.Position) {
	if s.received == nil {
		s.received = map[uint16]journal.Position{}
	}
	s.received[id] = at
}

// spillOver writes the copies of connected clients whose sessions end with the connection and
// whose memory is full. The caller holds Broker.order.
func (b *Broker) spillOver(f *fanout) {
	if len(f.spilled) == 0 {
		return
	}
	f.record = f.record[:0]
	n := 0
	for _, c := range f.spilled {
		if b.reserveSpilled(&c, f) {
			f.spilled[n] = c
			n++
		}
	}
	if n == 0 {
		return
	}
	h := messageRecord{stored: time.Now()}
	b.scratch = appendMessage(b.scratch[:0], &h, f.record, f.spilled[0].d.msg)
	at := b.journal.Append(n, b.scratch)
	for i := range f.spilled[:n] {
		b.placeSpilled(f.spilled[i].to.session, f.spilled[i].d.seq, at)
	}
}

// reserveSpilled takes the place in the session's queue, if there is room.
func (b *Broker) reserveSpilled(c *copyFor, f *fanout) bool {
	s := c.to.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return false // the session has ended
	}
	if why := b.noRoom(s, c.d.msg); why != "" {
		b.drop(c.to, c.d.msg, why)
		return false
	}
	s.box.seq++
	c.d.seq = s.box.seq
	f.record = append(f.record, recipient{num: s.num, seq: c.d.seq, qos: c.d.qos, retain: c.d.retain, ids: c.d.ids})
	s.box.keepOnDisk(stored{seq: c.d.seq, qos: c.d.qos, size: uint32(c.d.msg.bytes())})
	b.account(s)
	return true
}

// placeSpilled notes where the message lies. From now on it can be sent.
func (b *Broker) placeSpilled(s *session, seq uint64, at journal.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.box.searchTail(seq)
	if i < 0 {
		b.journal.Release(at) // the session has ended
		return
	}
	s.box.tail.at(i).at = at
	if s.link != nil {
		s.link.startWriter()
	}
}

func (b *Broker) release(at journal.Position) {
	if at != 0 {
		b.journal.Release(at)
	}
}

// account brings the totals over all sessions up to date with one that has changed. The
// caller holds session.mu.
func (b *Broker) account(s *session) {
	box := &s.box
	b.buffered.Add(int64(box.size - box.counted.size))
	b.queuedBytes.Add(box.onDisk - box.counted.onDisk)
	b.queuedMessages.Add(int64(box.tail.len() - box.counted.messages))
	box.counted = counted{box.size, box.onDisk, box.tail.len()}
}

// counted is what the totals hold of a session.
type counted struct {
	size     int
	onDisk   int64
	messages int
}

// expireQueues drops what has waited on disk for longer than it may.
func (b *Broker) expireQueues(now time.Time) {
	b.mu.RLock()
	var offline []*session
	for _, s := range b.sessions {
		if s.conn == nil {
			offline = append(offline, s)
		}
	}
	b.mu.RUnlock()
	for _, s := range offline {
		for b.expireFirst(s, now.Add(-b.limits.QueueAge)) {
		}
	}
}

// expireFirst drops the oldest message that waits for a session without a connection, if it
// was stored before the time.
func (b *Broker) expireFirst(s *session, before time.Time) bool {
	s.mu.Lock()
	if s.link != nil || s.box.tail.len() == 0 {
		s.mu.Unlock()
		return false
	}
	first := *s.box.tail.at(0)
	s.mu.Unlock()
	rec, err := b.journal.Read(first.at)
	if err != nil {
		return false // moved, or told when it is to be sent
	}
	h, m, err := readMessage(rec, func(*recipient) {})
	if err != nil || h.stored.After(before) && !m.expired(time.Now()) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil || s.box.tail.len() == 0 || s.box.tail.at(0).seq != first.seq {
		return false
	}
	dropped := s.box.takeFromDisk()
	b.settle(s, dropped.at, dropped.seq)
	b.account(s)
	if !m.expired(time.Now()) {
		b.drop(&s.subscriber, m, "it has waited longer than broker.queue-age")
	}
	return true
}
