package broker

import "github.com/millwright/millwright/internal/journal"

// move writes anew what of a record is still needed, for the journal, which then removes the
// segment in which it stands.
func (b *Broker) move(at journal.Position, rec []byte) {
	if len(rec) == 0 {
		return
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.order.Lock()
	defer b.order.Unlock()
	var err error
	switch rec[0] {
	case recordMessage:
		err = b.moveMessage(at, rec)
	case recordSession:
		err = b.moveSession(at, rec)
	case recordSubscribe:
		err = b.moveSubscription(at, rec)
	}
	if err != nil {
		b.log.Error("a record of the broker's journal cannot be understood: it is left out", "position", at, "error", err)
	}
}

func (b *Broker) moveSession(at journal.Position, rec []byte) error {
	r, err := readSession(rec)
	if s := b.numbered[r.num]; err == nil && s != nil && s.record == at {
		s.record = b.journal.Append(1, rec)
		b.journal.Release(at)
	}
	return err
}

func (b *Broker) moveSubscription(at journal.Position, rec []byte) error {
	num, sub, err := readSubscription(rec)
	if err != nil {
		return err
	}
	s := b.numbered[num]
	if s == nil {
		return nil
	}
	if sub = b.subscriptionAt(s, sub, at); sub != nil {
		sub.record = b.journal.Append(1, rec)
		b.journal.Release(at)
	}
	return nil
}

// subscriptionAt finds the session's subscription with that filter, if it lies there.
func (b *Broker) subscriptionAt(s *session, like *subscription, at journal.Position) *subscription {
	if sub := s.subscriptions.get(like.name()); sub != nil && sub.record == at {
		return sub
	}
	return nil
}

// moveMessage writes the message anew with those who still wait for it.
func (b *Broker) moveMessage(at journal.Position, rec []byte) error {
	var record []recipient
	h, m, err := readMessage(rec, func(r *recipient) {
		if b.waitsAt(r, at) {
			record = append(record, *r)
		}
	})
	if err != nil {
		return err
	}
	live := len(record)
	if h.retained = h.retained && len(m.Payload) > 0 && b.retained.at(m.Topic) == at; h.retained {
		live++
	}
	holder := b.numbered[h.receipt.num]
	if holder == nil || !holder.holds(h.receipt.id, at) {
		h.receipt = receipt{}
	} else {
		live++
	}
	if live == 0 {
		return nil
	}
	b.scratch = appendMessage(b.scratch[:0], &h, record, m)
	to := b.journal.Append(live, b.scratch)
	for i := range record {
		b.replace(&record[i], at, to)
	}
	if h.retained {
		b.retained.moved(m.Topic, at, to)
		b.journal.Release(at)
	}
	if h.receipt.num != 0 {
		b.replaceReceipt(holder, h.receipt.id, at, to)
	}
	return nil
}

// replaceReceipt notes the new place of a QoS 2 exchange. If PUBREL has come meanwhile, that
// is said again, after the new place.
func (b *Broker) replaceReceipt(s *session, id uint16, from, to journal.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received[id] == from {
		s.received[id] = to
		b.journal.Release(from)
		return
	}
	b.journal.Release(to)
	var record [24]byte
	b.journal.Append(0, appendNumbers(record[:0], recordForgotten, uint64(s.num), uint64(id)))
}

func (s *session) holds(id uint16, at journal.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received[id] == at
}

// waitsAt reports whether the message at the position waits for the recipient.
func (b *Broker) waitsAt(r *recipient, at journal.Position) bool {
	s := b.numbered[r.num]
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.box.place(r.seq)
	return place != nil && *place == at
}

// replace notes the new place of a recipient's message. What was said of it since it was
// first written is said again, after the new place.
func (b *Broker) replace(r *recipient, from, to journal.Position) {
	s := b.numbered[r.num]
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.box.place(r.seq)
	if place == nil || *place != from {
		b.settle(s, to, r.seq)
		return
	}
	*place = to
	b.journal.Release(from)
	i := s.box.search(r.seq)
	if i < 0 {
		return
	}
	var record [32]byte
	if s.box.inflight.at(i).released {
		b.journal.Append(0, appendNumbers(record[:0], recordReleased, uint64(s.num), r.seq))
	}
	if id := s.box.inflight.at(i).id; id != packetID(r.seq) {
		b.journal.Append(0, appendNumbers(record[:0], recordID, uint64(s.num), r.seq, uint64(id)))
	}
}
