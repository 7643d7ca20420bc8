package broker

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal"
)

// message is one application message on its way through the broker. One that is kept is
// shared by all who get it and never changed.
type message struct {
	Message
	props    []byte      // the properties that go on to subscribers, as MQTT 5 writes them; see properties
	expires  time.Time   // zero: never
	from     *subscriber // the publishing session, for no-local; nil in process
	borrowed bool        // Payload and props are the reader's buffer, valid while it is routed
	kept     *message    // the copy of a borrowed one that outlives the routing
}

// keep returns the message for whoever holds it longer than the routing takes.
func (m *message) keep() *message {
	if !m.borrowed {
		return m
	}
	if m.kept == nil {
		body := make([]byte, len(m.Payload)+len(m.props))
		n := copy(body, m.Payload)
		copy(body[n:], m.props)
		k := &message{Message: m.Message, expires: m.expires, from: m.from}
		k.Payload = body[:n:n]
		if len(m.props) > 0 {
			k.props = body[n:]
		}
		m.kept = k
	}
	return m.kept
}

func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// expiry returns the message expiry interval to send, in seconds, if there is one.
func (m *message) expiry() (seconds uint32, ok bool) {
	if m.expires.IsZero() {
		return 0, false
	}
	return uint32(max(0, time.Until(m.expires).Round(time.Second)/time.Second)), true
}

// messageBytes is what a message costs beside its topic and payload.
const messageBytes = 128

func (m *message) bytes() int { return messageBytes + len(m.Topic) + len(m.Payload) + len(m.props) }

// delivery is one message for one subscriber.
type delivery struct {
	msg     *message
	ids     []int // subscription identifiers
	qos     byte
	retain  bool
	stored  bool      // it was found among the retained messages
	checked *identity // whose permission was checked; another one is checked again

	// of QoS 1 and 2 for a network session
	seq uint64           // ascending per session; what the packet id is made of
	id  uint16           // the packet id; 0: not given yet
	set journal.Position // where it is written that the id is another than seq makes; 0: it is not
	at  journal.Position // where it lies on disk; 0: nowhere
}

// The identifiers of properties in PUBLISH (MQTT 5.0, 2.2.2.2).
const (
	propPayloadFormat   = 0x01
	propExpiry          = 0x02
	propContentType     = 0x03
	propResponseTopic   = 0x08
	propCorrelationData = 0x09
	propSubscriptionID  = 0x0B
	propTopicAlias      = 0x23
	propUser            = 0x26
)

// willProperties writes the properties of a will that go on to subscribers (MQTT 5.0, 3.3.2.3).
func willProperties(p *packets.Properties) []byte {
	var out []byte
	if p.PayloadFormatFlag {
		out = append(out, propPayloadFormat, p.PayloadFormat)
	}
	if p.ContentType != "" {
		out = appendString(append(out, propContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		out = appendString(append(out, propResponseTopic), p.ResponseTopic)
	}
	if len(p.CorrelationData) > 0 {
		out = appendString(append(out, propCorrelationData), p.CorrelationData)
	}
	for _, u := range p.User {
		out = appendString(appendString(append(out, propUser), u.Key), u.Val)
	}
	return out
}

// appendString writes a UTF-8 string or binary data: two bytes of length, then its bytes (MQTT 5.0, 1.5.4, 1.5.6).
func appendString[T ~string | ~[]byte](out []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(out, uint16(len(s))), s...)
}

// appendVarint writes a variable byte integer (MQTT 5.0, 1.5.5).
func appendVarint(out []byte, n int) []byte {
	for n >= 0x80 {
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
	return append(out, byte(n))
}

func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	default:
		return 4
	}
}

// frame is one encoded PUBLISH. Those who get the same message with the same version and
// kind of QoS share it but for the first byte and the packet id.
type frame struct {
	data []byte
	id   int    // where the packet id stands; 0 for QoS 0
	body []byte // a large payload, which follows data: all its receivers share the message's
}

func (f frame) size() int { return len(f.data) + len(f.body) }

// publishFrame is what of a PUBLISH differs between the receivers of one message.
type publishFrame struct {
	version byte
	qos     byte
	topic   string // empty where an alias stands for it
	alias   uint16 // 0: none
	ids     []int
}

// encodePublish encodes a PUBLISH without flags and packet id, which stamp puts in (MQTT 5.0, 3.3).
func encodePublish(out []byte, m *message, f publishFrame) frame {
	props, length := 0, 2+len(f.topic)+len(m.Payload)
	if f.qos > 0 {
		length += 2
	}
	var expiry uint32
	var expires bool
	if f.version == 5 {
		expiry, expires = m.expiry()
		props = f.propertiesLen(m, expires)
		length += varintLen(props) + props
	}
	start := len(out)
	out = appendVarint(append(out, packets.Publish<<4|f.qos<<1), length)
	out = appendString(out, f.topic)
	id := 0
	if f.qos > 0 {
		id = len(out) - start
		out = append(out, 0, 0)
	}
	if f.version == 5 {
		out = f.appendProperties(appendVarint(out, props), m, expiry, expires)
	}
	if len(m.Payload) > writeAhead {
		return frame{out[start:], id, m.keep().Payload}
	}
	return frame{append(out, m.Payload...)[start:], id, nil}
}

func (f *publishFrame) propertiesLen(m *message, expires bool) int {
	n := len(m.props)
	if expires {
		n += 5
	}
	if f.alias > 0 {
		n += 3
	}
	for _, id := range f.ids {
		n += 1 + varintLen(id)
	}
	return n
}

