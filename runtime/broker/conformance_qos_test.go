package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The first PUBLISH of a message has its QoS, no DUP, and from QoS 1 an id that is free.
func (mqtt5) FirstSend(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(2, "a")
	used := map[uint16]bool{}
	for i := range 60 {
		qos := byte(i % 3)
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: qos})
		r := w.expectRaw(publishByte | qos<<1)
		if qos == 0 {
			continue
		}
		id := uint16(r.body[3])<<8 | uint16(r.body[4])
		if id == 0 || used[id] {
			t.Fatalf("id %d after %v", id, used)
		}
		used[id] = true
	}
}

// A QoS 1 message counts as not acknowledged until PUBACK, and then no longer.
func (mqtt5) UnacknowledgedQoS1(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(1, "a")
	for i := range 3 {
		p.publish(t, "line2", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 1})
	}
	ids := []uint16{w.expectMessage("a", "0").PacketID, w.expectMessage("a", "1").PacketID, w.expectMessage("a", "2").PacketID}
	w.ack(packets.Puback, ids[1])
	w.ping()
	p.leave(t, w)
	w, _ = p.join(t, "c", lasting)
	for _, i := range []int{0, 2} {
		pk := w.expectMessage("a", fmt.Sprint(i))
		if pk.PacketID != ids[i] || !pk.FixedHeader.Dup {
			t.Errorf("id %d, want %d; DUP %v", pk.PacketID, ids[i], pk.FixedHeader.Dup)
		}
		w.ack(packets.Puback, pk.PacketID)
	}
	w.ping()
	p.leave(t, w)
	w, _ = p.join(t, "c", lasting)
	w.ping()
}

// After PUBACK the same id is a new message, with and without DUP.
func (mqtt5) QoS1IDAgain(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "a")
	w := p.connect(t, "line1", "c")
	for i, bits := range []byte{0, dupBit, 0, dupBit} {
		w.raw(rawPublish(qos1Bits|bits, "a", 7, properties(), fmt.Sprint(i)))
		if ack := w.expect(packets.Puback); ack.PacketID != 7 || ack.ReasonCode >= 0x80 {
			t.Errorf("PUBACK %d %#x", ack.PacketID, ack.ReasonCode)
		}
		if m := next(t, got); string(m.Payload) != fmt.Sprint(i) {
			t.Errorf("got %q, want %d", m.Payload, i)
		}
	}
}

// Each PUBLISH gets the answer of its QoS, and none at QoS 0; who acknowledges owns the message.
func (mqtt5) PublishAnswered(t *testing.T) {
	p := conforming(t)
	away, _ := p.join(t, "away", lasting)
	away.subscribe(2, "a")
	p.leave(t, away)
	w := p.connect(t, "line1", "c")
	w.publish("a", "0", 0, 0)
	w.ping()
	w.publish("a", "1", 1, 1)
	w.expect(packets.Puback)
	w.publish("a", "2", 2, 2)
	w.expect(packets.Pubrec)
	p.leave(t, w)
	away, _ = p.join(t, "away", lasting)
	away.expectMessage("a", "1")
	away.expectMessage("a", "2")
	away.ping()
}

// A QoS 2 message goes PUBLISH until PUBREC, then PUBREL until PUBCOMP, never back, over reconnects.
func (mqtt5) QoS2Sender(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(2, "a")
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: 2})
	id := w.expectMessage("a", "x").PacketID
	again := func() {
		t.Helper()
		p.leave(t, w)
		w, _ = p.join(t, "c", lasting)
	}
	for range 3 {
		again()
		if pk := w.expectMessage("a", "x"); pk.PacketID != id || !pk.FixedHeader.Dup {
			t.Fatalf("id %d, DUP %v", pk.PacketID, pk.FixedHeader.Dup)
		}
	}
	for range 2 { // a repeated PUBREC is answered again
		w.ack(packets.Pubrec, id)
		if rel := w.expect(packets.Pubrel); rel.PacketID != id || rel.ReasonCode != 0 {
			t.Fatalf("PUBREL %d %#x", rel.PacketID, rel.ReasonCode)
		}
	}
	for range 3 {
		again()
		if rel := w.expect(packets.Pubrel); rel.PacketID != id {
			t.Fatalf("PUBREL %d", rel.PacketID)
		}
		w.ping() // and no PUBLISH
	}
	w.ack(packets.Pubcomp, id)
	w.ping()
	again()
	w.ping()
}

