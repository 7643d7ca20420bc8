package broker

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// subscribe handles SUBSCRIBE: each filter is granted or refused by itself (MQTT 5.0, 3.8).
// SUBACK goes out before the retained messages, and when the subscriptions are on disk.
func (c *conn) subscribe(pk packets.Packet) error {
	if err := checkSubscribe(&pk); err != nil {
		return err
	}
	f := c.fanout()
	if err := c.awaitRoom(f); err != nil {
		return err
	}
	c.hold()
	defer c.unhold(f)
	codes := make([]byte, len(pk.Filters))
	var at journal.Position
	for i, filter := range pk.Filters {
		code, place := c.subscribeOne(f, filter, pk.Properties.SubscriptionIdentifier)
		at = max(at, place)
		if c.version < 5 && code > packets.CodeGrantedQos2.Code {
			code = packets.ErrUnspecifiedError.Code // the only refusal that MQTT 3 knows
		}
		codes[i] = code
	}
	data, err := c.encode(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID, ReasonCodes: codes,
	})
	if err != nil {
		return err
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.replyLocked(f, answer{at: at, data: data, suback: true})
	return nil
}

// checkSubscribe refuses what ends the connection, before any of it is granted.
func checkSubscribe(pk *packets.Packet) error {
	ids := pk.Properties.SubscriptionIdentifier
	switch {
	case pk.PacketID == 0:
		return packets.ErrProtocolViolationNoPacketID
	case len(pk.Filters) == 0:
		return packets.ErrProtocolViolationNoFilters
	case len(ids) > 1 || len(ids) == 1 && ids[0] == 0:
		return packets.ErrProtocolViolation
	}
	for _, f := range pk.Filters {
		if f.Qos > 2 || f.RetainHandling > retainNever {
			return packets.ErrProtocolViolation
		}
		if s, err := parseFilter(f.Filter); err == nil && s.group != "" && f.NoLocal {
			return packets.ErrProtocolViolationInvalidSharedNoLocal
		}
	}
	return nil
}

// hold keeps messages back while the SUBACK for them is made.
func (c *conn) hold() {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.out.subacks++
}

func (c *conn) unhold(f *fanout) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.out.subacks--
	if c.more() {
		f.touch(c)
	}
}

// The values of retain handling (MQTT 5.0, 3.8.3.1).
const (
	retainIfNew = 1
	retainNever = 2
)

// subscribeOne returns the reason code, and where the subscription lies on disk.
func (c *conn) subscribeOne(f *fanout, asked packets.Subscription, ids []int) (byte, journal.Position) {
	s, err := parseFilter(asked.Filter)
	if err != nil {
		return packets.ErrTopicFilterInvalid.Code, 0
	}
	if len(ids) == 1 {
		s.id = ids[0]
	}
	s.qos, s.noLocal, s.retainAsPublished, s.retainHandling = asked.Qos, asked.NoLocal, asked.RetainAsPublished, asked.RetainHandling
	s.owner = &c.session.subscriber
	code, at := c.request(s, f)
	if code.Code > packets.CodeGrantedQos2.Code && c.session.refused.allow() {
		c.logger().Warn("subscription refused", "filter", logged(asked.Filter), "reason", code.Reason)
	}
	return code.Code, at
}

// request grants or refuses one filter.
func (c *conn) request(s *subscription, f *fanout) (packets.Code, journal.Position) {
	b, to := c.b, c.session
	if !to.identity.Load().maySubscribe(s.filter) {
		b.stats.refused.Add(1)
		return packets.ErrNotAuthorized, 0
	}
	former, mark, at, ok := b.grant(to, s)
	if !ok {
		b.stats.refused.Add(1)
		return packets.ErrQuotaExceeded, 0
	}
	if s.retainHandling == retainNever || s.retainHandling == retainIfNew && former != nil || s.group != "" {
		return packets.QosCodes[s.qos], at
	}
	return packets.QosCodes[s.qos], max(at, c.deliverRetained(s, mark, f))
}

// grant puts the subscription in force, in place of a former one, unless that is more than a
// client may have. What is retained after the mark comes as a live message.
func (b *Broker) grant(to *session, s *subscription) (former *subscription, mark uint64, at journal.Position, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	former = to.subscriptions.get(s.name())
	if former == nil && (to.subscriptions.len() >= b.limits.Subscriptions ||
		to.filterBytes+s.bytes() > b.limits.SubscriptionBytes || b.filterBytes+s.bytes() > b.limits.TotalSubscriptionBytes) || b.burdened(to) {
		return nil, 0, 0, false
	}
	if former == nil {
		to.filterBytes += s.bytes()
		b.filterBytes += s.bytes()
	}
	to.subscriptions.put(s)
	b.subscribe(s)
	return former, b.retained.mark(), b.saveSubscription(to, s, former), true
}

