package broker

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// topicEntry is a topic that the client publishes to, checked.
type topicEntry struct {
	topic   string
	checked *identity // that may write it; another one is checked again
}

// rememberedTopics are how many topics a connection remembers.
const rememberedTopics = 256

// entry returns what is known of a topic. It fails for what is none.
func (c *conn) entry(topic []byte) (*topicEntry, error) {
	if e := c.topics[string(topic)]; e != nil {
		return e, nil
	}
	if err := checkText(topic); err != nil {
		return nil, err
	}
	e := &topicEntry{topic: string(topic)}
	if spec.CheckTopic(e.topic) != nil {
		return nil, packets.ErrTopicNameInvalid
	}
	if c.topics == nil {
		c.topics = map[string]*topicEntry{}
	} else if len(c.topics) >= rememberedTopics {
		clear(c.topics)
	}
	if len(topic) <= maxRememberedTopic {
		c.topics[e.topic] = e
	}
	return e, nil
}

// publish takes a client's message in. It is acknowledged after it was routed, and when it is
// on disk wherever that is promised. A QoS 2 message that was routed is not routed again, even
// if the connection ends before its acknowledgement.
func (c *conn) publish(first byte, body []byte) error {
	p, err := decodePublish(first, body, c.version)
	if err != nil {
		return err
	}
	e, err := c.resolve(&p)
	if err != nil {
		return err
	}
	if p.qos > 0 {
		if again, err := c.admitPublish(c.fanout(), &p); again || err != nil {
			return err
		}
	}
	if (p.qos > 0 || p.retain) && c.mustPark() {
		return c.parkPublish(e, &p)
	}
	m := message{borrowed: true}
	return c.takeIn(c.fanout(), e, &p, &m)
}

// admitPublish holds the client to the Receive Maximum (MQTT 5.0, 3.3.4), and answers a QoS 2
// message that was taken in before.
func (c *conn) admitPublish(f *fanout, p *incoming) (again bool, err error) {
	s := c.session
	s.mu.Lock()
	at, again := s.received[p.id]
	open := c.out.owed + len(s.received)
	s.mu.Unlock()
	switch {
	case p.qos == 2 && again:
		return true, c.acknowledgePublish(f, at, p, packets.CodeSuccess)
	case c.receive > 0 && open >= c.receive:
		return false, packets.ErrReceiveMaximum
	}
	return false, nil
}

// takeIn routes the message and acknowledges it. An error ends the connection.
func (c *conn) takeIn(f *fanout, e *topicEntry, p *incoming, m *message) error {
	s := c.session
	m.Message = Message{Topic: e.topic, Payload: p.payload, QoS: p.qos, Retain: p.retain}
	m.props, m.from = p.props, &s.subscriber
	if p.expires {
		m.expires = time.Now().Add(time.Duration(p.expiry) * time.Second)
	}
	if id := s.identity.Load(); e.checked != id || id == nil {
		if !id.may(spec.Write, e.topic) {
			return c.refusePublish(f, e.topic, p)
		}
		e.checked = id
	}
	var r receipt
	if p.qos == 2 && s.durable {
		r = receipt{s.num, p.id}
	}
	c.b.stats.received.Add(1)
	how := patient
	if p.qos == 0 {
		how = brisk
	}
	at, err := c.b.routeWith(life{c}, f, m, r, how)
	if err != nil && spec.KindOf(err) != spec.Conflict { // in conflict one copy was dropped, and counted; the others have theirs
		return err
	}
	if p.qos == 2 && !s.durable {
		s.mu.Lock()
		s.receive(p.id, at)
		s.mu.Unlock()
	}
	return c.acknowledgePublish(f, at, p, packets.CodeSuccess)
}

// refusePublish answers a message that the policy forbids.
func (c *conn) refusePublish(f *fanout, topic string, p *incoming) error {
	c.b.stats.refused.Add(1)
	if c.session.refused.allow() {
		c.logger().Warn("publish refused: no permission to write the topic", "topic", logged(topic))
	}
	if c.version < 5 && p.qos > 0 {
		return packets.ErrNotAuthorized // MQTT 3 has no negative acknowledgement
	}
	return c.acknowledgePublish(f, 0, p, packets.ErrNotAuthorized)
}

// acknowledgePublish answers a PUBLISH when the journal is on disk up to at.
func (c *conn) acknowledgePublish(f *fanout, at journal.Position, p *incoming, code packets.Code) error {
	switch p.qos {
	case 0:
		return nil
	case 1:
		return c.answer(f, at, packets.Puback, p.id, code)
	default:
		return c.answer(f, at, packets.Pubrec, p.id, code)
	}
}

