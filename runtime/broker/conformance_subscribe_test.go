package broker

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func flagsOf(t *testing.T, whole []byte) {
	p := conforming(t)
	for flags := range byte(16) {
		if flags != whole[0]&0x0F {
			data := slices.Clone(whole)
			data[0] = data[0]&0xF0 | flags
			p.wantDisconnect(t, data, 0x81)
		}
	}
}

func (mqtt5) SubscribeFlags(t *testing.T) { flagsOf(t, rawSubscribe(1, properties(), "a", 0)) }
func (mqtt5) UnsubscribeFlags(t *testing.T) {
	flagsOf(t, framed(unsubscribeByte, u16(1), properties(), text("a")))
}
func (mqtt5) PubrelFlags(t *testing.T)     { flagsOf(t, framed(pubrelByte, u16(1))) }
func (mqtt5) DisconnectFlags(t *testing.T) { flagsOf(t, framed(disconnectByte)) }

func (mqtt5) SubscribeEmpty(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, framed(subscribeByte, u16(1), properties()), 0x82)
}

func (mqtt5) UnsubscribeEmpty(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, framed(unsubscribeByte, u16(1), properties()), 0x82)
}

// SubscribeReserved: the two reserved bits, QoS 3 and retain handling 3; a filter without options; bad properties.
func (mqtt5) SubscribeReserved(t *testing.T) {
	p := conforming(t)
	for _, options := range []byte{0x40, 0x80, 0xC0, 0x41, 0x8E} {
		p.wantDisconnect(t, rawSubscribe(1, properties(), "a", options), 0x81)
	}
	for _, options := range []byte{0x03, 0x30, 0x33} {
		p.wantDisconnect(t, rawSubscribe(1, properties(), "a", options), 0x81, 0x82)
	}
	for _, data := range [][]byte{
		framed(subscribeByte, u16(1), properties(), text("a")),
		framed(subscribeByte, u16(1), properties(), text("a"), []byte{0}, text("b")),
		framed(subscribeByte, u16(1), properties(), []byte{0, 9, 'a', 0}),
		framed(subscribeByte, []byte{1}), framed(subscribeByte),
		rawSubscribe(1, properties(property(packets.PropSubscriptionIdentifier, 0)), "a", 0),
		rawSubscribe(1, properties(property(packets.PropSubscriptionIdentifier, 1), property(packets.PropSubscriptionIdentifier, 1)), "a", 0),
		rawSubscribe(1, properties(property(packets.PropTopicAlias, 0, 1)), "a", 0),
		framed(unsubscribeByte, u16(1), properties(), []byte{0, 9, 'a'}), framed(unsubscribeByte, []byte{1}),
		framed(unsubscribeByte, u16(1), properties(property(packets.PropSubscriptionIdentifier, 1)), text("a")),
	} {
		p.wantDisconnect(t, data, 0x81, 0x82)
	}
}

func (mqtt5) NoLocal(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribeWith(0, packets.Subscription{Filter: "a", Qos: 2, NoLocal: true})
	for qos := range byte(3) {
		w.publishAll("a", "own", qos, 1)
	}
	w.ping()
	p.connect(t, "line2", "c").publish("a", "another's", 0, 0) // the same id of another user is another client
	w.expectMessage("a", "another's")
	p.leave(t, w)
	w, _ = p.join(t, "c", lasting)
	w.publishAll("a", "own", 1, 1) // the option lasts with the session
	w.ping()
	w.subscribeWith(0, packets.Subscription{Filter: "a"})
	w.publish("a", "own", 0, 0)
	w.expectMessage("a", "own")
}

func (mqtt5) SharedNoLocal(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, rawSubscribe(1, properties(), "$share/g/a", 0x04), 0x82)
	p.wantDisconnect(t, rawSubscribe(1, properties(), "$share/g/a/#", 0x06), 0x82)
}