func (f *publishFrame) appendProperties(out []byte, m *message, expiry uint32, expires bool) []byte {
	if expires {
		out = binary.BigEndian.AppendUint32(append(out, propExpiry), expiry)
	}
	if f.alias > 0 {
		out = binary.BigEndian.AppendUint16(append(out, propTopicAlias), f.alias)
	}
	for _, id := range f.ids {
		out = appendVarint(append(out, propSubscriptionID), id)
	}
	return append(out, m.props...)
}

// The flags of PUBLISH's first byte (MQTT 5.0, 3.3.1).
const (
	flagDup    = 1 << 3
	flagRetain = 1
)

// stamp puts flags and packet id into a frame's copy.
func (f frame) stamp(data []byte, d *delivery, dup bool) {
	data[0] = packets.Publish<<4 | d.qos<<1
	if d.retain {
		data[0] |= flagRetain
	}
	if dup {
		data[0] |= flagDup
	}
	if d.qos > 0 {
		binary.BigEndian.PutUint16(data[f.id:], d.id)
	}
}

// packetID makes the packet id of a session's seq-th message. It needs not be remembered: a
// resumed exchange has its id again, also after a crash. Only where the client leaves one
// unacknowledged while 65,535 others pass, the id is another, which is remembered (outbox.assign).
func packetID(seq uint64) uint16 { return uint16((seq-1)%65535) + 1 }

// cursor reads the fields of a packet.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.rest) {
		c.bad = true
		return nil
	}
	v := c.rest[:n]
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if v := c.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (c *cursor) string() []byte { return c.take(int(c.uint16())) }

func (c *cursor) varint() int {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b := c.byte()
		n |= int(b&0x7F) << shift
		if b&0x80 == 0 {
			c.bad = c.bad || b == 0 && shift > 0 // longer than needed [MQTT-1.5.5-1]
			return n
		}
	}
	c.bad = true
	return 0
}

// incoming is a decoded PUBLISH; its fields lie in the reader's buffer.
type incoming struct {
	topic, payload []byte
	id             uint16
	qos            byte
	retain, dup    bool
	props          []byte // those that go on to subscribers
	expiry         uint32
	expires        bool
	alias          uint16
	aliased        bool
}

// decodePublish decodes a PUBLISH (MQTT 5.0, 3.3; 3.1.1, 3.3).
func decodePublish(first byte, body []byte, version byte) (p incoming, err error) {
	p.qos, p.retain, p.dup = first>>1&3, first&flagRetain != 0, first&flagDup != 0
	if p.qos > 2 || p.dup && p.qos == 0 {
		return p, packets.ErrMalformedFlags
	}
	c := cursor{rest: body}
	p.topic = c.string()
	if p.qos > 0 {
		if p.id = c.uint16(); p.id == 0 && !c.bad {
			return p, packets.ErrProtocolViolationNoPacketID
		}
	}
	if version == 5 {
		if err := p.properties(c.take(c.varint())); err != nil {
			return p, err
		}
	}
	if c.bad {
		return p, packets.ErrMalformedPacket
	}
	p.payload = c.rest
	return p, nil
}

// properties takes those apart that end at the broker. What goes on to subscribers is
// left as it is and in its order (MQTT 5.0, 3.3.2.3).
func (p *incoming) properties(all []byte) error {
	c := cursor{rest: all}
	var seen uint64
	var ours bool // a property among them does not go on
	for len(c.rest) > 0 && !c.bad {
		id := c.byte()
		if id != propUser && id < 64 {
			if seen&(1<<id) != 0 {
				return packets.ErrProtocolViolation
			}
			seen |= 1 << id
		}
		stays, err := p.property(id, &c)
		if err != nil {
			return err
		}
		ours = ours || stays
	}
	if c.bad {
		return packets.ErrMalformedPacket
	}
	p.props = all
	if ours {
		p.props = withoutOurs(all)
	}
	return nil
}

// property reads one property; stays reports that it does not go on to subscribers.
func (p *incoming) property(id byte, c *cursor) (stays bool, err error) {
	switch id {
	case propPayloadFormat:
		if c.byte() > 1 {
			return false, packets.ErrProtocolViolation
		}
	case propExpiry:
		p.expiry, p.expires = c.uint32(), true
		return true, nil
	case propContentType:
		return false, checkText(c.string())
	case propResponseTopic:
		topic := c.string()
		if len(topic) == 0 || bytes.ContainsAny(topic, "+#") {
			return false, packets.ErrTopicNameInvalid
		}
		return false, checkText(topic)
	case propCorrelationData:
		c.string()
	case propTopicAlias:
		p.alias, p.aliased = c.uint16(), true
		return true, nil
	case propUser:
		if err := checkText(c.string()); err != nil {
			return false, err
		}
		return false, checkText(c.string())
	case propSubscriptionID:
		return false, packets.ErrProtocolViolationSurplusSubID
	default:
		return false, packets.ErrMalformedPacket
	}
	return false, nil
}

// withoutOurs copies the properties that go on. They have been checked.
func withoutOurs(all []byte) []byte {
	var out []byte
	var none incoming
	for c := (cursor{rest: all}); len(c.rest) > 0; {
		before := c.rest
		stays, err := none.property(c.byte(), &c)
		if err == nil && !stays {
			out = append(out, before[:len(before)-len(c.rest)]...)
		}
	}
	return out
}
