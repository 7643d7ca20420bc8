package broker

import (
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Whatever comes with CONNECT in one write, CONNACK is the first answer, and the only one.
func (mqtt5) ConnackFirst(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(1, "a")
	p.leave(t, w)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("waits"), QoS: 1})
	w = p.dial(t)
	w.raw(joined(
		rawConnect(userFlag|passwordFlag, properties(property(packets.PropSessionExpiryInterval, u32(9)...)), text("c"), login("line1")),
		rawPublish(qos1Bits, "b", 1, properties(), ""), framed(pingreqByte),
	))
	if ack := w.expect(packets.Connack); ack.ReasonCode != 0 || !ack.SessionPresent {
		t.Fatalf("CONNACK %#x, session present %v", ack.ReasonCode, ack.SessionPresent)
	}
	want := map[byte]bool{packets.Publish: true, packets.Puback: true, packets.Pingresp: true}
	for range 3 {
		pk, err := w.receive()
		if err != nil || !want[pk.FixedHeader.Type] {
			t.Fatalf("got %s, %v", packets.PacketNames[pk.FixedHeader.Type], err)
		}
		delete(want, pk.FixedHeader.Type)
	}
}

func (mqtt5) OneConnack(t *testing.T) {
	p := conforming(t)
	connect := rawConnect(member, properties(), text("c"), login("line1"))
	w := p.wantAccepted(t, connect)
	w.raw(connect)
	if e := w.ending(connect); e.connack != none || e.disconnect != 0x82 {
		t.Errorf("CONNACK %#x, DISCONNECT %#x", e.connack, e.disconnect)
	}
}

func (mqtt5) ConnackFlags(t *testing.T) {
	p := conforming(t)
	for _, want := range []byte{0, 1} {
		w := p.dial(t)
		w.raw(rawConnect(userFlag|passwordFlag, properties(property(packets.PropSessionExpiryInterval, u32(9)...)), text("c"), login("line1")))
		if got := w.expectRaw(connackByte).body[0]; got != want {
			t.Errorf("flags %#x, want %#x", got, want)
		}
	}
	w := p.dial(t)
	w.raw(rawConnect(userFlag, properties(), text("c"), text("line1")))
	if body := w.expectRaw(connackByte).body; body[0] != 0 || body[1] == 0 {
		t.Errorf("refused with % x", body)
	}
}

// Refusals never say that a session is present.
func (mqtt5) RefusedWithoutSession(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(1, "a")
	for _, change := range []func(*packets.Packet){
		func(pk *packets.Packet) { pk.Connect.Password = []byte("wrong") },
		func(pk *packets.Packet) { pk.Properties.AuthenticationMethod = "X" },
	} {
		other := p.dial(t)
		pk := connectPacket("line1", "c")
		lasting(&pk)
		change(&pk)
		other.send(pk)
		if ack := other.expect(packets.Connack); ack.ReasonCode < 0x80 || ack.SessionPresent {
			t.Errorf("CONNACK %#x, session present %v", ack.ReasonCode, ack.SessionPresent)
		}
		if e := other.ending(nil); e.disconnect != none {
			t.Errorf("DISCONNECT %#x after the refusal", e.disconnect)
		}
	}
	w.ping() // who is refused takes nobody's session
}

// connackCodes are the Connect Reason Codes (MQTT 5.0, 3.2.2.2).
const connackCodes = "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8C\x90\x95\x97\x99\x9A\x9B\x9C\x9D\x9F"

func (mqtt5) ConnackCodes(t *testing.T) {
	p := start(t, Limits{Sessions: 1}, identityOf("line1", "rw #"))
	p.join(t, "first", nil)
	for name, data := range map[string][]byte{
		"password": rawConnect(member, properties(), text("c"), text("line1"), text("x")),
		"method":   rawConnect(member, properties(property(packets.PropAuthenticationMethod, text("X")...)), text("c"), login("line1")),
		"version":  framed(connectByte, text("MQTT"), []byte{9, member}, u16(60), properties(), text("c"), login("line1")),
		"will":     rawConnect(member|willFlag, properties(), text("c"), properties(), text("a/#"), text(""), login("line1")),
		"reserved": rawConnect(member|reservedFlag, properties(), text("c"), login("line1")),
		"quota":    rawConnect(member, properties(), text("c"), login("line1")),
	} {
		w := p.dial(t)
		if e := w.violate(data); e.connack != none && (e.connack < 0x80 || !strings.ContainsRune(latin1(connackCodes), rune(e.connack))) {
			t.Errorf("%s: CONNACK %#x", name, e.connack)
		}
	}
}

// latin1 makes a rune of each byte.
func latin1(s string) string {
	var out strings.Builder
	for _, b := range []byte(s) {
		out.WriteRune(rune(b))
	}
	return out.String()
}

