package broker

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func (mqtt311) IllFormedUTF8(t *testing.T) {
	p := conforming(t)
	for _, bad := range append(illFormed(), "a\x00b") {
		p.closes3(t, framed(publishByte, text(bad), []byte("x")))
		p.closes3(t, framed(subscribeByte, u16(1), text(bad), []byte{0}))
		p.closes3(t, framed(unsubscribeByte, u16(1), text(bad)))
		p.refuses3(t, rawConnect3("MQTT", 4, cleanStart|willFlag|userFlag|passwordFlag, text("c"), text(bad), text(""), login("line1")), none)
		p.refuses3(t, rawConnect3("MQTT", 4, cleanStart|userFlag|passwordFlag, text("c"), text(bad), text("x")), none)
	}
}

func (mqtt311) Flags(t *testing.T) {
	p := conforming(t)
	for _, whole := range [][]byte{
		framed(pubackByte, u16(1)), framed(pubrelByte, u16(1)), framed(pubcompByte, u16(1)), framed(pingreqByte), framed(disconnectByte),
		framed(subscribeByte, u16(1), text("a"), []byte{0}), framed(unsubscribeByte, u16(1), text("a")),
	} {
		for flags := range byte(16) {
			if flags != whole[0]&0x0F {
				p.closes3(t, append([]byte{whole[0]&0xF0 | flags}, whole[1:]...))
			}
		}
	}
	for _, bits := range []byte{qos1Bits | qos2Bits, dupBit} {
		p.closes3(t, framed(publishByte|bits, text("a"), u16(1), []byte("x")))
	}
}

// A level that is not there is refused with 1, a name without a word or with 1.
func (mqtt311) Level(t *testing.T) {
	p := conforming(t)
	for _, level := range []byte{0, 1, 2, 6, 0x7F, 0x84} {
		w := p.dial(t)
		w.raw(rawConnect3("MQTT", level, cleanStart|userFlag|passwordFlag, text("c"), login("line1")))
		r, err := w.next()
		if err == nil && (r.first != connackByte || r.body[0] != 0 || r.body[1] != 1 && r.body[1] != 0x84) {
			t.Errorf("level %d: %#x % x", level, r.first, r.body)
		}
	}
	p.refuses3(t, rawConnect3("MQTT", 3, cleanStart|userFlag|passwordFlag, text("c"), login("line1")), 1)
	p.refuses3(t, rawConnect3("MQIsdp", 4, cleanStart|userFlag|passwordFlag, text("c"), login("line1")), 1)
}

// Without clean session the session lasts, with its subscriptions and what came meanwhile.
func (mqtt311) Lasting(t *testing.T) {
	p := conforming(t)
	w, present := p.older(t, 4, "line1", "c", false)
	if present {
		t.Error("a new session is present")
	}
	w.subscribe(2, "a")
	for round := range 3 {
		p.leave(t, w)
		for qos := range byte(3) {
			p.publish(t, "line2", Message{Topic: "a", Payload: fmt.Append(nil, round, qos), QoS: qos})
		}
		if w, present = p.older(t, 4, "line1", "c", false); !present {
			t.Error("the session is not present")
		}
		w.acknowledgeAll(w.expectMessage("a", fmt.Sprint(round, 1)))
		w.acknowledgeAll(w.expectMessage("a", fmt.Sprint(round, 2)))
		w.raw([]byte{pingreqByte, 0})
		if pk := w.expect(packets.Pingresp); pk.FixedHeader.Type != packets.Pingresp {
			t.Error("a QoS 0 message was kept")
		}
		if round == 1 { // DISCONNECT does not end it either
			w.raw([]byte{disconnectByte, 0})
			w.expectEnd()
		}
	}
}

