package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func (mqtt5) DupOnRedelivery(t *testing.T) {
	p := conforming(t)
	for qos := byte(1); qos <= 2; qos++ {
		client := fmt.Sprint("c", qos)
		w, _ := p.join(t, client, lasting)
		w.subscribe(qos, "a")
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: qos})
		first := w.expectMessage("a", "x")
		p.leave(t, w)
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("y"), QoS: qos})
		w, _ = p.join(t, client, lasting)
		again, fresh := w.expectMessage("a", "x"), w.expectMessage("a", "y")
		if first.FixedHeader.Dup || !again.FixedHeader.Dup || fresh.FixedHeader.Dup || again.PacketID != first.PacketID {
			t.Errorf("QoS %d: DUP %v, %v, %v", qos, first.FixedHeader.Dup, again.FixedHeader.Dup, fresh.FixedHeader.Dup)
		}
		p.leave(t, w)
	}
}

func (mqtt5) DupAtQoS0(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, rawPublish(dupBit, "a", 0, properties(), "x"), 0x81)
	w := p.connect(t, "line1", "c")
	w.subscribe(0, "a")
	w.publish("a", "x", 2, 1)
	w.publish("a", "y", 0, 0)
	for range 2 {
		for {
			r, err := w.next()
			if err != nil {
				t.Fatal(err)
			}
			if r.first>>4 == packets.Publish {
				if r.first != publishByte {
					t.Errorf("first byte %#x", r.first)
				}
				break
			}
		}
	}
}

func (mqtt5) DupNotForwarded(t *testing.T) {
	p := conforming(t)
	sub := p.connect(t, "line2", "s")
	sub.subscribe(2, "a")
	w := p.connect(t, "line1", "c")
	w.raw(rawPublish(dupBit|qos1Bits, "a", 1, properties(), "x"))
	w.expect(packets.Puback)
	w.raw(rawPublish(dupBit|qos2Bits, "a", 2, properties(), "y"))
	w.expect(packets.Pubrec)
	w.ack(packets.Pubrel, 2)
	for _, payload := range []string{"x", "y"} {
		if pk := sub.expectMessage("a", payload); pk.FixedHeader.Dup {
			t.Errorf("%s has DUP", payload)
		}
	}
}

func (mqtt5) QoS3(t *testing.T) {
	p := conforming(t)
	for _, bits := range []byte{0, dupBit, retainBit} {
		p.wantDisconnect(t, rawPublish(qos1Bits|qos2Bits|bits, "a", 1, properties(), "x"), 0x81)
	}
}

// retainedOn returns what a new subscriber gets of the filter at once.
func (p *plant) retainedOn(t *testing.T, filter string) []string {
	t.Helper()
	w := p.connect(t, "line2", "reader")
	w.subscribe(2, filter, "the/end")
	w.publish("the/end", "", 0, 0)
	var got []string
	for {
		pk := w.expect(packets.Publish)
		if pk.TopicName == "the/end" {
			slices.Sort(got)
			return got
		}
		if !pk.FixedHeader.Retain {
			t.Errorf("%q on %q without RETAIN", pk.Payload, pk.TopicName)
		}
		got = append(got, string(pk.Payload))
	}
}

func (p *plant) wantRetained(t *testing.T, filter string, want ...string) {
	t.Helper()
	if got := p.retainedOn(t, filter); !slices.Equal(got, want) {
		t.Errorf("retained on %s: %q, want %q", filter, got, want)
	}
}

func retain(w *wire, topic, payload string, qos byte) {
	w.t.Helper()
	w.raw(rawPublish(retainBit|qos<<1, topic, 1, properties(), payload))
	switch qos {
	case 1:
		w.expect(packets.Puback)
	case 2:
		w.expect(packets.Pubrec)
		w.ack(packets.Pubrel, 1)
		w.expect(packets.Pubcomp)
	default:
		w.ping()
	}
}

func (mqtt5) RetainReplaces(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for qos := range byte(3) {
		retain(w, "a", fmt.Sprint("first", qos), qos)
		p.wantRetained(t, "a", fmt.Sprint("first", qos))
		for after := range byte(3) {
			retain(w, "a", "second", after)
			p.wantRetained(t, "#", "second")
		}
	}
}

func (mqtt5) RetainEmptyRemoves(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	live := p.connect(t, "line2", "live")
	live.subscribe(0, "#")
	for qos := range byte(3) {
		retain(w, "a", "x", qos)
		live.expectMessage("a", "x")
		retain(w, "a", "", qos)
		if pk := live.expectMessage("a", ""); pk.FixedHeader.Retain { // processed as any other
			t.Error("RETAIN")
		}
		p.wantRetained(t, "a")
		live.expectMessage("the/end", "")
	}
}

func (mqtt5) RetainEmptyNotStored(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for qos := range byte(3) {
		retain(w, "never/there", "", qos)
	}
	p.wantRetained(t, "#")
	if n := p.Stats().Retained; n != 0 {
		t.Errorf("%d retained", n)
	}
}

