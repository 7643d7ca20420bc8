package broker

import (
	"sync"

	"github.com/millwright/millwright/internal/journal"
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([writeAhead]byte) }}
)

// outgoingBytes is what is encoded for a connection and not written. The session's mu guards it.
type outgoingBytes struct {
	buf     []byte // encoded
	body    []byte // a large payload, shared with the message, that follows buf; nil: none
	after   []byte // what follows body
	answers fifo[answer]
	subacks int  // SUBACKs among the answers, or being made, and the CONNACK: messages wait for them
	owed    int  // PUBACKs among the answers
	dirty   bool // somebody will flush it
	writing bool // somebody writes; buf is what comes after
	closed  bool // nothing is written any more
	broken  bool // a write has failed: what is written would be no packet
	stuck   bool // it had no room for so long that nobody waits for it
	waiting bool // the journal will call Committed

	room    chan struct{} // closed when there is room again; nil while nobody waits
	writer  sync.WaitGroup
	aliases map[string]uint16 // of this connection, for its client
}

// answer is a packet that waits until the journal is on disk up to at.
type answer struct {
	at     journal.Position
	small  [5]byte
	n      uint8 // of small; 0: it is data
	suback bool
	puback bool
	data   []byte
}

// grow makes room for n bytes in buf.
func (o *outgoingBytes) grow(n int) {
	if len(o.buf)+n <= cap(o.buf) {
		return
	}
	var next []byte
	switch need := len(o.buf) + n; {
	case need <= smallBuffer:
		next = smallBuffers.Get().(*[smallBuffer]byte)[:0]
	case need <= writeAhead:
		next = largeBuffers.Get().(*[writeAhead]byte)[:0]
	default:
		next = make([]byte, 0, max(need, 2*cap(o.buf)))
	}
	next = append(next, o.buf...)
	recycle(o.buf)
	o.buf = next
}

func recycle(buf []byte) {
	switch cap(buf) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(buf[:smallBuffer]))
	case writeAhead:
		largeBuffers.Put((*[writeAhead]byte)(buf[:writeAhead]))
	}
}

func (o *outgoingBytes) append(data []byte) []byte {
	if o.body != nil {
		o.after = append(o.after, data...)
		return o.after[len(o.after)-len(data):]
	}
	o.grow(len(data))
	o.buf = append(o.buf, data...)
	return o.buf[len(o.buf)-len(data):]
}

func (o *outgoingBytes) answer(a answer) {
	if a.n > 0 {
		o.append(a.small[:a.n])
		return
	}
	o.append(a.data)
}

// take takes what is written next: buf, or the body after it.
func (o *outgoingBytes) take() []byte {
	o.dirty = false
	buf := o.buf
	if o.buf = nil; len(buf) == 0 {
		buf, o.body, o.buf, o.after = o.body, nil, o.after, nil
	}
	return buf
}

func (o *outgoingBytes) empty() bool { return len(o.buf) == 0 && o.body == nil }

func (o *outgoingBytes) full() bool { return len(o.buf) >= writeAhead || o.body != nil }

// freed tells those who wait for room.
func (o *outgoingBytes) freed() {
	o.stuck = false
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

func (o *outgoingBytes) awaitRoom() <-chan struct{} {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

// encodeDelivery reports false for a packet that is too large for the client (MQTT 5.0, 3.1.2.11.4).
func (c *conn) encodeDelivery(d *delivery, f *fanout, dup bool) bool {
	fr, shared := c.sharedFrame(d, f)
	if !shared {
		p := publishFrame{version: c.version, qos: min(d.qos, 1), topic: d.msg.Topic, ids: d.ids}
		fresh := c.alias(&p)
		fr = encodePublish(nil, d.msg, p)
		if fresh && c.maxPacket > 0 && fr.size() > c.maxPacket {
			delete(c.out.aliases, d.msg.Topic) // the client will not hear of it
		}
	}
	if c.maxPacket > 0 && fr.size() > c.maxPacket {
		return false
	}
	fr.stamp(c.out.append(fr.data), d, dup)
	c.out.body = fr.body
	return true
}

// sharedFrame returns the frame that all who get the message in this form share.
func (c *conn) sharedFrame(d *delivery, f *fanout) (frame, bool) {
	if f == nil || d.ids != nil || c.aliasesOut > 0 {
		return frame{}, false
	}
	return f.frame(d.msg, c.version, d.qos), true
}

// alias lets a number stand for the topic, for clients that take that (MQTT 5.0, 3.3.2.3.4).
// Fresh reports that the number is new to the client.
func (c *conn) alias(p *publishFrame) (fresh bool) {
	if c.aliasesOut == 0 || len(p.topic) > maxAliasBytes/aliasMaximum {
		return false
	}
	n, known := c.out.aliases[p.topic]
	switch {
	case known:
		p.topic, p.alias = "", n
	case len(c.out.aliases) < int(c.aliasesOut):
		if c.out.aliases == nil {
			c.out.aliases = map[string]uint16{}
		}
		p.alias = uint16(len(c.out.aliases) + 1)
		c.out.aliases[p.topic] = p.alias
		return true
	}
	return false
}