// A clean session ends what was, and ends itself with its connection.
func (mqtt311) Clean(t *testing.T) {
	p := conforming(t)
	w, _ := p.older(t, 4, "line1", "c", false)
	w.subscribe(1, "a")
	p.leave(t, w)
	w, present := p.older(t, 4, "line1", "c", true)
	if present {
		t.Error("session present")
	}
	p.publish(t, "line2", Message{Topic: "a", QoS: 1})
	w.ping()
	w.subscribe(1, "a")
	p.leave(t, w)
	if _, present = p.older(t, 4, "line1", "c", false); present {
		t.Error("a clean session outlived its connection")
	}
	if n := p.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

func (mqtt311) RetainedOutlivesSession(t *testing.T) {
	p := conforming(t)
	w, _ := p.older(t, 4, "line1", "c", true)
	w.raw(framed(publishByte|retainBit|qos1Bits, text("a"), u16(1), []byte("kept")))
	w.expect(packets.Puback)
	p.leave(t, w)
	p.wantRetained(t, "a", "kept")
}

func (mqtt311) PasswordWithoutUser(t *testing.T) {
	p := anyone(t)
	p.refuses3(t, rawConnect3("MQTT", 4, cleanStart|passwordFlag, text("c"), text("pw-line1")), none)
}

// Client ids: empty with a clean session is one of its own, without it is refused with 2.
func (mqtt311) EmptyClientID(t *testing.T) {
	p := conforming(t)
	one, _ := p.older(t, 4, "line1", "", true)
	two, _ := p.older(t, 4, "line1", "", true)
	one.ping()
	two.ping()
}

func (mqtt311) EmptyClientIDNotClean(t *testing.T) {
	p := conforming(t)
	p.refuses3(t, rawConnect3("MQTT", 4, userFlag|passwordFlag, text(""), login("line1")), 2)
}

// A CONNECT that is none is not answered: cut anywhere, or with something too much.
func (mqtt311) NotConforming(t *testing.T) {
	p := anyone(t)
	full := joined(text("MQTT"), []byte{4, cleanStart | willFlag | userFlag | passwordFlag}, u16(60), text("c"), text("will"), text("payload"), login("line1"))
	for n := 7; n < len(full); n++ { // from the level on
		p.refuses3(t, framed(connectByte, full[:n]), none)
	}
	p.refuses3(t, framed(connectByte, full, []byte{0}), none)
	for _, flags := range []byte{reservedFlag, willQoS1, willQoS2, willRetain, willFlag | willQoS1 | willQoS2} {
		payload := joined(text("c"), login("line1"))
		if flags&willFlag != 0 {
			payload = joined(text("c"), text("will"), text("payload"), login("line1"))
		}
		p.refuses3(t, rawConnect3("MQTT", 4, cleanStart|userFlag|passwordFlag|flags, payload), none)
	}
}

func (mqtt311) TakenOver(t *testing.T) {
	p := conforming(t)
	first, _ := p.older(t, 4, "line1", "c", true)
	second, _ := p.older(t, 4, "line1", "c", true)
	if e := first.ending(nil); e.disconnect != none {
		t.Errorf("DISCONNECT %#x", e.disconnect)
	}
	second.ping()
}

func (mqtt311) NothingAfterRefusal(t *testing.T) {
	p := conforming(t)
	w := p.dial(t)
	w.version = 4
	w.raw(joined(rawConnect3("MQTT", 4, cleanStart|userFlag|passwordFlag, text("c"), text("line1"), text("wrong")),
		framed(publishByte|retainBit, text("a"), []byte("x"))))
	if ack := w.expectRaw(connackByte); !bytes.Equal(ack.body, []byte{0, 5}) && !bytes.Equal(ack.body, []byte{0, 4}) {
		t.Errorf("CONNACK % x", ack.body)
	}
	w.expectEnd()
	p.wantRetained(t, "#")
}

// The codes of CONNACK are those of 3.1.1.
func (mqtt311) Refusals(t *testing.T) {
	p := start(t, Limits{Sessions: 1}, identityOf("line1", "rw #"))
	const flags = cleanStart | userFlag | passwordFlag
	p.refuses3(t, rawConnect3("MQTT", 4, flags, text("c"), text("line1"), text("wrong")), 5)
	p.refuses3(t, rawConnect3("MQTT", 4, flags, text("c"), text("nobody"), text("x")), 5)
	p.refuses3(t, rawConnect3("MQTT", 4, cleanStart, text("c")), 5)
	p.older(t, 4, "line1", "first", true)
	p.refuses3(t, rawConnect3("MQTT", 4, flags, text("second"), login("line1")), 3)
}

// RETAIN is set for what a new subscription gets, and for nothing else.
func (mqtt311) RetainFlag(t *testing.T) {
	p := conforming(t)
	live, _ := p.older(t, 4, "line1", "live", true)
	live.subscribe(0, "a")
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("kept"), Retain: true})
	if pk := live.expectMessage("a", "kept"); pk.FixedHeader.Retain {
		t.Error("RETAIN on an established subscription")
	}
	late, _ := p.older(t, 4, "line1", "late", true)
	for range 2 { // each SUBSCRIBE gets them, also of the same filter
		late.subscribe(0, "a")
		if pk := late.expectMessage("a", "kept"); !pk.FixedHeader.Retain {
			t.Error("no RETAIN on a new subscription")
		}
	}
	late.ping()
}

