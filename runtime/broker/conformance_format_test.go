package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// mqtt5 holds the tests of MQTT 5.0: the table names its methods.
type mqtt5 struct{}

// textField is a place for a UTF-8 string in a packet.
type textField struct {
	name   string
	packet func(s string) []byte
}

// textFields are those after CONNECT.
func textFields() []textField {
	no := properties()
	return []textField{
		{"topic", func(s string) []byte { return rawPublish(0, s, 0, no, "") }},
		{"topic at QoS 1", func(s string) []byte { return rawPublish(qos1Bits, s, 1, no, "") }},
		{"response topic", func(s string) []byte {
			return rawPublish(0, "a", 0, properties(property(packets.PropResponseTopic, text(s)...)), "")
		}},
		{"content type", func(s string) []byte {
			return rawPublish(0, "a", 0, properties(property(packets.PropContentType, text(s)...)), "")
		}},
		{"property name", func(s string) []byte { return rawPublish(0, "a", 0, properties(userProperty(s, "v")), "") }},
		{"property value", func(s string) []byte { return rawPublish(0, "a", 0, properties(userProperty("k", s)), "") }},
		{"filter", func(s string) []byte { return rawSubscribe(1, no, s, 0) }},
		{"filter to leave", func(s string) []byte { return framed(unsubscribeByte, u16(1), no, text(s)) }},
		{"reason of DISCONNECT", func(s string) []byte {
			return framed(disconnectByte, []byte{0}, properties(property(packets.PropReasonString, text(s)...)))
		}},
		{"reason of PUBREC", func(s string) []byte {
			return framed(pubrecByte, u16(1), []byte{0}, properties(property(packets.PropReasonString, text(s)...)))
		}},
	}
}

// connectTextFields are those in CONNECT.
func connectTextFields() []textField {
	const flags = cleanStart | userFlag | passwordFlag
	will := func(props []byte, topic string) []byte {
		return rawConnect(flags|willFlag, properties(), text("c"), props, text(topic), text("payload"), login("line1"))
	}
	return []textField{
		{"client id", func(s string) []byte { return rawConnect(flags, properties(), text(s), login("line1")) }},
		{"user name", func(s string) []byte { return rawConnect(flags, properties(), text("c"), login(s)) }},
		{"will topic", func(s string) []byte { return will(properties(), s) }},
		{"will content type", func(s string) []byte {
			return will(properties(property(packets.PropContentType, text(s)...)), "w")
		}},
		{"will response topic", func(s string) []byte {
			return will(properties(property(packets.PropResponseTopic, text(s)...)), "w")
		}},
		{"user property", func(s string) []byte {
			return rawConnect(flags, properties(userProperty("k", s)), text("c"), login("line1"))
		}},
	}
}

// illFormed are strings that are no UTF-8: surrogates, overlong, cut off, beyond Unicode.
func illFormed() []string {
	return []string{"\xED\xA0\x80", "a\xED\xBF\xBF", "\xC0\xAF", "\xE2\x82", "\xF4\x90\x80\x80", "\xFF", "\x80"}
}

func (mqtt5) IllFormedUTF8(t *testing.T) {
	p := conforming(t)
	for _, bad := range illFormed() {
		for _, f := range textFields() {
			t.Run(fmt.Sprintf("%s %x", f.name, bad), func(t *testing.T) { p.wantDisconnect(t, f.packet(bad), 0x81) })
		}
		for _, f := range connectTextFields() {
			t.Run(fmt.Sprintf("%s %x", f.name, bad), func(t *testing.T) { p.wantRefused(t, f.packet(bad), 0x81, 0x85) })
		}
	}
}

func (mqtt5) NullCharacter(t *testing.T) {
	p := conforming(t)
	for _, f := range textFields() {
		t.Run(f.name, func(t *testing.T) { p.wantDisconnect(t, f.packet("a\x00b"), 0x81) })
	}
	for _, f := range connectTextFields() {
		t.Run(f.name, func(t *testing.T) { p.wantRefused(t, f.packet("a\x00b"), 0x81, 0x85) })
	}
}

// illFormedField tests one field with each ill-formed string.
func illFormedField(t *testing.T, name string) {
	p := conforming(t)
	for _, bad := range illFormed() {
		for _, f := range textFields() {
			if f.name == name {
				p.wantDisconnect(t, f.packet(bad), 0x81)
			}
		}
		for _, f := range connectTextFields() {
			if f.name == name {
				p.wantRefused(t, f.packet(bad), 0x81, 0x85)
			}
		}
	}
}

