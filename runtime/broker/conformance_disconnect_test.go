package broker

import (
	"context"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

func (mqtt5) Ping(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.raw(slices.Repeat([]byte{pingreqByte, 0}, 100))
	for range 100 {
		if body := w.expectRaw(pingrespByte).body; len(body) != 0 {
			t.Errorf("PINGRESP % x", body)
		}
	}
	p.wantDisconnect(t, framed(pingreqByte, []byte{0}), 0x81)
}

// disconnectReasons are those that a server may send (MQTT 5.0, 3.14.2.1).
var disconnectReasons = []int{
	0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
	0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
}

// Each DISCONNECT of the broker has a defined code, no session expiry, and is the last packet;
// then the connection is closed.
func (mqtt5) ServerDisconnect(t *testing.T) {
	for name, end := range map[string]func(p *plant, w *wire){
		"malformed": func(_ *plant, w *wire) { w.raw([]byte{0, 0}) },
		"protocol":  func(_ *plant, w *wire) { w.raw(rawSubscribe(0, properties(), "a", 0)) },
		"topic":     func(_ *plant, w *wire) { w.raw(rawPublish(0, "#", 0, properties(), "")) },
		"alias": func(_ *plant, w *wire) {
			w.raw(rawPublish(0, "a", 0, properties(property(packets.PropTopicAlias, 0, 0)), ""))
		},
		"taken over": func(p *plant, _ *wire) { p.join(t, "c", nil) },
		"revoked":    func(p *plant, _ *wire) { p.set(identityOf("line2")) },
		"stopped":    func(p *plant, _ *wire) { p.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Limits{}, identityOf("line1", "rw #"))
			w, _ := p.join(t, "c", lasting)
			end(p, w)
			r := w.expectRaw(disconnectByte)
			if len(r.body) == 0 || !slices.Contains(disconnectReasons, int(r.body[0])) || r.body[0] == 0 {
				t.Errorf("DISCONNECT % x", r.body)
			}
			if len(r.body) > 2 && r.body[2] == packets.PropSessionExpiryInterval {
				t.Error("with a session expiry interval")
			}
			if r, err := w.next(); err == nil {
				t.Errorf("packet %#x after DISCONNECT", r.first)
			}
		})
	}
}

// After the client's DISCONNECT the broker takes nothing more and closes.
func (mqtt5) ClientDisconnect(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "a")
	w := p.connect(t, "line1", "c")
	w.raw(joined([]byte{disconnectByte, 0}, rawPublish(0, "a", 0, properties(), "late"), []byte{pingreqByte, 0}))
	if r, err := w.next(); err == nil {
		t.Errorf("packet %#x after DISCONNECT", r.first)
	}
	p.nothingMore(t, "line2", "a", got)
}

func (mqtt5) NoDisconnectBeforeConnack(t *testing.T) {
	p := conforming(t)
	for _, data := range [][]byte{
		{0, 0},
		{pingreqByte, 0},
		{connectByte, 0x80, 0x80, 0x80, 0x80, 1},
		framed(connectByte, text("MQTT")),
		rawConnect(member, properties(), text("c"), text("line1"), text("wrong")),
		rawConnect(member, properties(property(packets.PropAuthenticationMethod, text("X")...)), text("c"), login("line1")),
		rawConnect(member|reservedFlag, properties(), text("c"), login("line1")),
	} {
		if e := p.dial(t).violate(data); e.disconnect != none {
			t.Errorf("% x: DISCONNECT %#x", data, e.disconnect)
		}
	}
	w := p.dial(t) // connected, nothing sent
	p.stop()
	if r, err := w.next(); err == nil {
		t.Errorf("packet %#x", r.first)
	}
}

