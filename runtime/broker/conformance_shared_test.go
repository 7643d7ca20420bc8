package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Each member of a group gets its messages with the QoS that it was granted.
func (mqtt5) SharedQoS(t *testing.T) {
	p := conforming(t)
	members := make([]*wire, 3)
	for qos := range byte(3) {
		members[qos] = p.connect(t, "line1", fmt.Sprint("m", qos))
		members[qos].subscribe(qos, "$share/g/a")
	}
	const messages = 60
	for i := range messages {
		p.publish(t, "line2", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 2})
	}
	var got []string
	for qos, w := range members {
		w.raw([]byte{pingreqByte, 0})
		for {
			pk, err := w.receive()
			if err != nil {
				t.Fatal(err)
			}
			if pk.FixedHeader.Type == packets.Pingresp {
				break
			}
			if int(pk.FixedHeader.Qos) != qos {
				t.Errorf("QoS %d, granted %d", pk.FixedHeader.Qos, qos)
			}
			got = append(got, string(pk.Payload))
		}
	}
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); len(got) != messages || n != messages {
		t.Errorf("%d messages, %d of them different, want %d", len(got), n, messages)
	}
}

// sharedMember is a member of the group g, alone or with another who must get nothing.
func sharedMember(t *testing.T, p *plant, client string) *wire {
	t.Helper()
	w, _ := p.join(t, client, lasting)
	w.subscribe(2, "$share/g/a")
	return w
}

// What was begun with one member at QoS 2 is finished with it when it is back.
func (mqtt5) SharedQoS2Completes(t *testing.T) {
	for _, received := range []bool{false, true} {
		p := conforming(t)
		w := sharedMember(t, p, "one")
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: 2})
		id := w.expectMessage("a", "x").PacketID
		other := sharedMember(t, p, "two")
		if received {
			w.ack(packets.Pubrec, id)
			w.expect(packets.Pubrel)
		}
		p.leave(t, w)
		other.ping()
		w, _ = p.join(t, "one", lasting)
		if received {
			if rel := w.expect(packets.Pubrel); rel.PacketID != id {
				t.Errorf("PUBREL %d, want %d", rel.PacketID, id)
			}
			w.ack(packets.Pubcomp, id)
		} else {
			w.acknowledgeAll(w.expectMessage("a", "x"))
		}
		w.ping()
		other.ping()
	}
}

// Where that member's session ends, the message goes to no other.
func (mqtt5) SharedQoS2NotHandedOver(t *testing.T) {
	p := conforming(t)
	w := sharedMember(t, p, "one")
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: 2})
	w.expectMessage("a", "x")
	other := sharedMember(t, p, "two")
	p.leave(t, w)
	w, _ = p.join(t, "one", nil) // a clean start ends the session
	w.ping()
	other.ping()
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("y"), QoS: 2})
	other.expectMessage("a", "y") // the only member now
}

// A negative acknowledgement discards the message for the whole group.
func (mqtt5) SharedNegativeAck(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		p := conforming(t)
		w := sharedMember(t, p, "one")
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: qos})
		id := w.expectMessage("a", "x").PacketID
		other := sharedMember(t, p, "two")
		first := map[byte]byte{1: pubackByte, 2: pubrecByte}[qos]
		w.raw(framed(first, u16(id), []byte{0x83}, properties()))
		w.ping()
		other.ping()
		p.leave(t, w)
		other.ping()
		w, _ = p.join(t, "one", lasting)
		w.ping()
		other.ping()
	}
}

// Groups of one filter get each their copy; beside them the client's own subscription too.
func TestConformanceSharedGroups(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribeWith(1, packets.Subscription{Filter: "$share/g/a/#", Qos: 1})
	w.subscribeWith(2, packets.Subscription{Filter: "$share/h/a/#", Qos: 0})
	w.subscribeWith(3, packets.Subscription{Filter: "a/b", Qos: 2})
	p.publish(t, "line2", Message{Topic: "a/b", Payload: []byte("x"), QoS: 2})
	seen := map[int]byte{}
	for range 3 {
		pk := w.expectMessage("a/b", "x")
		if len(pk.Properties.SubscriptionIdentifier) != 1 {
			t.Fatalf("identifiers %v", pk.Properties.SubscriptionIdentifier)
		}
		seen[pk.Properties.SubscriptionIdentifier[0]] = pk.FixedHeader.Qos
	}
	for id, qos := range map[int]byte{1: 1, 2: 0, 3: 2} {
		if seen[id] != qos {
			t.Errorf("subscription %d: QoS %d, want %d", id, seen[id], qos)
		}
	}
	w.ping()
}

// A shared subscription gets no retained messages when it is made (4.8.2).
func TestConformanceSharedRetained(t *testing.T) {
	p := conforming(t)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("kept"), Retain: true, QoS: 1})
	w := p.connect(t, "line1", "c")
	for handling := range byte(3) {
		w.subscribeWith(0, packets.Subscription{Filter: fmt.Sprintf("$share/g%d/a", handling), Qos: 1, RetainHandling: handling})
		w.ping()
	}
}

// All members away: the messages wait, and none is lost or comes twice.
func TestConformanceSharedAway(t *testing.T) {
	p := conforming(t)
	for _, client := range []string{"one", "two"} {
		p.leave(t, sharedMember(t, p, client))
	}
	const messages = 50
	for i := range messages {
		p.publish(t, "line2", Message{Topic: "a", Payload: fmt.Appendf(nil, "%02d", i), QoS: byte(i%2) + 1})
	}
	var got []string
	for _, client := range []string{"one", "two"} {
		w, _ := p.join(t, client, lasting)
		w.raw(joined(rawSubscribe(1, properties(), "own/"+client, 1), rawPublish(qos1Bits, "own/"+client, 1, properties(), "end")))
		for {
			pk, err := w.receive()
			if err != nil {
				t.Fatal(err)
			}
			w.answer(pk)
			if string(pk.Payload) == "end" {
				break
			}
			if pk.FixedHeader.Type == packets.Publish {
				got = append(got, string(pk.Payload))
			}
		}
	}
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); len(got) != messages || n != messages {
		t.Errorf("%d messages, %d of them different, want %d", len(got), n, messages)
	}
}