// answer sends one of the four acknowledgements.
func (c *conn) answer(f *fanout, at journal.Position, kind byte, id uint16, code packets.Code) error {
	if err := c.awaitRoom(f); err != nil {
		return err
	}
	a := answer{at: at, puback: kind == packets.Puback}
	if code.Code >= packets.ErrUnspecifiedError.Code && c.version == 5 && c.problems {
		a.data = ackWithReason(kind, id, code)
		if c.maxPacket > 0 && len(a.data) > c.maxPacket {
			a.data = nil
		}
	}
	if a.data == nil {
		a.small, a.n = ack(c.version, kind, id, code.Code)
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.replyLocked(f, a)
	return nil
}

// ack encodes an acknowledgement (MQTT 5.0, 3.4 to 3.7).
func ack(version, kind byte, id uint16, code byte) (data [5]byte, n uint8) {
	data[0], data[1] = kind<<4, 2
	if kind == packets.Pubrel {
		data[0] |= 2
	}
	binary.BigEndian.PutUint16(data[2:], id)
	if version < 5 || code == 0 {
		return data, 4
	}
	data[1], data[4] = 3, code
	return data, 5
}

const propReasonString = 0x1F

func ackWithReason(kind byte, id uint16, code packets.Code) []byte {
	reason := code.Reason
	props := 3 + len(reason)
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	out := appendVarint([]byte{first}, 3+varintLen(props)+props)
	out = append(binary.BigEndian.AppendUint16(out, id), code.Code)
	return appendString(append(appendVarint(out, props), propReasonString), reason)
}

// maxAliasBytes bounds the topics for which a connection's aliases stand.
const maxAliasBytes = 256 << 10

// resolve finds the topic, by its alias where it has one (MQTT 5.0, 3.3.2.3.4).
func (c *conn) resolve(p *incoming) (*topicEntry, error) {
	if !p.aliased {
		return c.entry(p.topic)
	}
	if p.alias == 0 || p.alias > aliasMaximum {
		return nil, packets.ErrTopicAliasInvalid
	}
	if len(p.topic) == 0 {
		topic, ok := c.aliases[p.alias]
		if !ok {
			return nil, packets.ErrProtocolViolationNoTopic
		}
		return c.entry([]byte(topic))
	}
	e, err := c.entry(p.topic)
	if err != nil {
		return nil, err
	}
	if c.aliases == nil {
		c.aliases = map[uint16]string{}
	}
	c.aliasBytes += len(e.topic) - len(c.aliases[p.alias])
	if c.aliasBytes > maxAliasBytes {
		return nil, packets.ErrQuotaExceeded
	}
	c.aliases[p.alias] = e.topic
	return e, nil
}

// decodeAck decodes PUBACK, PUBREC, PUBREL and PUBCOMP.
func (c *conn) decodeAck(kind byte, body []byte) (id uint16, reason byte, err error) {
	switch {
	case len(body) < 2, c.version < 5 && len(body) > 2:
		return 0, 0, packets.ErrMalformedPacket
	case len(body) > 3: // with properties
		flags := byte(0)
		if kind == packets.Pubrel {
			flags = 2
		}
		if _, err := c.decode(kind<<4|flags, body); err != nil {
			return 0, 0, err
		}
	}
	if len(body) > 2 {
		reason = body[2]
	}
	if !knownReason(kind, reason) {
		return 0, 0, packets.ErrMalformedPacket
	}
	return binary.BigEndian.Uint16(body), reason, nil
}

// knownReason reports whether a client's packet may have the reason code (MQTT 5.0, 3.4.2.1
// to 3.7.2.1, and 3.14.2.1).
func knownReason(kind, reason byte) bool {
	const (
		first  = "\x00\x10\x80\x83\x87\x90\x91\x97\x99"
		second = "\x00\x92"
		last   = "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"
	)
	known := first
	switch kind {
	case packets.Pubrel, packets.Pubcomp:
		known = second
	case packets.Disconnect:
		known = last
	}
	return strings.IndexByte(known, reason) >= 0
}

// acknowledge handles the four packets that move QoS 1 and 2 messages on.
func (c *conn) acknowledge(kind byte, body []byte) error {
	id, reason, err := c.decodeAck(kind, body)
	if err != nil {
		return err
	}
	if id == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	f := c.fanout()
	switch kind {
	case packets.Puback:
		c.complete(f, id, 1)
	case packets.Pubcomp:
		c.complete(f, id, 2)
	case packets.Pubrel:
		return c.release(f, id)
	case packets.Pubrec:
		if reason >= packets.ErrUnspecifiedError.Code {
			c.complete(f, id, 2)
			return nil
		}
		return c.releaseOut(f, id)
	}
	return nil
}

// complete ends an outgoing exchange of the QoS. What waits for the window may go.
func (c *conn) complete(f *fanout, id uint16, qos byte) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.box.find(id)
	if i < 0 || s.box.inflight.at(i).qos != qos || !s.box.inflight.at(i).sent {
		return // the client acknowledges what it was not sent
	}
	o := s.box.land(i)
	s.box.sent--
	c.b.settle(s, o.at, o.seq)
	if c.more() {
		f.touch(c)
	}
}

// releaseOut notes PUBREC: from now on PUBREL is what is repeated, and the message is let go.
// PUBREL goes out when that is on disk: after it the client takes the message for a new one.
func (c *conn) releaseOut(f *fanout, id uint16) error {
	s := c.session
	s.mu.Lock()
	i := s.box.find(id)
	code := packets.ErrPacketIdentifierNotFound
	var at journal.Position
	if i >= 0 && s.box.inflight.at(i).qos == 2 && s.box.inflight.at(i).sent {
		code = packets.CodeSuccess
		o := s.box.inflight.at(i)
		if !o.released && o.at != 0 && s.durable {
			var record [24]byte
			at = c.b.journal.Append(0, appendNumbers(record[:0], recordReleased, uint64(s.num), o.seq))
		}
		o.released, o.msg = true, nil
	}
	s.mu.Unlock()
	return c.answer(f, at, packets.Pubrel, id, code)
}

// release ends an incoming QoS 2 exchange. PUBCOMP goes out when that is on disk: after it the
// client uses the packet id for another message.
func (c *conn) release(f *fanout, id uint16) error {
	s := c.session
	s.mu.Lock()
	held, ok := s.received[id]
	var at journal.Position
	if ok {
		delete(s.received, id)
		if s.durable {
			var record [24]byte
			at = c.b.journal.Append(0, appendNumbers(record[:0], recordForgotten, uint64(s.num), uint64(id)))
			c.b.release(held)
		}
	}
	s.mu.Unlock()
	code := packets.CodeSuccess
	if !ok {
		code = packets.ErrPacketIdentifierNotFound
	}
	return c.answer(f, at, packets.Pubcomp, id, code)
}