// A client may set a session expiry when it leaves, unless it had none.
func (mqtt5) DisconnectMalformed(t *testing.T) {
	p := conforming(t)
	expiry := property(packets.PropSessionExpiryInterval, u32(60)...)
	for _, data := range [][]byte{
		framed(disconnectByte, []byte{0}, properties(expiry)), framed(disconnectByte, []byte{0}, properties(property(packets.PropReceiveMaximum, 0, 1))),
		framed(disconnectByte, []byte{0, 9}), framed(disconnectByte, []byte{0}, properties(property(0x7F, 1))),
	} {
		p.wantDisconnect(t, data, 0x81, 0x82)
	}
	w, _ := p.join(t, "c", lasting)
	w.violate(framed(disconnectByte, []byte{0}, properties(expiry, expiry)))
	w, _ = p.join(t, "c", lasting)
	w.raw(framed(disconnectByte, []byte{0}, properties(property(packets.PropSessionExpiryInterval, 0, 0, 0, 0))))
	w.expectEnd()
	p.awaitClients(t, 0)
	if _, ack := p.join(t, "c", lasting); ack.SessionPresent {
		t.Error("the session outlives an expiry of 0")
	}
}

// Reason codes that are not of the packet are taken for an error, and never sent.
func (mqtt5) DisconnectCodes(t *testing.T) {
	p := conforming(t)
	for _, code := range []byte{0x01, 0x02, 0x10, 0x18, 0x84, 0x85, 0x91, 0x92, 0xFF} {
		p.wantDisconnect(t, framed(disconnectByte, []byte{code}, properties()), 0x81, 0x82)
	}
}