// A PUBLISH that is not permitted is acknowledged as any other, or ends the connection.
func (mqtt311) Unauthorised(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw a"), identityOf("line2", "rw #"))
	got := p.collect(t, "line2", "#")
	for qos := byte(1); qos <= 2; qos++ {
		w, _ := p.older(t, 4, "line1", "c", true)
		w.publish("b", "x", qos, 5)
		if r, err := w.next(); err == nil && (len(r.body) != 2 || r.first != map[byte]byte{1: pubackByte, 2: pubrecByte}[qos]) {
			t.Errorf("QoS %d: packet %#x % x", qos, r.first, r.body)
		}
		w.nc.Close()
	}
	p.nothingMore(t, "line2", "a", got)
}

func (mqtt311) SubscribeMalformed(t *testing.T) {
	p := conforming(t)
	p.closes3(t, framed(subscribeByte, u16(1)))
	for _, qos := range []byte{3, 4, 8, 0x10, 0x40, 0x80, 0xFF} {
		p.closes3(t, framed(subscribeByte, u16(1), text("a"), []byte{qos}))
	}
	p.closes3(t, framed(subscribeByte, u16(1), text("a")))
	p.closes3(t, framed(subscribeByte, u16(0), text("a"), []byte{0}))
	p.closes3(t, framed(unsubscribeByte, u16(1)))
	p.closes3(t, framed(unsubscribeByte, u16(0), text("a")))
}

// SUBACK has the granted QoS or 0x80, in the order of the filters, and nothing else.
func (mqtt311) SubackCodes(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw ok/#"))
	for _, level := range []byte{3, 4} {
		w, _ := p.older(t, level, "line1", "c", true)
		w.raw(framed(subscribeByte, u16(9), text("ok/0"), []byte{0}, text("no"), []byte{1}, text("ok/1"), []byte{1}, text("ok/#/x"), []byte{1}, text("ok/2"), []byte{2}, text(""), []byte{0}))
		wantBytes(t, "SUBACK", w.expectRaw(subackByte).body, []byte{0, 9, 0, 0x80, 1, 0x80, 2, 0x80})
		w.raw(framed(unsubscribeByte, u16(10), text("ok/0"), text("never")))
		wantBytes(t, "UNSUBACK", w.expectRaw(unsubackByte).body, []byte{0, 10})
		w.publish("ok/1", "x", 2, 3)
		got := []received{w.mustNext(), w.mustNext()}
		slices.SortFunc(got, func(a, b received) int { return int(a.first) - int(b.first) })
		wantBytes(t, "PUBLISH", got[0].body[:6], joined(text("ok/1")))
		wantBytes(t, "PUBREC", got[1].body, []byte{0, 3})
		w.ack(packets.Pubrel, 3)
		wantBytes(t, "PUBCOMP", w.expectRaw(pubcompByte).body, []byte{0, 3})
	}
}

func (w *wire) mustNext() received {
	w.t.Helper()
	r, err := w.next()
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// DISCONNECT ends the connection and discards the will; anything else publishes it.
func (mqtt311) Will(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "will")
	for _, ends := range []struct {
		data []byte
		will bool
	}{{[]byte{disconnectByte, 0}, false}, {[]byte{disconnectByte | 1, 0}, true}, {[]byte{0, 0}, true}, {nil, true}} {
		w := p.dial(t)
		w.version = 4
		w.raw(rawConnect3("MQTT", 4, cleanStart|willFlag|userFlag|passwordFlag, text("c"), text("will"), text("gone"), login("line1")))
		w.expectRaw(connackByte)
		if ends.data == nil {
			w.nc.Close()
		} else {
			w.raw(ends.data)
			w.expectEnd()
		}
		if ends.will {
			if m := next(t, got); string(m.Payload) != "gone" {
				t.Errorf("got %+v", m)
			}
		}
	}
	p.awaitClients(t, 0)
	p.nothingMore(t, "line2", "will", got)
}