// PUBACK and PUBREC of 0x80 and above end a message: no PUBREL, nothing again, nobody else.
func (mqtt5) NegativeAck(t *testing.T) {
	p := conforming(t)
	for qos := byte(1); qos <= 2; qos++ {
		for _, code := range []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99} {
			w, _ := p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Properties.ReceiveMaximum = 1 })
			w.subscribe(qos, "a")
			p.publish(t, "line2", Message{Topic: "a", Payload: []byte("bad"), QoS: qos})
			p.publish(t, "line2", Message{Topic: "a", Payload: []byte("next"), QoS: qos})
			id := w.expectMessage("a", "bad").PacketID
			first := byte(pubackByte)
			if qos == 2 {
				first = pubrecByte
			}
			w.raw(framed(first, u16(id), []byte{code}, properties()))
			pk := w.expectMessage("a", "next") // the window is open again, and no PUBREL came
			p.leave(t, w)
			w, _ = p.join(t, "c", lasting)
			w.acknowledgeAll(w.expectMessage("a", "next"))
			if pk.FixedHeader.Dup {
				t.Error("DUP")
			}
			w.ping()
			p.leave(t, w)
		}
	}
}

// Until PUBREL an id is the same message, also on the next connection; after PUBCOMP a new one.
func (mqtt5) QoS2Receiver(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "a")
	w, _ := p.join(t, "c", lasting)
	for round := range 3 {
		want := fmt.Sprint(round)
		for try := range 4 {
			bits := byte(qos2Bits)
			if try > 0 {
				bits |= dupBit
			}
			if try == 2 {
				p.leave(t, w)
				w, _ = p.join(t, "c", lasting)
			}
			w.raw(rawPublish(bits, "a", 7, properties(), want))
			if rec := w.expect(packets.Pubrec); rec.PacketID != 7 || rec.ReasonCode >= 0x80 {
				t.Errorf("PUBREC %d %#x", rec.PacketID, rec.ReasonCode)
			}
		}
		w.ack(packets.Pubrel, 7)
		if comp := w.expect(packets.Pubcomp); comp.PacketID != 7 || comp.ReasonCode != 0 {
			t.Errorf("PUBCOMP %d %#x", comp.PacketID, comp.ReasonCode)
		}
		if m := next(t, got); string(m.Payload) != want {
			t.Errorf("got %q, want %q", m.Payload, want)
		}
	}
	p.nothingMore(t, "line2", "a", got)
}

// What is not acknowledged is sent again on the next connection of the session: in its order,
// with its ids, before anything new; and on no other.
func (mqtt5) Resend(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(2, "a", "b")
	var ids []uint16
	for i := range 20 {
		p.publish(t, "line2", Message{Topic: []string{"a", "b"}[i/2%2], Payload: fmt.Append(nil, i), QoS: byte(i%2) + 1})
		pk := w.expect(packets.Publish)
		ids = append(ids, pk.PacketID)
	}
	for range 2 {
		p.leave(t, w)
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("new"), QoS: 1})
		w, _ = p.join(t, "c", lasting)
		for i := range 20 {
			pk := w.expectMessage([]string{"a", "b"}[i/2%2], fmt.Sprint(i))
			if pk.PacketID != ids[i] || !pk.FixedHeader.Dup {
				t.Errorf("message %d: id %d, want %d; DUP %v", i, pk.PacketID, ids[i], pk.FixedHeader.Dup)
			}
		}
		w.acknowledgeAll(w.expectMessage("a", "new"))
	}
	p.leave(t, w)
	w, ack := p.join(t, "c", nil) // a clean start
	if ack.SessionPresent {
		t.Error("session present")
	}
	w.ping()
}

// A message is added to the session of every client that has a subscription for it.
func (mqtt5) AddedToSessions(t *testing.T) {
	p := conforming(t)
	var clients []string
	for i, filter := range []string{"a/b", "a/+", "#", "+/+/#", "other"} {
		client := fmt.Sprint("c", i)
		w, _ := p.join(t, client, lasting)
		w.subscribe(2, filter)
		p.leave(t, w)
		clients = append(clients, client)
	}
	w := p.connect(t, "line1", "pub")
	w.publishAll("a/b", "1", 1, 1)
	w.publishAll("a/b", "2", 2, 1)
	for i, client := range clients {
		w, _ := p.join(t, client, lasting)
		if i < 4 {
			w.acknowledgeAll(w.expectMessage("a/b", "1"))
			w.acknowledgeAll(w.expectMessage("a/b", "2"))
		}
		w.ping()
	}
}