// A filter that is there already is replaced, with its options and its identifier.
func (mqtt5) SubscribeReplaces(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for i, s := range []packets.Subscription{
		{Filter: "a/+", Qos: 0}, {Filter: "a/+", Qos: 2}, {Filter: "a/+", Qos: 1, RetainAsPublished: true}, {Filter: "a/+", Qos: 0},
	} {
		if code := w.subscribeWith(i, s); code != s.Qos {
			t.Errorf("SUBACK %#x, want %d", code, s.Qos)
		}
		p.publish(t, "line2", Message{Topic: "a/b", Payload: []byte("x"), QoS: 2, Retain: true})
		pk := w.expectMessage("a/b", "x")
		if pk.FixedHeader.Qos != s.Qos || pk.FixedHeader.Retain != s.RetainAsPublished {
			t.Errorf("options %+v: %+v", s, pk.FixedHeader)
		}
		if ids := pk.Properties.SubscriptionIdentifier; len(ids) != min(i, 1) || len(ids) > 0 && ids[0] != i {
			t.Errorf("identifiers %v, want %d", ids, i)
		}
		w.acknowledgeAll(pk)
		w.ping() // one copy
		p.publish(t, "line2", Message{Topic: "a/b", Retain: true})
		w.expectMessage("a/b", "")
	}
	if n := p.Stats().Subscriptions; n != 1 {
		t.Errorf("%d subscriptions", n)
	}
}