// The codes of PUBACK, PUBREC, PUBREL and PUBCOMP that the broker sends.
func (mqtt5) AckCodes(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw a/#"))
	w := p.connect(t, "line1", "c")
	w.subscribe(2, "a/b")
	acknowledged := []byte{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	known := []byte{0, 0x92}
	for i, topic := range []string{"a/b", "a/nobody", "forbidden", "$SYS/x"} {
		id := uint16(10 * (i + 1))
		w.publish(topic, "x", 1, id)
		for _, kind := range []byte{packets.Puback, packets.Pubrec, packets.Pubcomp} {
			switch kind {
			case packets.Pubrec:
				w.publish(topic, "x", 2, id+1)
			case packets.Pubcomp:
				w.ack(packets.Pubrel, id+1)
			}
			pk := w.await(kind)
			if set := map[byte][]byte{packets.Puback: acknowledged, packets.Pubrec: acknowledged, packets.Pubcomp: known}[kind]; !slices.Contains(set, pk.ReasonCode) {
				t.Errorf("%s: %s %#x", topic, packets.PacketNames[kind], pk.ReasonCode)
			}
			if i > 1 && kind != packets.Pubcomp && pk.ReasonCode < 0x80 {
				t.Errorf("%s: %s %#x", topic, packets.PacketNames[kind], pk.ReasonCode)
			}
		}
	}
	w.ack(packets.Pubrec, 999)
	if rel := w.await(packets.Pubrel); rel.ReasonCode != 0x92 {
		t.Errorf("PUBREL %#x for an id that nobody knows, want 0x92", rel.ReasonCode)
	}
	w.ack(packets.Pubrel, 999)
	if comp := w.await(packets.Pubcomp); comp.ReasonCode != 0x92 {
		t.Errorf("PUBCOMP %#x for an id that nobody knows, want 0x92", comp.ReasonCode)
	}
}

// await reads over messages to the packet.
func (w *wire) await(kind byte) packets.Packet {
	w.t.Helper()
	for {
		pk, err := w.receive()
		if err != nil {
			w.t.Fatalf("want %s: %v", packets.PacketNames[kind], err)
		}
		if pk.FixedHeader.Type == kind {
			return pk
		}
	}
}

// A client that asked for no problem information gets no reason string or user property but
// with PUBLISH, CONNACK and DISCONNECT.
func (mqtt5) NoProblemInformation(t *testing.T) {
	p := start(t, Limits{Subscriptions: 1}, identityOf("line1", "rw a/#"))
	w := p.wantAccepted(t, rawConnect(member, properties(property(packets.PropRequestProblemInfo, 0)), text("c"), login("line1")))
	w.raw(joined(
		rawPublish(qos1Bits, "b", 1, properties(), "x"), rawPublish(qos2Bits, "b", 2, properties(), "x"), framed(pubrelByte, u16(99)), framed(pubrecByte, u16(99)),
		rawSubscribe(3, properties(), "b", 0), rawSubscribe(3, properties(), "a/+", 0), rawSubscribe(3, properties(), "a/x", 0), rawSubscribe(3, properties(), "a/##", 0),
		framed(unsubscribeByte, u16(4), properties(), text("never")), framed(pingreqByte),
	))
	for {
		pk, err := w.receive()
		if err != nil {
			t.Fatal(err)
		}
		if pk.FixedHeader.Type == packets.Pingresp {
			break
		}
		if pk.Properties.ReasonString != "" || len(pk.Properties.User) > 0 {
			t.Errorf("%s with %q %v", packets.PacketNames[pk.FixedHeader.Type], pk.Properties.ReasonString, pk.Properties.User)
		}
	}
	w.raw(rawPublish(0, "a/b", 0, properties(userProperty("k", "v")), "x"))
	if pk := w.await(packets.Publish); len(pk.Properties.User) != 1 {
		t.Errorf("PUBLISH without its user property")
	}
}

// What is malformed or against the protocol closes the connection, with a code.
func (mqtt5) ErrorsClose(t *testing.T) {
	p := start(t, Limits{PacketBytes: 1000}, identityOf("line1", "rw #"))
	for name, tc := range map[string]struct {
		data []byte
		code int
	}{
		"type 0":                 {[]byte{0, 0}, 0x81},
		"CONNACK":                {framed(connackByte, []byte{0, 0}, properties()), 0x82},
		"SUBACK":                 {framed(subackByte, u16(1), properties(), []byte{0}), 0x82},
		"UNSUBACK":               {framed(unsubackByte, u16(1), properties(), []byte{0}), 0x82},
		"PINGRESP":               {framed(pingrespByte), 0x82},
		"length of five bytes":   {[]byte{publishByte, 0xFF, 0xFF, 0xFF, 0xFF, 1}, 0x81},
		"too large":              {framed(publishByte, make([]byte, 1000)), 0x95},
		"PUBACK cut":             {framed(pubackByte, []byte{0}), 0x81},
		"PUBACK without body":    {framed(pubackByte), 0x81},
		"PUBREL cut":             {framed(pubrelByte, []byte{0}), 0x81},
		"PUBACK properties cut":  {framed(pubackByte, u16(1), []byte{0, 9}), 0x81},
		"PUBACK with an alias":   {framed(pubackByte, u16(1), []byte{0}, properties(property(packets.PropTopicAlias, 0, 1))), 0x81},
		"PUBACK code":            {framed(pubackByte, u16(1), []byte{0x92}), 0x82},
		"PUBCOMP code":           {framed(pubcompByte, u16(1), []byte{0x80}), 0x82},
		"bytes after properties": {framed(pubackByte, u16(1), []byte{0}, properties(), []byte{1}), 0x81},
	} {
		t.Run(name, func(t *testing.T) {
			codes := []int{tc.code}
			if tc.code == 0x81 || tc.code == 0x82 {
				codes = []int{0x81, 0x82} // the standard leaves the line between them open for these
			}
			p.wantDisconnect(t, tc.data, codes...)
		})
	}
}

// A message that may not be published is refused in its acknowledgement and goes nowhere.
func (mqtt5) Unauthorised(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw a"), identityOf("line2", "rw #"))
	got := p.collect(t, "line2", "#")
	w := p.connect(t, "line1", "c")
	for qos := byte(1); qos <= 2; qos++ {
		w.publish("b", "x", qos, 5)
		kind := map[byte]byte{1: packets.Puback, 2: packets.Pubrec}[qos]
		if ack := w.expect(kind); ack.ReasonCode != 0x87 {
			t.Errorf("QoS %d: %#x", qos, ack.ReasonCode)
		}
		w.publishAll("a", "y", qos, 5) // the id is free
		if m := next(t, got); m.Topic != "a" {
			t.Errorf("got %+v", m)
		}
	}
	err := p.Publish(context.Background(), "line1", Message{Topic: "b"})
	wantKind(t, err, spec.Forbidden)
	p.nothingMore(t, "line2", "a", got)
}