// bytes is what a subscription costs, about.
func (s *subscription) bytes() int { return 400 + len(s.filter) + len(s.group) }

// retainedChunk is how many retained messages are handed out before others have their turn.
const retainedChunk = 256

// deliverRetained hands the session the retained messages that match. It returns the
// position up to which the journal must be on disk before the client is told: a durable
// session must not lose those of QoS 1 and 2. While the disk takes none they wait, as the
// SUBACK does, until the connection ends.
func (c *conn) deliverRetained(s *subscription, mark uint64, f *fanout) (at journal.Position) {
	found := c.b.retained.match(s.filter, mark)
	for len(found) > 0 {
		if c.session.durable && c.b.journal.Room(life{c}) != nil {
			return at
		}
		n := min(len(found), retainedChunk)
		at = max(at, c.b.deliverChunk(c.session, s, found[:n], f))
		found = found[n:]
	}
	return at
}

// deliverChunk hands out what is still retained; what has been replaced since it was found
// has come, or comes, as a live message.
func (b *Broker) deliverChunk(to *session, s *subscription, found []*message, f *fanout) (at journal.Position) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.order.Lock()
	defer b.order.Unlock()
	id := to.identity.Load()
	for _, m := range found {
		if !b.retained.current(m) || !id.may(spec.Read, m.Topic) {
			continue
		}
		d := delivery{msg: m, qos: min(m.QoS, s.qos), retain: true, stored: true, checked: id}
		if s.id != 0 {
			d.ids = []int{s.id}
		}
		f.begin()
		f.copies = append(f.copies, copyFor{to: &to.subscriber, d: d})
		at = max(at, b.deliverKept(to, m, f))
	}
	return at
}

// deliverKept hands out one retained message. The caller holds Broker.order.
func (b *Broker) deliverKept(to *session, m *message, f *fanout) (at journal.Position) {
	if d := &f.copies[0].d; d.qos > 0 && to.durable {
		own := *m
		own.Retain = false // it is kept already
		d.msg, d.stored = &own, false
		at = b.offerOrdered(&own, receipt{}, f)
	} else {
		b.handCopies(f)
	}
	for i := range f.blocked {
		b.deliverLast(&f.blocked[i], f)
	}
	return at
}

// burdened reports whether more waits for the session than retained messages may be: it has
// subscribed to them again and again.
func (b *Broker) burdened(to *session) bool {
	to.mu.Lock()
	defer to.mu.Unlock()
	return to.box.buffer.len() > b.limits.RetainedMessages || b.buffered.Load() > int64(b.limits.TotalBufferBytes)
}

// saveSubscription writes a durable session's subscription in place of a former one.
func (b *Broker) saveSubscription(to *session, s, former *subscription) journal.Position {
	if !to.durable {
		return 0
	}
	b.order.Lock()
	defer b.order.Unlock()
	b.scratch = appendSubscription(b.scratch[:0], to.num, s)
	s.record = b.journal.Append(1, b.scratch)
	if former != nil {
		b.release(former.record)
	}
	return s.record
}

// unsubscribe handles UNSUBSCRIBE (MQTT 5.0, 3.10).
func (c *conn) unsubscribe(pk packets.Packet) error {
	if pk.PacketID == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	if len(pk.Filters) == 0 {
		return packets.ErrProtocolViolationNoFilters
	}
	codes := make([]byte, len(pk.Filters))
	var at journal.Position
	for i, f := range pk.Filters {
		code, place := c.b.unsubscribeSession(c.session, f.Filter)
		codes[i], at = code.Code, max(at, place)
	}
	data, err := c.encode(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: pk.PacketID, ReasonCodes: codes,
	})
	if err != nil {
		return err
	}
	return c.reply(c.fanout(), at, data)
}

func (b *Broker) unsubscribeSession(to *session, filter string) (packets.Code, journal.Position) {
	if _, err := parseFilter(filter); err != nil {
		return packets.ErrTopicFilterInvalid, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := to.subscriptions.get(filter)
	if s == nil {
		return packets.CodeNoSubscriptionExisted, 0
	}
	to.subscriptions.remove(filter)
	to.filterBytes -= s.bytes()
	b.filterBytes -= s.bytes()
	b.unsubscribe(s)
	if !to.durable {
		return packets.CodeSuccess, 0
	}
	b.order.Lock()
	defer b.order.Unlock()
	b.scratch = appendUnsubscription(b.scratch[:0], to.num, filter)
	at := b.journal.Append(0, b.scratch)
	b.release(s.record)
	return packets.CodeSuccess, at
}