// What is not acknowledged comes again, with DUP and the same id, and no property anywhere.
func (mqtt311) Resend(t *testing.T) {
	for _, level := range []byte{3, 4} {
		p := conforming(t)
		w, _ := p.older(t, level, "line1", "c", false)
		w.subscribe(2, "a")
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("1"), QoS: 1})
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("2"), QoS: 2})
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("3"), QoS: 2})
		first := []received{w.expectRaw(publishByte | qos1Bits), w.expectRaw(publishByte | qos2Bits), w.expectRaw(publishByte | qos2Bits)}
		w.raw(framed(pubrecByte, first[1].body[3:5]))
		rel := w.expectRaw(pubrelByte)
		p.leave(t, w)
		w, _ = p.older(t, level, "line1", "c", false)
		wantBytes(t, "PUBLISH 1", w.expectRaw(publishByte|qos1Bits|dupBit).body, first[0].body)
		wantBytes(t, "PUBREL 2", w.expectRaw(pubrelByte).body, rel.body)
		wantBytes(t, "PUBLISH 3", w.expectRaw(publishByte|qos2Bits|dupBit).body, first[2].body)
		wantBytes(t, "payload", first[0].body[5:], []byte("1"))
	}
}

// What is against the protocol closes the connection.
func (mqtt311) ViolationsClose(t *testing.T) {
	p := conforming(t)
	for _, data := range [][]byte{
		{0, 0},
		framed(connackByte, []byte{0, 0}), framed(subackByte, u16(1), []byte{0}), framed(pingrespByte),
		{authByte, 0},
		framed(pingreqByte, []byte{0}),
		rawConnect3("MQTT", 4, cleanStart|userFlag|passwordFlag, text("violator"), login("line1")),
		framed(publishByte, text("#"), []byte("x")), framed(publishByte, text(""), []byte("x")), framed(publishByte|qos1Bits, text("a"), u16(0), []byte("x")),
		framed(pubackByte, u16(1), []byte{0}), framed(pubrelByte, u16(1), []byte{0, 0}), framed(disconnectByte, []byte{0}), framed(pubackByte, []byte{1}),
		{publishByte, 0x80, 0x80, 0x80, 0x80, 1},
	} {
		p.closes3(t, data)
	}
}

// MQTT 3.1: its name and level, and ids that 3.1.1 would take as well.
func (mqtt311) MQIsdp(t *testing.T) {
	p := conforming(t)
	w, present := p.older(t, 3, "line1", "c", false)
	w.subscribe(2, "a")
	p.leave(t, w)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: 2})
	w, again := p.older(t, 3, "line1", "c", false)
	if present || again {
		t.Error("a CONNACK of MQTT 3.1 has no session present")
	}
	w.acknowledgeAll(w.expectMessage("a", "x"))
	w, _ = p.older(t, 3, "line1", strings.Repeat("x", 23), true)
	w.ping()
}

func (mqtt311) MQIsdpEmptyClientID(t *testing.T) {
	p := conforming(t)
	for _, flags := range []byte{userFlag | passwordFlag, cleanStart | userFlag | passwordFlag} {
		p.refuses3(t, rawConnect3("MQIsdp", 3, flags, text(""), login("line1")), 2)
	}
}

func (mqtt311) MQIsdpRefusals(t *testing.T) {
	p := conforming(t)
	for _, login := range [][]byte{joined(text("line1"), text("wrong")), joined(text("nobody"), text("x"))} {
		p.refuses3(t, rawConnect3("MQIsdp", 3, cleanStart|userFlag|passwordFlag, text("c"), login), 5)
	}
}

// Silence of one and a half keep-alives closes, without DISCONNECT.
func (mqtt311) KeepAlive(t *testing.T) {
	inBubble(t, func(b *bubble) {
		w := b.l.dial(b.t)
		w.version = 4
		w.raw(framed(connectByte, text("MQTT"), []byte{4, member}, u16(10), text("c"), login("line1")))
		w.expectRaw(connackByte)
		if r, err := w.next(); err == nil {
			b.t.Errorf("packet %#x", r.first)
		}
	})
}