func (mqtt5) NotRetainedLeaves(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.publishAll("b", "never kept", 1, 3)
	p.wantRetained(t, "b")
	retain(w, "a", "kept", 1)
	for qos := range byte(3) {
		w.publishAll("a", "passing", qos, 2)
		w.publishAll("a", "", qos, 3)
		w.ping()
		p.wantRetained(t, "a", "kept")
	}
}

// retainHandlingMatrix subscribes twice with each combination of retain handlings.
func retainHandlingMatrix(t *testing.T, handling byte) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	retain(w, "a/1", "one", 1)
	retain(w, "a/2", "two", 1)
	for before := range byte(3) {
		for _, filter := range []string{"a/+", "#"} {
			sub := p.connect(t, "line2", "s")
			sends := func(h byte, again bool) {
				t.Helper()
				if code := sub.subscribeWith(0, packets.Subscription{Filter: filter, Qos: 1, RetainHandling: h}); code != 1 {
					t.Fatalf("SUBACK %#x", code)
				}
				if h == 0 || h == 1 && !again {
					got := []string{string(sub.expect(packets.Publish).Payload), string(sub.expect(packets.Publish).Payload)}
					slices.Sort(got)
					if !slices.Equal(got, []string{"one", "two"}) {
						t.Errorf("got %q", got)
					}
				}
				sub.ping()
			}
			sends(handling, false)
			sends(before, true)
			sends(handling, true)
			sub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3, Filters: packets.Subscriptions{{Filter: filter}}})
			sub.expect(packets.Unsuback)
			sends(handling, false)
			sub.nc.Close()
		}
	}
}

func (mqtt5) RetainHandling0(t *testing.T) { retainHandlingMatrix(t, 0) }
func (mqtt5) RetainHandling1(t *testing.T) { retainHandlingMatrix(t, 1) }
func (mqtt5) RetainHandling2(t *testing.T) { retainHandlingMatrix(t, 2) }

func retainAsPublished(t *testing.T, option bool) {
	p := conforming(t)
	sub := p.connect(t, "line2", "s")
	sub.subscribeWith(0, packets.Subscription{Filter: "a", Qos: 2, RetainAsPublished: option})
	w := p.connect(t, "line1", "c")
	for qos := range byte(3) {
		retain(w, "a", "retained", qos)
		pk := sub.expectMessage("a", "retained")
		if pk.FixedHeader.Retain != option {
			t.Errorf("QoS %d: RETAIN %v of a retained message", qos, pk.FixedHeader.Retain)
		}
		sub.acknowledgeAll(pk)
		w.publishAll("a", "plain", qos, 2)
		pk = sub.expectMessage("a", "plain")
		if pk.FixedHeader.Retain {
			t.Errorf("QoS %d: RETAIN of a plain message", qos)
		}
		sub.acknowledgeAll(pk)
	}
	later := p.connect(t, "line2", "later")
	later.subscribeWith(0, packets.Subscription{Filter: "a", RetainAsPublished: option})
	if pk := later.expectMessage("a", "retained"); !pk.FixedHeader.Retain {
		t.Error("what was retained before comes without RETAIN")
	}
}

func (mqtt5) RetainAsPublished0(t *testing.T) { retainAsPublished(t, false) }
func (mqtt5) RetainAsPublished1(t *testing.T) { retainAsPublished(t, true) }

func (mqtt5) TopicWildcard(t *testing.T) {
	p := conforming(t)
	for _, topic := range []string{"#", "+", "a/#", "a/+/b", "a+", "#a", "+/b"} {
		for _, bits := range []byte{0, qos1Bits, qos2Bits} {
			p.wantDisconnect(t, rawPublish(bits, topic, 1, properties(), "x"), 0x90, 0x81, 0x82)
		}
	}
}

func (mqtt5) TopicMatchesFilter(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(0, "sport/+/player1", "/finance", "b/#")
	for _, topic := range []string{"sport/tennis/player1", "sport/tennis/player2", "sport/player1", "finance", "/finance", "b", "b/c/d", "bc"} {
		w.publish(topic, topic, 0, 0)
	}
	for _, topic := range []string{"sport/tennis/player1", "/finance", "b", "b/c/d"} {
		w.expectMessage(topic, topic)
	}
	w.ping()
}

func (mqtt5) ResponseTopicWildcard(t *testing.T) {
	p := conforming(t)
	for _, topic := range []string{"#", "a/+", "a/#/b"} {
		data := rawPublish(qos1Bits, "a", 1, properties(property(packets.PropResponseTopic, text(topic)...)), "x")
		p.wantDisconnect(t, data, 0x82, 0x90, 0x81)
	}
}

