package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// From the client's Receive Maximum on, nothing of QoS 1 and 2 comes until something is
// acknowledged in full, and everything else does.
func receiveMaximum(t *testing.T, maximum uint16) {
	p := start(t, Limits{Inflight: 1000}, identityOf("line1", "rw #"), identityOf("line2", "rw #"))
	w, _ := p.join(t, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = maximum })
	w.subscribe(2, "a")
	n := int(maximum)
	for i := range 3 * n {
		p.publish(t, "line2", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: byte(i%2) + 1})
	}
	var open []packets.Packet
	for i := range n {
		open = append(open, w.expectMessage("a", fmt.Sprint(i)))
	}
	w.ping() // the window is closed, PINGRESP comes all the same
	if got := w.subscribe(1, "b"); !slices.Equal(got, []byte{1}) {
		t.Errorf("SUBACK % x", got)
	}
	w.publish("elsewhere", "x", 1, 1)
	w.expect(packets.Puback)
	w.publish("elsewhere", "x", 2, 2)
	w.expect(packets.Pubrec)
	w.ack(packets.Pubrel, 2)
	w.expect(packets.Pubcomp)
	for i := n; i < 3*n; i++ {
		pk := open[0]
		if pk.FixedHeader.Qos == 2 { // PUBREC alone opens nothing
			w.ack(packets.Pubrec, pk.PacketID)
			w.expect(packets.Pubrel)
			w.ping()
			w.ack(packets.Pubcomp, pk.PacketID)
		} else {
			w.ack(packets.Puback, pk.PacketID)
		}
		open = append(open[1:], w.expectMessage("a", fmt.Sprint(i)))
		w.ping() // one, not two
	}
}

func (mqtt5) ReceiveMaximum(t *testing.T) {
	for _, maximum := range []uint16{1, 2, 10, 100} {
		receiveMaximum(t, maximum)
	}
}

func (mqtt5) SendQuota(t *testing.T)        { receiveMaximum(t, 3) }
func (mqtt5) OtherPacketsFlow(t *testing.T) { receiveMaximum(t, 1) }

// The quota is that of each connection: after a reconnect it holds for what is sent again.
func TestConformanceReceiveMaximumAfterReconnect(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(2, "a")
	for i := range 10 {
		p.publish(t, "line2", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: byte(i%2) + 1})
	}
	for i := range 10 {
		w.expectMessage("a", fmt.Sprint(i))
	}
	p.leave(t, w)
	w, _ = p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Properties.ReceiveMaximum = 2 })
	open := []packets.Packet{w.expectMessage("a", "0"), w.expectMessage("a", "1")}
	for i := 2; i < 10; i++ {
		w.ping() // no third
		w.acknowledgeAll(open[0])
		open = append(open[1:], w.expectMessage("a", fmt.Sprint(i)))
	}
}

// A client that sends more than the broker's Receive Maximum is cut off; one that keeps it is not.
func (mqtt5) ClientReceiveMaximum(t *testing.T) {
	p := start(t, Limits{Inflight: 5}, identityOf("line1", "rw #"))
	w, ack := p.join(t, "c", nil)
	maximum := ack.Properties.ReceiveMaximum
	if maximum == 0 {
		maximum = 65535
	}
	for id := range maximum {
		w.publish("a", "x", 2, id+1)
		w.expect(packets.Pubrec)
	}
	w.publish("a", "x", 2, 1) // again, not one more
	w.expect(packets.Pubrec)
	w.ping()
	w.ack(packets.Pubrel, 1)
	w.expect(packets.Pubcomp)
	w.publish("a", "x", 2, 1)
	w.expect(packets.Pubrec)
	data := rawPublish(qos2Bits, "a", maximum+1, properties(), "x")
	if e := w.violate(data); e.disconnect != 0x93 {
		t.Errorf("DISCONNECT %#x, want 0x93", e.disconnect)
	}
}