func (mqtt5) ClientIDUTF8(t *testing.T)      { illFormedField(t, "client id") }
func (mqtt5) WillTopicUTF8(t *testing.T)     { illFormedField(t, "will topic") }
func (mqtt5) UserNameUTF8(t *testing.T)      { illFormedField(t, "user name") }
func (mqtt5) TopicUTF8(t *testing.T)         { illFormedField(t, "topic") }
func (mqtt5) ResponseTopicUTF8(t *testing.T) { illFormedField(t, "response topic") }
func (mqtt5) ContentTypeUTF8(t *testing.T)   { illFormedField(t, "content type") }
func (mqtt5) FilterUTF8(t *testing.T)        { illFormedField(t, "filter") }
func (mqtt5) UnsubscribeUTF8(t *testing.T)   { illFormedField(t, "filter to leave") }

func (mqtt5) StringPairUTF8(t *testing.T) {
	illFormedField(t, "property name")
	illFormedField(t, "property value")
}

func (mqtt5) ByteOrderMarkKept(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(0, "a", "\uFEFFa", "b\uFEFF")
	w.raw(rawPublish(0, "\uFEFFa", 0, properties(userProperty("\uFEFFk", "v\uFEFF")), "1"))
	pk := w.expectMessage("\uFEFFa", "1")
	if want := []packets.UserProperty{{Key: "\uFEFFk", Val: "v\uFEFF"}}; !slices.Equal(pk.Properties.User, want) {
		t.Errorf("got %q", pk.Properties.User)
	}
	w.ping() // nothing on "a"
	w.publish("b\uFEFF", "2", 0, 0)
	w.expectMessage("b\uFEFF", "2")
}