// While a subscription is replaced again and again, no message is lost or comes twice, and
// the retained ones come again each time.
func (mqtt5) ReplaceLosesNothing(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	p.publish(t, "line2", Message{Topic: "a/kept", Payload: []byte("kept"), Retain: true, QoS: 1})
	w.subscribe(1, "a/+")
	const messages, replacements = 300, 20
	published := make(chan error, 1)
	go func() {
		for i := range messages {
			if err := p.Publish(t.Context(), "line2", Message{Topic: "a/live", Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	retained, live, acks := 0, -1, 0
	for range replacements {
		w.raw(rawSubscribe(2, properties(), "a/+", 1))
	}
	for acks < replacements || live < messages-1 || retained < replacements+1 {
		pk, err := w.receive()
		if err != nil {
			t.Fatalf("%d retained, %d live, %d SUBACK: %v", retained, live, acks, err)
		}
		switch {
		case pk.FixedHeader.Type == packets.Suback:
			acks++
		case pk.TopicName == "a/kept":
			retained++
			w.ack(packets.Puback, pk.PacketID)
		case string(pk.Payload) == fmt.Sprint(live+1):
			live++
			w.ack(packets.Puback, pk.PacketID)
		default:
			t.Fatalf("%q after %d", pk.Payload, live)
		}
	}
	if err := <-published; err != nil {
		t.Error(err)
	}
	w.ping()
	if retained != replacements+1 {
		t.Errorf("%d retained messages, want %d", retained, replacements+1)
	}
}

// subscribeReasons are the Subscribe Reason Codes (MQTT 5.0, 3.9.3).
var subscribeReasons = []byte{0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}

// Many filters are taken in turn: one code each, in order, granted or refused by itself.
func (mqtt5) ManyFilters(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw ok/#"), identityOf("line2", "rw #"))
	p.publish(t, "line2", Message{Topic: "ok/kept", Payload: []byte("kept"), Retain: true})
	w := p.connect(t, "line1", "c")
	filters := joined(
		text("ok/1"), []byte{0}, text("not/ok"), []byte{1}, text("ok/2"), []byte{1}, text("ok/a+"), []byte{1}, text("ok/#/x"), []byte{0},
		text("ok/+"), []byte{2}, text("#"), []byte{2}, text("$share/g/ok/1"), []byte{1}, text("$share//ok"), []byte{0}, text("ok/1"), []byte{2}, text(""), []byte{0},
	)
	w.raw(framed(subscribeByte, u16(77), properties(), filters))
	body := w.expectRaw(subackByte).body
	if !bytes.HasPrefix(body, []byte{0, 77, 0}) {
		t.Errorf("SUBACK % x", body)
	}
	if want := []byte{0, 0x87, 1, 0x8F, 0x8F, 2, 0x87, 1, 0x8F, 2, 0x8F}; !slices.Equal(body[3:], want) {
		t.Errorf("codes % x, want % x", body[3:], want)
	}
	for _, code := range body[3:] {
		if !slices.Contains(subscribeReasons, code) {
			t.Errorf("%#x is no Subscribe Reason Code", code)
		}
	}
	w.expectMessage("ok/kept", "kept")
	p.publish(t, "line2", Message{Topic: "ok/2", Payload: []byte("x"), QoS: 2})
	w.expectMessage("ok/2", "x")
	w.ping()
}

func (mqtt5) GrantedQoS(t *testing.T) {
	p := start(t, Limits{Subscriptions: 3}, identityOf("line1", "rw a/#"))
	w := p.connect(t, "line1", "c")
	if got := w.subscribe(0, "a/0", "b"); !slices.Equal(got, []byte{0, 0x87}) {
		t.Errorf("% x", got)
	}
	if got := w.subscribe(1, "a/1"); !slices.Equal(got, []byte{1}) {
		t.Errorf("% x", got)
	}
	if got := w.subscribe(2, "a/2", "a/3"); !slices.Equal(got, []byte{2, 0x97}) {
		t.Errorf("% x", got)
	}
}

// A message goes out with the lower of its own QoS and the granted one.
func (mqtt5) QoSMinimum(t *testing.T) {
	p := conforming(t)
	w, pub := p.connect(t, "line1", "c"), p.connect(t, "line2", "pub")
	for granted := range byte(3) {
		w.subscribe(granted, "a")
		for published := range byte(3) {
			pub.publishAll("a", "x", published, 4)
			pk := w.expectMessage("a", "x")
			if pk.FixedHeader.Qos != min(granted, published) {
				t.Errorf("QoS %d, granted %d: got %d", published, granted, pk.FixedHeader.Qos)
			}
			w.acknowledgeAll(pk)
		}
	}
}

// Overlapping subscriptions give one copy, with the highest QoS and all identifiers.
func (mqtt5) Overlap(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for i, s := range []packets.Subscription{
		{Filter: "a/b", Qos: 0}, {Filter: "a/+", Qos: 2}, {Filter: "+/b", Qos: 1}, {Filter: "a/#", Qos: 0}, {Filter: "#", Qos: 1}, {Filter: "x/#", Qos: 2},
	} {
		w.subscribeWith([]int{11, 0, 268_435_455, 14, 1, 16}[i], s)
	}
	for published := range byte(3) {
		p.publish(t, "line2", Message{Topic: "a/b", Payload: []byte("x"), QoS: published})
		pk := w.expectMessage("a/b", "x")
		ids := slices.Clone(pk.Properties.SubscriptionIdentifier)
		slices.Sort(ids)
		if !slices.Equal(ids, []int{1, 11, 14, 268_435_455}) || pk.FixedHeader.Qos != published {
			t.Errorf("QoS %d, identifiers %v", pk.FixedHeader.Qos, ids)
		}
		w.acknowledgeAll(pk)
		w.ping()
	}
}

// Filters to leave are compared as they are written, not by what they match.
func (mqtt5) UnsubscribeExact(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(0, "a/+", "b", "$share/g/c")
	leave := func(filters ...string) []byte {
		t.Helper()
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 0x0102}
		for _, f := range filters {
			pk.Filters = append(pk.Filters, packets.Subscription{Filter: f})
		}
		w.send(pk)
		ack := w.expect(packets.Unsuback)
		if ack.PacketID != 0x0102 {
			t.Errorf("id %#x", ack.PacketID)
		}
		return ack.ReasonCodes
	}
	if got := leave("a/#", "a/b", "B", "b ", "#", "c", "$share/h/c", "/b"); !slices.Equal(got, bytes.Repeat([]byte{0x11}, 8)) {
		t.Errorf("UNSUBACK % x", got)
	}
	w.publish("a/b", "still", 0, 0)
	w.expectMessage("a/b", "still")
	if got := leave("never", "a/+", "a/+", "b", "$share/g/c"); !slices.Equal(got, []byte{0x11, 0, 0x11, 0, 0}) {
		t.Errorf("UNSUBACK % x", got)
	}
	for _, topic := range []string{"a/b", "b", "c"} {
		w.publish(topic, "x", 0, 0)
	}
	w.ping()
}

// What was started goes to its end after UNSUBSCRIBE; nothing new begins.
func (mqtt5) UnsubscribeCompletes(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(2, "a")
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("1"), QoS: 1})
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("2"), QoS: 2})
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("3"), QoS: 2})
	one, two, three := w.expectMessage("a", "1"), w.expectMessage("a", "2"), w.expectMessage("a", "3")
	w.ack(packets.Pubrec, three.PacketID)
	w.expect(packets.Pubrel)
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "a"}}})
	w.expect(packets.Unsuback)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("new"), QoS: 1})
	w.ping()
	p.leave(t, w)
	w, _ = p.join(t, "c", lasting)
	for _, want := range []packets.Packet{one, two} {
		if pk := w.expectMessage("a", string(want.Payload)); pk.PacketID != want.PacketID {
			t.Errorf("id %d, want %d", pk.PacketID, want.PacketID)
		}
	}
	if rel := w.expect(packets.Pubrel); rel.PacketID != three.PacketID {
		t.Errorf("PUBREL %d, want %d", rel.PacketID, three.PacketID)
	}
	w.ack(packets.Pubcomp, three.PacketID)
	w.acknowledgeAll(one)
	w.acknowledgeAll(two)
	w.ping()
}