// No packet is larger than the client takes; one as large comes.
func (mqtt5) MaximumPacketSize(t *testing.T) {
	const limit = 100
	p := conforming(t)
	w, _ := p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Properties.MaximumPacketSize = limit })
	w.subscribe(2, "a")
	for qos := range byte(3) {
		around := 2 + 3 + 1 // header, topic, property length
		if qos > 0 {
			around += 2
		}
		for size := limit - around - 3; size <= limit-around+3; size++ {
			p.publish(t, "line2", Message{Topic: "a", Payload: []byte(strings.Repeat("x", size)), QoS: qos})
		}
		for size := limit - around - 3; size <= limit-around; size++ {
			r := w.expectRaw(publishByte | qos<<1)
			if r.size() != size+around {
				t.Errorf("QoS %d: packet of %d bytes, want %d", qos, r.size(), size+around)
			}
		}
		w.ping()
	}
	p.leave(t, w)
	for _, size := range []uint32{60, 40, 25} { // what is sent again, and what waited
		w, _ = p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Properties.MaximumPacketSize = size })
		w.raw([]byte{pingreqByte, 0})
		for {
			r, err := w.next()
			if err != nil || r.size() > int(size) {
				t.Fatalf("limit %d: packet of %d bytes, %v", size, r.size(), err)
			}
			if r.first == pingrespByte {
				break
			}
		}
		p.leave(t, w)
	}
}

// A message too large for a client counts as sent: it holds up no other, and others get it.
func (mqtt5) TooLargeDiscarded(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", func(pk *packets.Packet) {
		lasting(pk)
		pk.Properties.MaximumPacketSize, pk.Properties.ReceiveMaximum = 50, 1
	})
	w.subscribe(2, "a")
	other := p.connect(t, "line1", "other")
	other.subscribe(2, "a")
	large := strings.Repeat("x", 100)
	for qos := range byte(3) {
		for range 5 {
			p.publish(t, "line2", Message{Topic: "a", Payload: []byte(large), QoS: qos})
			other.acknowledgeAll(other.expectMessage("a", large))
		}
		p.publish(t, "line2", Message{Topic: "a", Payload: []byte("small"), QoS: qos})
		w.acknowledgeAll(w.expectMessage("a", "small"))
		other.acknowledgeAll(other.expectMessage("a", "small"))
	}
	w.ping()
	p.leave(t, w)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte(large), QoS: 1})
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("small"), QoS: 1})
	w, _ = p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Properties.MaximumPacketSize = 50 })
	w.acknowledgeAll(w.expectMessage("a", "small"))
	w.ping()
}

// aliases follows the aliases of a connection and returns the topic of each PUBLISH.
func (w *wire) aliases(maximum uint16, known map[uint16]string) (topic string) {
	w.t.Helper()
	pk := w.await(packets.Publish)
	w.acknowledgeAll(pk)
	alias := pk.Properties.TopicAlias
	switch {
	case pk.Properties.TopicAliasFlag && (alias == 0 || alias > maximum):
		w.t.Errorf("topic alias %d of %d", alias, maximum)
	case !pk.Properties.TopicAliasFlag && pk.TopicName == "":
		w.t.Error("neither topic nor alias")
	case pk.TopicName == "":
		if known[alias] == "" {
			w.t.Errorf("alias %d stands for nothing", alias)
		}
		return known[alias]
	}
	if pk.Properties.TopicAliasFlag {
		known[alias] = pk.TopicName
	}
	return pk.TopicName
}

// Aliases of the broker stay within what the client takes, and stand for the right topic.
func (mqtt5) TopicAliasOut(t *testing.T) {
	p := conforming(t)
	for _, maximum := range []uint16{0, 1, 3, 65535} {
		for range 2 { // nothing is carried over to the next connection
			known := map[uint16]string{}
			w, _ := p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Properties.TopicAliasMaximum = maximum })
			w.subscribe(2, "t/+")
			for i := range 40 {
				topic := fmt.Sprint("t/", i%7)
				p.publish(t, "line2", Message{Topic: topic, Payload: []byte("x"), QoS: byte(i % 3)})
				if got := w.aliases(maximum, known); got != topic {
					t.Errorf("maximum %d: topic %q, want %q", maximum, got, topic)
				}
			}
			p.leave(t, w)
		}
	}
}

func alias(n uint16) []byte { return properties(property(packets.PropTopicAlias, u16(n)...)) }

