package broker

import (
	"errors"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// load reads messages from disk and puts them where fill finds them.
func (c *conn) load(wanted []stored) error {
	loaded, err := c.readDeliveries(wanted)
	if err != nil {
		return err
	}
	c.place(loaded)
	return nil
}

// readDeliveries reads the first of the messages, as many as may be in memory, one at least. The
// next fill asks again for the others, and for what a compaction has moved meanwhile. One that is
// damaged has no msg.
func (c *conn) readDeliveries(wanted []stored) ([]delivery, error) {
	s := c.session
	loaded := make([]delivery, 0, len(wanted))
	size := 0
	for _, w := range wanted {
		d, err := c.b.readDelivery(w.at, s.num)
		switch {
		case err == nil:
			size += d.msg.bytes()
		case s.moved(w):
			return loaded, nil
		case !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, errRecord) && spec.KindOf(err) != spec.NotFound:
			return nil, err // the disk fails for now: the client comes again
		default:
			c.logger().Error("a queued message is damaged: it is dropped", "error", err)
			c.b.stats.dropped.Add(1)
			s.lost.Add(1)
		}
		d.seq = w.seq
		if loaded = append(loaded, d); size >= bufferBytes {
			break
		}
	}
	return loaded, nil
}

// place puts messages that were read where fill finds them.
func (c *conn) place(loaded []delivery) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	defer c.b.account(s)
	for _, d := range loaded {
		if i := s.box.search(d.seq); i >= 0 {
			o := s.box.inflight.at(i)
			o.msg, o.ids, o.retain = d.msg, d.ids, d.retain
			if d.msg == nil {
				c.b.settle(s, o.at, o.seq)
				s.box.land(i)
			}
			continue
		}
		if s.box.tail.len() == 0 || s.box.tail.at(0).seq != d.seq {
			continue
		}
		w := s.box.takeFromDisk()
		d.at, d.qos = w.at, w.qos
		if d.msg == nil {
			c.b.settle(s, d.at, d.seq)
			continue
		}
		s.box.keep(d)
	}
}

// moved reports whether a compaction has put a message elsewhere.
func (s *session) moved(w stored) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.box.place(w.seq)
	return place == nil || *place != w.at
}

// readDelivery reads a message that waits for the session numbered num.
func (b *Broker) readDelivery(at journal.Position, num uint32) (delivery, error) {
	rec, err := b.journal.Read(at)
	if err != nil {
		return delivery{}, err
	}
	if len(rec) == 0 || rec[0] != recordMessage {
		return delivery{}, errRecord
	}
	var d delivery
	_, m, err := readMessage(rec, func(r *recipient) {
		if r.num == num {
			d.ids, d.qos, d.retain = r.ids, r.qos, r.retain
		}
	})
	if err != nil {
		return delivery{}, errors.Join(errRecord, err)
	}
	d.msg = m
	return d, nil
}

// settle notes that a message needs no delivery to the session any more.
func (b *Broker) settle(s *session, at journal.Position, seq uint64) {
	if at == 0 {
		return
	}
	if s.durable {
		var record [24]byte
		b.journal.Append(0, appendNumbers(record[:0], recordDone, uint64(s.num), seq))
	}
	b.journal.Release(at)
}
