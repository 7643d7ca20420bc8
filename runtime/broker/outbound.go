package broker

import (
	"bytes"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// writeAhead is how much is encoded before it is written in one call.
const writeAhead = 32 << 10

// encodeNext encodes what the reader has answered, then messages.
func (c *conn) encodeNext(buf *bytes.Buffer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pk := range c.answers {
		if err := c.encode(buf, pk); err != nil {
			return err
		}
	}
	if len(c.answers) > 0 {
		c.answers = nil
		select {
		case c.drained <- struct{}{}:
		default:
		}
	}
	return c.encodeMessages(buf)
}

// encodeMessages takes messages as far as the buffer and the client's window go: first what
// an earlier connection left unacknowledged, then the queue, in order.
func (c *conn) encodeMessages(buf *bytes.Buffer) error {
	if again, err := c.encodeAgain(buf); again || err != nil {
		return err
	}
	s := c.session
	for buf.Len() < writeAhead {
		if len(s.backlog) == 0 {
			n := s.queue.pop(s.batch[:])
			if n == 0 {
				return nil
			}
			s.backlog = s.batch[:n]
		}
		d := s.backlog[0]
		if s.deliverable(&d) {
			if d.qos > 0 && !s.windowOpen(c.window) {
				return nil
			}
			if err := c.encodeDelivery(buf, d); err != nil {
				return err
			}
		}
		s.backlog[0] = delivery{}
		s.backlog = s.backlog[1:]
	}
	return nil
}

// encodeAgain repeats the unacknowledged messages of an earlier connection, in their order.
// Again reports that some remain, for which the window has no room.
func (c *conn) encodeAgain(buf *bytes.Buffer) (again bool, err error) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window == len(s.inflight) {
		return false, nil
	}
	for _, o := range s.inflight {
		if o.sent {
			continue
		}
		if s.window >= c.window {
			return true, nil
		}
		o.sent = true
		s.window++
		if err := c.encodeOutgoing(buf, o); err != nil {
			return true, err
		}
	}
	return false, nil
}

func (c *conn) encodeOutgoing(buf *bytes.Buffer, o *outgoing) error {
	if o.released {
		return c.encode(buf, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: o.id})
	}
	return c.encode(buf, publishPacket(&o.delivery, o.id, o.dup))
}

// encodeDelivery sends a message for the first time.
func (c *conn) encodeDelivery(buf *bytes.Buffer, d delivery) error {
	var id uint16
	if d.qos > 0 {
		id = c.session.nextID()
	}
	before := buf.Len()
	if err := c.encode(buf, publishPacket(&d, id, false)); err != nil {
		return err
	}
	if c.maxPacket > 0 && buf.Len()-before > int(c.maxPacket) {
		buf.Truncate(before)
		c.b.drop(&c.session.subscriber, d.msg, "the client takes no packet so large")
		return nil
	}
	if d.qos > 0 {
		c.session.add(&outgoing{delivery: d, id: id, sent: true})
	}
	c.b.stats.sent.Add(1)
	return nil
}

func publishPacket(d *delivery, id uint16, dup bool) packets.Packet {
	m := d.msg
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: d.qos, Retain: d.retain, Dup: dup},
		TopicName:   m.Topic, Payload: m.Payload, PacketID: id,
	}
	if m.props != nil {
		pk.Properties = *m.props
	}
	if !m.expires.IsZero() {
		pk.Properties.MessageExpiryInterval = uint32(max(1, time.Until(m.expires).Round(time.Second)/time.Second))
	}
	pk.Properties.SubscriptionIdentifier = d.ids
	return pk
}

// windowOpen reports whether one more QoS 1 or 2 message may go out unacknowledged.
func (s *session) windowOpen(window int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window < window
}

// nextID returns a packet id that is not in flight. There is one: the window is smaller.
func (s *session) nextID() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.lastID++
		if s.lastID != 0 && s.find(s.lastID) < 0 {
			return s.lastID
		}
	}
}

func (s *session) add(o *outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight = append(s.inflight, o)
	s.window++
}

// find returns the place in inflight, -1 for none. The caller holds s.mu.
func (s *session) find(id uint16) int {
	for i, o := range s.inflight {
		if o.id == id {
			return i
		}
	}
	return -1
}

// complete ends an outgoing exchange of the QoS.
func (s *session) complete(id uint16, qos byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(id)
	if i < 0 || s.inflight[i].qos != qos || !s.inflight[i].sent {
		return // the client acknowledges what it was not sent
	}
	s.window--
	s.inflight = append(s.inflight[:i], s.inflight[i+1:]...)
}

// releaseOut notes PUBREC: from now on PUBREL is what is repeated, and the message is let go.
func (s *session) releaseOut(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(id)
	if i < 0 || s.inflight[i].qos != 2 {
		return false
	}
	o := s.inflight[i]
	o.released = true
	o.msg = nil
	return true
}