// Every alias up to the announced one is taken, can be given another topic, and is not passed on.
func (mqtt5) TopicAliasIn(t *testing.T) {
	p := conforming(t)
	sub := p.connect(t, "line2", "s")
	sub.subscribe(0, "#")
	w, ack := p.join(t, "c", nil)
	for round := range 2 {
		for n := range ack.Properties.TopicAliasMaximum {
			w.raw(rawPublish(0, fmt.Sprintf("t/%d/%d", round, n), 0, alias(n+1), "set"))
			sub.expectMessage(fmt.Sprintf("t/%d/%d", round, n), "set")
		}
		for n := range ack.Properties.TopicAliasMaximum {
			w.raw(rawPublish(0, "", 0, alias(n+1), "used"))
			pk := sub.expectMessage(fmt.Sprintf("t/%d/%d", round, n), "used")
			if pk.Properties.TopicAliasFlag {
				t.Error("the alias is passed on")
			}
		}
	}
	w.raw(rawPublish(qos2Bits, "", 7, alias(1), "again"))
	w.expect(packets.Pubrec)
	w.raw(rawPublish(qos2Bits|dupBit, "", 7, alias(1), "again"))
	w.expect(packets.Pubrec)
}

func (mqtt5) TopicAliasNotCarried(t *testing.T) {
	p := conforming(t)
	for range 2 {
		w, _ := p.join(t, "c", lasting)
		w.raw(rawPublish(0, "a", 0, alias(1), "x"))
		w.ping()
		p.leave(t, w)
	}
	w, _ := p.join(t, "c", lasting)
	if e := w.violate(rawPublish(0, "", 0, alias(1), "x")); e.disconnect != 0x82 && e.disconnect != 0x94 {
		t.Errorf("DISCONNECT %#x", e.disconnect)
	}
}

func (mqtt5) TopicAliasZero(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, rawPublish(0, "a", 0, alias(0), "x"), 0x94)
	p.wantDisconnect(t, rawPublish(0, "", 0, alias(0), "x"), 0x94)
}

func (mqtt5) TopicAliasTooLarge(t *testing.T) {
	p := conforming(t)
	_, ack := p.join(t, "c", nil)
	p.wantDisconnect(t, rawPublish(0, "a", 0, alias(ack.Properties.TopicAliasMaximum+1), "x"), 0x94)
	p.wantDisconnect(t, rawPublish(qos1Bits, "a", 1, alias(65535), "x"), 0x94)
}

// MQTT needs nothing of its transport but a stream of bytes in order: packets come in any pieces.
func (mqtt5) Stream(t *testing.T) {
	p := conforming(t)
	w := p.dial(t)
	data := joined(rawConnect(member, properties(), text("c"), login("line1")), rawSubscribe(1, properties(), "a", 1), rawPublish(qos1Bits, "a", 1, properties(), "x"))
	for i := range data {
		w.raw(data[i : i+1])
	}
	w.expect(packets.Connack)
	w.expect(packets.Suback)
	w.await(packets.Publish)
	_, over := web(t, p.listenWeb(t))
	over.login("line1", "web")
	over.ping()
}

func (mqtt5) WebSocketTextFrame(t *testing.T) {
	p := conforming(t)
	ws, w := web(t, p.listenWeb(t))
	w.login("line1", "c")
	if err := ws.WriteMessage(websocket.TextMessage, []byte{pingreqByte, 0}); err != nil {
		t.Fatal(err)
	}
	w.expectEnd()
	p.awaitClients(t, 0)
}

func (mqtt5) WebSocketFrames(t *testing.T) {
	p := conforming(t)
	ws, w := web(t, p.listenWeb(t))
	data := joined(rawConnect(member, properties(), text("c"), login("line1")), framed(pingreqByte), framed(pingreqByte))
	for len(data) > 0 {
		n := min(7, len(data)) // no packet ends where a frame does
		if err := ws.WriteMessage(websocket.BinaryMessage, data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	w.expect(packets.Connack)
	w.expect(packets.Pingresp)
	w.expect(packets.Pingresp)
}

// A client that does not offer "mqtt" is not served; who does is answered "mqtt", whatever else it offers.
func (mqtt5) WebSocketProtocol(t *testing.T) {
	p := conforming(t)
	url := p.listenWeb(t)
	for _, offers := range [][]string{{"mqtt"}, {"other", "mqtt"}, {"mqtt", "other"}} {
		ws, response, err := (&websocket.Dialer{Subprotocols: offers}).Dial(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if ws.Subprotocol() != "mqtt" {
			t.Errorf("%v: sub-protocol %q", offers, ws.Subprotocol())
		}
		ws.Close()
	}
	for _, offers := range [][]string{nil, {"other"}, {"MQTT"}} {
		ws, response, err := (&websocket.Dialer{Subprotocols: offers}).Dial(url, nil)
		if err == nil {
			t.Errorf("%v is served", offers)
			ws.Close()
		}
		if response != nil {
			response.Body.Close()
		}
	}
}