// All of MQTT is there, so that nothing is announced as missing.
func (mqtt5) NothingIsMissing(t *testing.T) {
	p := conforming(t)
	w := p.dial(t)
	pk := connectPacket("line1", "c")
	willOf("will", "x", 2, true)(&pk)
	w.send(pk)
	ack := w.expect(packets.Connack).Properties
	switch {
	case ack.MaximumQosFlag && ack.MaximumQos < 2:
		t.Errorf("maximum QoS %d", ack.MaximumQos)
	case ack.RetainAvailableFlag && ack.RetainAvailable == 0:
		t.Error("no retained messages")
	case ack.WildcardSubAvailableFlag && ack.WildcardSubAvailable == 0:
		t.Error("no wildcards")
	case ack.SubIDAvailableFlag && ack.SubIDAvailable == 0:
		t.Error("no subscription identifiers")
	case ack.SharedSubAvailableFlag && ack.SharedSubAvailable == 0:
		t.Error("no shared subscriptions")
	}
	for i, filter := range []string{"a/+", "a/#", "$share/g/a"} {
		if code := w.subscribeWith(i+1, packets.Subscription{Filter: filter, Qos: 2}); code != 2 {
			t.Errorf("%s: %#x", filter, code)
		}
	}
	w.raw(rawPublish(qos2Bits|retainBit, "b", 1, properties(), "x"))
	if rec := w.expect(packets.Pubrec); rec.ReasonCode >= 0x80 {
		t.Errorf("PUBREC %#x", rec.ReasonCode)
	}
}

// A packet larger than the broker announced is not taken in, one as large is.
func (mqtt5) ClientPacketTooLarge(t *testing.T) {
	p := start(t, Limits{PacketBytes: 1000}, identityOf("line1", "rw #"))
	w, ack := p.join(t, "c", nil)
	limit := int(ack.Properties.MaximumPacketSize)
	if limit == 0 {
		t.Fatal("no maximum packet size is announced")
	}
	const around = 1 + 2 + 3 + 1 // first byte, length, topic, property length
	whole := rawPublish(0, "a", 0, properties(), strings.Repeat("x", limit-around))
	if len(whole) != limit {
		t.Fatalf("packet of %d bytes", len(whole))
	}
	w.raw(whole)
	w.ping()
	p.wantDisconnect(t, rawPublish(0, "a", 0, properties(), strings.Repeat("x", limit-around+1)), 0x95)
}

// No Reason String or User Property takes an answer past what the client takes.
func (mqtt5) ConnackFits(t *testing.T) {
	p := conforming(t)
	for _, limit := range []uint32{5, 6, 8, 10, 16, 20, 24, 30, 40} {
		for _, password := range []string{"pw-line1", "wrong"} {
			w := p.dial(t)
			w.raw(rawConnect(member, properties(property(packets.PropMaximumPacketSize, u32(limit)...)), text("c"), text("line1"), text(password)))
			r, err := w.next()
			if err == nil && (r.first != connackByte || r.size() > int(limit)) {
				t.Errorf("limit %d: a packet %#x of %d bytes", limit, r.first, r.size())
			}
		}
	}
}

// What the broker announces as keep-alive, or else what the client asked for, is in force.
func (mqtt5) KeepAliveTaken(t *testing.T) {
	keepAlive(t, 20)
	keepAlive(t, 3)
}

func (mqtt5) NoResponseInformation(t *testing.T) {
	p := conforming(t)
	for _, props := range [][]byte{properties(), properties(property(packets.PropRequestResponseInfo, 0))} {
		w := p.dial(t)
		w.raw(rawConnect(member, props, text("c"), login("line1")))
		if ack := w.expect(packets.Connack); ack.Properties.ResponseInfo != "" {
			t.Errorf("response information %q", ack.Properties.ResponseInfo)
		}
	}
}

// The broker has no enhanced authentication: it refuses every method and never speaks of one.
func (mqtt5) AuthMethodRefused(t *testing.T) {
	p := conforming(t)
	for _, method := range []string{"SCRAM-SHA-1", "", "plain"} {
		props := properties(property(packets.PropAuthenticationMethod, text(method)...), property(packets.PropAuthenticationData, text("x")...))
		p.wantRefused(t, rawConnect(member, props, text("c"), login("line1")), 0x8C, 0x87)
	}
}

func (mqtt5) NoAuthUnasked(t *testing.T) {
	p := conforming(t)
	w, ack := p.join(t, "c", nil)
	if ack.Properties.AuthenticationMethod != "" || ack.Properties.AuthenticationData != nil {
		t.Errorf("CONNACK with authentication %q", ack.Properties.AuthenticationMethod)
	}
	w.ping()
}

func (mqtt5) AuthUnasked(t *testing.T) {
	p := conforming(t)
	for _, data := range [][]byte{
		framed(authByte), framed(authByte, []byte{0x18}), framed(authByte, []byte{0x19}, properties()),
		framed(authByte, []byte{0x19}, properties(property(packets.PropAuthenticationMethod, text("X")...))),
	} {
		p.wantDisconnect(t, data, 0x82)
	}
}

func (mqtt5) AuthFlags(t *testing.T) {
	p := conforming(t)
	for flags := range byte(15) {
		data := framed(authByte|flags+1, []byte{0x18}, properties(property(packets.PropAuthenticationMethod, text("X")...)))
		p.wantDisconnect(t, data, 0x81)
	}
}