// propertiesOf returns the properties of a PUBLISH as they came.
func propertiesOf(t *testing.T, r received) []byte {
	t.Helper()
	at := 2 + int(r.body[0])<<8 + int(r.body[1])
	if r.first&(qos1Bits|qos2Bits) != 0 {
		at += 2
	}
	n := int(r.body[at]) // tests keep it below 128
	return r.body[at+1 : at+1+n]
}

// propertiesUnaltered publishes with the properties, at each QoS, to subscribers who are there,
// who come back, and who come later, and wants exactly these with each.
func propertiesUnaltered(t *testing.T, props ...[]byte) {
	p := conforming(t)
	want := joined(props...)
	check := func(who string, w *wire) {
		t.Helper()
		for {
			r, err := w.next()
			if err != nil {
				t.Fatal(err)
			}
			if r.first>>4 == packets.Publish {
				wantBytes(t, who, propertiesOf(t, r), want)
				return
			}
		}
	}
	live := p.connect(t, "line2", "live")
	live.subscribe(2, "a")
	for qos := range byte(3) {
		client := fmt.Sprint("away", qos)
		away, _ := p.join(t, client, lasting)
		away.subscribe(2, "a")
		p.leave(t, away)
		w := p.connect(t, "line1", "c")
		w.raw(rawPublish(retainBit|qos<<1, "a", 1, properties(props...), "x"))
		w.awaitAnswer(qos)
		check("subscriber", live)
		if qos > 0 {
			away, _ = p.join(t, client, lasting)
			check("who comes back", away)
			p.leave(t, away)
		}
		late := p.connect(t, "line2", "late")
		late.subscribe(2, "a")
		check("who comes later", late)
	}
}

// awaitAnswer reads the answer to a PUBLISH with id 1.
func (w *wire) awaitAnswer(qos byte) {
	w.t.Helper()
	switch qos {
	case 0:
		w.ping()
	case 1:
		w.expect(packets.Puback)
	case 2:
		w.expect(packets.Pubrec)
	}
}

func (mqtt5) PayloadFormat(t *testing.T) {
	propertiesUnaltered(t)
	propertiesUnaltered(t, property(packets.PropPayloadFormat, 0))
	propertiesUnaltered(t, property(packets.PropPayloadFormat, 1))
	p := conforming(t)
	p.wantDisconnect(t, rawPublish(0, "a", 0, properties(property(packets.PropPayloadFormat, 2)), "x"), 0x81, 0x82)
}

func (mqtt5) ResponseTopic(t *testing.T) {
	propertiesUnaltered(t, property(packets.PropResponseTopic, text("re/ply")...))
	propertiesUnaltered(t, property(packets.PropResponseTopic, text("$own/réply")...))
}

func (mqtt5) CorrelationData(t *testing.T) {
	propertiesUnaltered(t, property(packets.PropCorrelationData, text("\x00\xFF\x80 any bytes")...))
	propertiesUnaltered(t, property(packets.PropCorrelationData, text("")...))
}

func (mqtt5) ContentType(t *testing.T) {
	propertiesUnaltered(t, property(packets.PropContentType, text("text/plain; é")...))
	propertiesUnaltered(t, property(packets.PropContentType, text("")...))
}

func (mqtt5) UserProperties(t *testing.T) {
	propertiesUnaltered(t, userProperty("z", "1"), userProperty("a", "2"), userProperty("z", "1"), userProperty("", ""), userProperty("Z", "0"))
}

// Properties that a PUBLISH may have but once, or not at all, end the connection.
func (mqtt5) PublishMalformed(t *testing.T) {
	p := conforming(t)
	for _, once := range [][]byte{
		property(packets.PropPayloadFormat, 0), property(packets.PropMessageExpiryInterval, u32(9)...),
		property(packets.PropTopicAlias, 0, 1), property(packets.PropResponseTopic, text("r")...),
		property(packets.PropCorrelationData, text("c")...), property(packets.PropContentType, text("t")...),
	} {
		p.wantDisconnect(t, rawPublish(0, "a", 0, properties(once, once), "x"), 0x82)
	}
	for _, data := range [][]byte{
		{0, 0},
		{publishByte, 0},
		{publishByte, 1, 0},
		framed(publishByte, text("a"), []byte{9, 1}), framed(publishByte|qos1Bits, text("a"), []byte{0}),
		rawPublish(0, "a", 0, properties(property(0x7E, 1)), ""), rawPublish(0, "a", 0, properties(property(packets.PropReceiveMaximum, 0, 1)), ""),
		framed(publishByte, text("a"), []byte{2, packets.PropMessageExpiryInterval, 0}, []byte(strings.Repeat("x", 9))),
	} {
		p.wantDisconnect(t, data, 0x81, 0x82)
	}
	p.wantDisconnect(t, rawPublish(0, "", 0, properties(), "x"), 0x82, 0x90)
}

func (mqtt5) ClientSubscriptionID(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, rawPublish(0, "a", 0, properties(property(packets.PropSubscriptionIdentifier, 5)), "x"), 0x82, 0x81)
}