// No answer is larger than the client takes: what explains goes before what is needed.
func (mqtt5) AnswersFit(t *testing.T) {
	p := start(t, Limits{Inflight: 2}, identityOf("line1", "r a/#", "w a/#"), identityOf("line2", "rw #"))
	const limit = 32 // CONNACK fits
	w := p.wantAccepted(t, rawConnect(member, properties(property(packets.PropMaximumPacketSize, u32(limit)...)), text("c"), login("line1")))
	fits := func(first byte) []byte {
		t.Helper()
		r := w.expectRaw(first)
		if r.size() > limit {
			t.Errorf("packet %#x of %d bytes", first, r.size())
		}
		return r.body
	}
	w.raw(rawPublish(qos1Bits, "b", 1, properties(), "x")) // not permitted
	if body := fits(pubackByte); body[2] != 0x87 {
		t.Errorf("PUBACK % x", body)
	}
	w.raw(rawPublish(qos2Bits, "b", 2, properties(), "x"))
	if body := fits(pubrecByte); body[2] != 0x87 {
		t.Errorf("PUBREC % x", body)
	}
	w.ack(packets.Pubrec, 99)
	if body := fits(pubrelByte); body[2] != 0x92 {
		t.Errorf("PUBREL % x", body)
	}
	w.ack(packets.Pubrel, 99)
	if body := fits(pubcompByte); body[2] != 0x92 {
		t.Errorf("PUBCOMP % x", body)
	}
	w.raw(rawSubscribe(3, properties(), "b", 0))
	if body := fits(subackByte); body[len(body)-1] != 0x87 {
		t.Errorf("SUBACK % x", body)
	}
	w.raw(framed(unsubscribeByte, u16(3), properties(), text("b")))
	if body := fits(unsubackByte); body[len(body)-1] != 0x11 {
		t.Errorf("UNSUBACK % x", body)
	}
}

func (mqtt5) DisconnectFits(t *testing.T) {
	p := conforming(t)
	for _, limit := range []uint32{20, 24, 30, 40, 60} {
		for _, data := range [][]byte{{0, 0}, rawSubscribe(0, properties(), "a", 0), rawPublish(0, "#", 0, properties(), "")} {
			w := p.wantAccepted(t, rawConnect(member, properties(property(packets.PropMaximumPacketSize, u32(limit)...)), text("c"), login("line1")))
			w.raw(data)
			if r := w.expectRaw(disconnectByte); r.size() > int(limit) || r.body[0] < 0x80 {
				t.Errorf("limit %d: DISCONNECT %#x of %d bytes", limit, r.body[0], r.size())
			}
			w.nc.Close()
		}
	}
}
