package bus

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	batchMessages = 64
	// zeroWindow is how many messages of QoS 0 may be sent that the broker is not known to have read.
	zeroWindow = 4096
	// strangerPatience is how long the broker may refuse an identity until what it has to say is
	// dropped: its service is gone.
	strangerPatience = 10 * time.Minute
	// hangUpsAllowed is how often the broker may hang up on the same message.
	hangUpsAllowed = 3
)

// serve keeps a lane's connection while there is something to send, until ctx ends.
func (b *Bus) serve(ctx context.Context, l *lane) {
	var pause backoff
	var refusedSince time.Time
	for b.hasWork(ctx, l) {
		err := b.link(ctx, l, &pause)
		b.unlink(l, err)
		if !lost(ctx, err) {
			continue // ctx has ended
		}
		var refused *refusedError
		if !errors.As(err, &refused) {
			refusedSince = time.Time{}
		} else if refusedSince.IsZero() {
			refusedSince = time.Now()
		} else if time.Since(refusedSince) > strangerPatience {
			b.dropAll(l, err.Error())
		}
		b.log.Warn("the link to the broker is lost; what is read waits", "identity", l.as, "error", err)
		if !pause.wait(ctx) {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spill(l)
	if l.unmarked != 0 {
		b.mark(l)
	}
}

// hasWork waits until the lane has something to send; false: ctx has ended.
func (b *Bus) hasWork(ctx context.Context, l *lane) bool {
	for ctx.Err() == nil {
		b.mu.Lock()
		some := len(l.entries) > 0
		b.mu.Unlock()
		if some {
			return true
		}
		select {
		case <-ctx.Done():
		case <-l.kick:
		}
	}
	return false
}

// unlink notes that the connection is gone: what was not taken is sent again over the next one.
func (b *Bus) unlink(l *lane, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.up, l.sent, l.zero, l.pinged, l.barriers = false, 0, 0, 0, nil
	b.spill(l)
	var refused *refusedError
	if !errors.As(err, &refused) || !blamed(refused.code) || len(l.entries) == 0 {
		return
	}
	if l.hangUps++; l.hangUps >= hangUpsAllowed {
		l.hangUps = 0
		b.refuse(l, l.entries[0], spec.Errorf(spec.Invalid, "%w", refused))
	}
}

// blamed reports whether a reason to hang up is what the client sent (MQTT 5.0 clause 3.14.2.1).
func blamed(code byte) bool {
	switch code {
	case packets.DisconnectMalformedPacket, packets.DisconnectProtocolError, packets.DisconnectNotAuthorized,
		packets.DisconnectTopicNameInvalid, packets.DisconnectPacketTooLarge, packets.DisconnectPayloadFormatInvalid,
		packets.DisconnectRetainNotSupported, packets.DisconnectQoSNotSupported:
		return true
	}
	return false
}

func (b *Bus) dropAll(l *lane, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range slices.Clone(l.entries) {
		if !e.done {
			b.drop(l, e, why)
		}
	}
}

// refuse drops a message that the broker does not take. The caller has the lock.
func (b *Bus) refuse(l *lane, e *entry, why error) {
	if e.done {
		return
	}
	b.stats.Refused++
	if e.taken == nil {
		b.log.Warn("the broker refuses a message", "identity", l.as, "error", why)
	}
	b.finish(l, e, why)
}

// link is one connection: a goroutine reads, this one writes.
func (b *Bus) link(ctx context.Context, l *lane, pause *backoff) error {
	w, err := b.login(ctx, l.as, b.o.Client+"/"+l.as, l.session, sessionExpiry)
	if err != nil {
		return err
	}
	pause.next = 0
	b.mu.Lock()
	l.session, l.up = true, true
	if !w.resumed {
		for _, e := range l.inUse {
			e.id = 0
		}
		clear(l.inUse)
		clear(l.releasing)
	}
	release := make([]*packets.ControlPacket, 0, len(l.releasing))
	for id := range l.releasing {
		release = append(release, ack(packets.PUBREL, id))
	}
	b.mu.Unlock()
	reading := make(chan error, 1)
	go func() { reading <- b.hear(w, l) }()
	err = w.send(release...)
	var heard error
	if err == nil {
		heard, err = b.send(ctx, l, w, reading)
	}
	w.leave(nil)
	if heard == nil {
		heard = <-reading
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(heard, err)
}

// send writes what there is, until ctx ends or the link is lost; heard is what ended the reader.
func (b *Bus) send(ctx context.Context, l *lane, w *wire, reading <-chan error) (heard, err error) {
	alive := time.NewTicker(keepAlive / 2)
	defer alive.Stop()
	for {
		batch, ping := b.next(l, w.window)
		out := make([]*packets.ControlPacket, 0, len(batch)+1)
		for _, o := range batch {
			if p := b.packet(l, w, o); p != nil {
				out = append(out, p)
			}
		}
		if ping {
			out = append(out, packets.NewControlPacket(packets.PINGREQ))
		}
		if len(out) > 0 {
			if err := w.send(out...); err != nil {
				return nil, err
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case heard := <-reading:
			return heard, nil
		case <-l.kick:
		case <-alive.C:
			b.mu.Lock()
			l.barriers = append(l.barriers, l.zero)
			l.pinged = l.zero
			b.mu.Unlock()
			if err := w.send(packets.NewControlPacket(packets.PINGREQ)); err != nil {
				return nil, err
			}
		}
	}
}

// outgoing is a message that is to be sent, as it was under the lock.
type outgoing struct {
	e       *entry
	at      journal.Position
	id      uint16
	again   bool
	message *mapper.Message
}

// next takes what may be sent now, and says whether a PINGREQ is to follow.
func (b *Bus) next(l *lane, window int) (batch []outgoing, ping bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(batch) < batchMessages && l.sent < len(l.entries) {
		e := l.entries[l.sent]
		if e.done {
			l.sent++
			continue
		}
		o := outgoing{e: e, at: e.at, message: e.message, again: e.id != 0}
		if e.qos > 0 {
			if !o.again && (len(l.inUse)+len(l.releasing) >= min(window, memoryMessages) || !l.number(e)) {
				break
			}
			o.id = e.id
		} else {
			if l.sent >= zeroWindow {
				break
			}
			l.zero = e.seq
		}
		l.sent++
		batch = append(batch, o)
	}
	if l.zero > l.pinged && len(l.barriers) == 0 {
		l.barriers, l.pinged = append(l.barriers, l.zero), l.zero
		ping = true
	}
	return batch, ping
}

// number gives an entry a packet identifier; false: none is free.
func (l *lane) number(e *entry) bool {
	for range 65535 {
		if l.lastID++; l.lastID == 0 {
			l.lastID = 1
		}
		if l.inUse[l.lastID] == nil && !l.releasing[l.lastID] {
			e.id = l.lastID
			l.inUse[e.id] = e
			return true
		}
	}
	return false
}

// packet makes the PUBLISH; nil where the message cannot be sent.
func (b *Bus) packet(l *lane, w *wire, o outgoing) *packets.ControlPacket {
	m := o.message
	if m == nil {
		read, err := b.fetch(o)
		if err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !o.e.done {
				b.drop(l, o.e, err.Error())
			}
			return nil
		}
		m = &read
	}
	if n := len(m.Topic) + len(m.Payload) + 16; w.largest > 0 && uint32(n) > w.largest {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refuse(l, o.e, spec.Errorf(spec.Invalid, "the message makes a packet of about %d bytes, and the broker takes %d at most", n, w.largest))
		return nil
	}
	p := packets.NewControlPacket(packets.PUBLISH)
	c := p.Content.(*packets.Publish) //nolint:forcetypeassert // NewControlPacket makes it
	c.Topic, c.Payload, c.QoS, c.Retain, c.PacketID, c.Duplicate = m.Topic, m.Payload, m.QoS, m.Retain, o.id, o.again && m.QoS > 0
	return p
}

// fetch reads a message from disk. It may have been moved there since it was looked up.
func (b *Bus) fetch(o outgoing) (mapper.Message, error) {
	record, err := b.journal.Read(o.at)
	if err != nil {
		b.mu.Lock()
		at := o.e.at
		b.mu.Unlock()
		if record, err = b.journal.Read(at); err != nil {
			return mapper.Message{}, err
		}
	}
	s, err := decode(record)
	return s.message, err
}

// hear handles what the broker answers, until the link is lost.
func (b *Bus) hear(w *wire, l *lane) error {
	for {
		p, err := w.receive()
		if err != nil {
			return spec.Errorf(spec.Unavailable, "%w", err)
		}
		switch c := p.Content.(type) {
		case *packets.Puback:
			b.acked(l, c.PacketID, c.ReasonCode, c.Reason(), false)
		case *packets.Pubrec:
			b.acked(l, c.PacketID, c.ReasonCode, c.Reason(), true)
			if c.ReasonCode < 0x80 {
				err = w.send(ack(packets.PUBREL, c.PacketID))
			}
		case *packets.Pubcomp:
			b.mu.Lock()
			delete(l.releasing, c.PacketID)
			b.mu.Unlock()
			signal(l.kick)
		case *packets.Pingresp:
			b.passed(l)
		}
		if err != nil {
			return err
		}
	}
}

// acked ends the wait of one message of QoS 1 or 2.
func (b *Bus) acked(l *lane, id uint16, code byte, why string, release bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := l.inUse[id]
	if release && code < 0x80 {
		l.releasing[id] = true
	}
	signal(l.kick)
	switch {
	case e == nil:
	case code == packets.PubackNotAuthorized:
		b.refuse(l, e, spec.Errorf(spec.Forbidden, "the broker refused: %q may not publish there", l.as))
	case code >= 0x80:
		b.refuse(l, e, spec.Errorf(spec.Invalid, "the broker refused (0x%02x): %s", code, why))
	default:
		b.finish(l, e, nil)
	}
}

// passed handles a PINGRESP: the broker has read all that was sent before its PINGREQ.
func (b *Bus) passed(l *lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(l.barriers) == 0 {
		return
	}
	upTo := l.barriers[0]
	l.barriers = l.barriers[1:]
	var taken []*entry
	for _, e := range l.entries[:l.sent] {
		if e.seq > upTo {
			break
		}
		if e.qos == 0 && !e.done {
			taken = append(taken, e)
		}
	}
	for _, e := range taken {
		b.finish(l, e, nil)
	}
	signal(l.kick)
}