// The lengths that the broker sends take the fewest bytes, and those that do not are malformed.
func (mqtt5) ShortestLength(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(0, "a")
	for _, size := range []int{0, 1, 120, 123, 124, 125, 200, 16_379, 16_380, 16_381, 20_000, 2_097_150} {
		w.raw(rawPublish(0, "a", 0, properties(), strings.Repeat("x", size)))
		if r := w.expectRaw(publishByte); len(r.body) != size+4 || len(r.length) != len(variable(size+4)) {
			t.Errorf("payload of %d: a remaining length of %d in %d bytes", size, len(r.body), len(r.length))
		}
	}
	for _, data := range [][]byte{
		{pingreqByte, 0x80, 0},
		{publishByte, 0x84, 0, 0, 1, 'a', 0},
		{publishByte, 0x84, 0x80, 0, 0, 1, 'a', 0},
		framed(publishByte, text("a"), []byte{0x80, 0}),                               // property length
		framed(subscribeByte, u16(1), []byte{3, 0x0B, 0x81, 0}, text("a"), []byte{0}), // subscription identifier
		{publishByte, 0x80, 0x80, 0x80, 0x80, 0x01},                                   // five bytes
	} {
		p.wantDisconnect(t, data, 0x81)
	}
	tooLong := framed(subscribeByte, u16(1), []byte{6, 0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, text("a"), []byte{0})
	p.wantDisconnect(t, tooLong, 0x81, 0x82)
}

// What is reserved in the first byte of a packet has the value listed, both ways.
func (mqtt5) ReservedFlags(t *testing.T) {
	p := conforming(t)
	for _, whole := range [][]byte{
		framed(pubackByte, u16(1)), framed(pubrecByte, u16(1)), framed(pubrelByte, u16(1)), framed(pubcompByte, u16(1)),
		rawSubscribe(1, properties(), "a", 0), framed(unsubscribeByte, u16(1), properties(), text("a")),
		framed(pingreqByte), framed(disconnectByte),
	} {
		for flags := range byte(16) {
			if flags == whole[0]&0x0F {
				continue
			}
			data := slices.Clone(whole)
			data[0] = data[0]&0xF0 | flags
			p.wantDisconnect(t, data, 0x81)
		}
	}
	for flags := range byte(15) {
		data := rawConnect(cleanStart|userFlag|passwordFlag, properties(), text("c"), login("line1"))
		data[0] |= flags + 1
		p.wantRefused(t, data, 0x81)
	}
	w := p.dial(t)
	w.send(connectPacket("line1", "c"))
	w.expectRaw(connackByte)
	w.raw(rawSubscribe(1, properties(), "a", 2))
	w.expectRaw(subackByte)
	w.raw(rawPublish(qos1Bits, "b", 1, properties(), ""))
	w.expectRaw(pubackByte)
	w.raw(rawPublish(qos2Bits, "a", 2, properties(), ""))
	got := map[byte]bool{}
	for range 2 { // the message itself may overtake the answer
		r, err := w.next()
		if err != nil {
			t.Fatal(err)
		}
		got[r.first] = true
	}
	if !got[pubrecByte] || !got[publishByte|qos2Bits] {
		t.Errorf("first bytes %v", got)
	}
	w.ack(packets.Pubrel, 2)
	w.expectRaw(pubcompByte)
	w.ack(packets.Pubrec, 1)
	w.expectRaw(pubrelByte)
	w.raw(framed(unsubscribeByte, u16(3), properties(), text("a")))
	w.expectRaw(unsubackByte)
	w.raw([]byte{pingreqByte, 0})
	w.expectRaw(pingrespByte)
	w.raw([]byte{0, 0})
	w.expectRaw(disconnectByte)
}

func (mqtt5) NoPacketIDAtQoS0(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(2, "a")
	w.raw(rawPublish(0, "a", 0, properties(), "xy"))
	wantBytes(t, "PUBLISH", w.expectRaw(publishByte).body, joined(text("a"), properties(), []byte("xy")))
}

func (mqtt5) PacketIDZero(t *testing.T) {
	p := conforming(t)
	for _, data := range [][]byte{
		rawPublish(qos1Bits, "a", 0, properties(), "x"), rawPublish(qos2Bits, "a", 0, properties(), "x"),
		rawSubscribe(0, properties(), "a", 0), framed(unsubscribeByte, u16(0), properties(), text("a")),
	} {
		p.wantDisconnect(t, data, 0x81, 0x82)
	}
}

// Ids are not zero and not in use, also after they have gone round.
func (mqtt5) ServerPacketIDs(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(2, "a")
	p.publish(t, "line2", Message{Topic: "a", QoS: 1})
	p.publish(t, "line2", Message{Topic: "a", QoS: 2})
	one, two := w.expect(packets.Publish).PacketID, w.expect(packets.Publish).PacketID
	w.ack(packets.Pubrec, two)
	w.expect(packets.Pubrel)
	if one == 0 || two == 0 || one == two {
		t.Fatalf("ids %d and %d", one, two)
	}
	const batch, rounds = 200, 1<<16/200 + 2
	for range rounds {
		var acks []byte
		for range batch {
			p.publish(t, "line2", Message{Topic: "a", QoS: 1})
		}
		for range batch {
			r := w.expectRaw(publishByte | qos1Bits)
			id := r.body[3:5]
			if n := uint16(id[0])<<8 | uint16(id[1]); n == 0 || n == one || n == two {
				t.Fatalf("id %d is in use", n)
			}
			acks = append(acks, framed(pubackByte, id)...)
		}
		w.raw(acks)
	}
}

func (mqtt5) AnswersHavePacketID(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for _, id := range []uint16{1, 2, 255, 256, 0x1234, 65535} {
		w.raw(rawPublish(qos1Bits, "a", id, properties(), ""))
		wantBytes(t, "PUBACK", w.expectRaw(pubackByte).body[:2], u16(id))
		w.raw(rawPublish(qos2Bits, "a", id, properties(), ""))
		wantBytes(t, "PUBREC", w.expectRaw(pubrecByte).body[:2], u16(id))
		w.ack(packets.Pubrel, id)
		wantBytes(t, "PUBCOMP", w.expectRaw(pubcompByte).body[:2], u16(id))
	}
	w.subscribe(2, "b")
	p.publish(t, "line2", Message{Topic: "b", QoS: 2})
	id := w.expect(packets.Publish).PacketID
	w.ack(packets.Pubrec, id)
	wantBytes(t, "PUBREL", w.expectRaw(pubrelByte).body[:2], u16(id))
}

func (mqtt5) SubackHasPacketID(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for _, id := range []uint16{1, 2, 255, 256, 65535} {
		w.raw(rawSubscribe(id, properties(), "a", 0))
		wantBytes(t, "SUBACK", w.expectRaw(subackByte).body[:2], u16(id))
		w.raw(framed(unsubscribeByte, u16(id), properties(), text("a")))
		wantBytes(t, "UNSUBACK", w.expectRaw(unsubackByte).body[:2], u16(id))
	}
}

// A packet without properties says so with a property length of zero.
func (mqtt5) NoProperties(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.raw(rawSubscribe(5, properties(), "a", 0))
	wantBytes(t, "SUBACK", w.expectRaw(subackByte).body, []byte{0, 5, 0, 0})
	w.raw(rawPublish(0, "a", 0, properties(), "x"))
	wantBytes(t, "PUBLISH", w.expectRaw(publishByte).body, []byte{0, 1, 'a', 0, 'x'})
	w.raw(framed(unsubscribeByte, u16(6), properties(), text("a")))
	wantBytes(t, "UNSUBACK", w.expectRaw(unsubackByte).body, []byte{0, 6, 0, 0})
	p.wantDisconnect(t, framed(publishByte, text("a")), 0x81)
	p.wantDisconnect(t, framed(subscribeByte, u16(1)), 0x81)
	p.wantDisconnect(t, framed(unsubscribeByte, u16(1)), 0x81)
	p.wantRefused(t, framed(connectByte, text("MQTT"), []byte{5, cleanStart}, u16(60)), 0x81)
}
