package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/credential"
)

// member is the flags and the rest of the payload of a client that logs in.
const member = cleanStart | userFlag | passwordFlag

func (mqtt5) FirstPacketConnect(t *testing.T) {
	p := conforming(t)
	for _, data := range [][]byte{
		framed(connackByte, []byte{0, 0}, properties()), rawPublish(0, "a", 0, properties(), "x"),
		rawPublish(qos1Bits, "a", 1, properties(), "x"), framed(pubackByte, u16(1)), framed(pubrelByte, u16(1)),
		rawSubscribe(1, properties(), "a", 0), framed(unsubscribeByte, u16(1), properties(), text("a")),
		framed(pingreqByte), framed(disconnectByte), framed(authByte, []byte{0x18}, properties()),
		{0, 0},
	} {
		p.wantRefused(t, data)
	}
}

func (mqtt5) SecondConnect(t *testing.T) {
	p := conforming(t)
	p.wantDisconnect(t, rawConnect(member, properties(), text("violator"), login("line1")), 0x82)
}

func (mqtt5) ProtocolName(t *testing.T) {
	p := conforming(t)
	for _, name := range []string{"", "mqtt", "MQT", "MQTTT", "MQTX", "MQIsdp", "\xFFQTT", "MQTT\x00"} {
		connect := framed(connectByte, text(name), []byte{5, member}, u16(60), properties(), text("c"), login("line1"))
		p.wantRefused(t, connect, 0x81, 0x82, 0x84)
	}
}

func (mqtt5) ProtocolVersion(t *testing.T) {
	p := conforming(t)
	for _, version := range []byte{0, 1, 2, 6, 7, 0x7F, 0x85, 0xFF} {
		for _, props := range [][]byte{properties(), nil} { // whatever that version has there
			connect := framed(connectByte, text("MQTT"), []byte{version, member}, u16(60), props, text("c"), login("line1"))
			w := p.dial(t)
			w.version = 4 // CONNACK of any version begins alike, but for its length
			w.raw(joined(connect, []byte{pingreqByte, 0}))
			for {
				r, err := w.next()
				if err != nil {
					break
				}
				if r.first != connackByte || r.body[1] != 0x84 && r.body[1] != 1 {
					t.Fatalf("version %d: answer %#x % x", version, r.first, r.body)
				}
			}
		}
	}
}

func (mqtt5) ConnectReservedFlag(t *testing.T) {
	p := conforming(t)
	p.wantRefused(t, rawConnect(member|reservedFlag, properties(), text("c"), login("line1")), 0x81, 0x82)
}

func (mqtt5) CleanStartDiscards(t *testing.T) {
	p := conforming(t)
	w, _ := p.join(t, "c", lasting)
	w.subscribe(1, "a")
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("in flight"), QoS: 1})
	w.expectMessage("a", "in flight")
	p.leave(t, w)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("queued"), QoS: 1})
	w, ack := p.join(t, "c", func(pk *packets.Packet) { lasting(pk); pk.Connect.Clean = true })
	if ack.SessionPresent {
		t.Error("session present")
	}
	w.ping()
	p.publish(t, "line2", Message{Topic: "a", QoS: 1})
	w.ping() // the subscription is gone too
	p.leave(t, w)
	if _, ack = p.join(t, "c", lasting); !ack.SessionPresent {
		t.Error("the session begun with clean start does not last")
	}
}

func (mqtt5) SessionResumed(t *testing.T) {
	p := conforming(t)
	w, ack := p.join(t, "c", lasting)
	if ack.SessionPresent {
		t.Error("a new session is present")
	}
	w.subscribe(2, "a")
	p.leave(t, w)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("1"), QoS: 1})
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("2"), QoS: 2})
	w, ack = p.join(t, "c", lasting)
	if !ack.SessionPresent {
		t.Error("the session is not present")
	}
	w.acknowledgeAll(w.expectMessage("a", "1"))
	w.acknowledgeAll(w.expectMessage("a", "2"))
	w.publish("a", "3", 0, 0)
	w.expectMessage("a", "3")
}

func (mqtt5) SessionCreated(t *testing.T) {
	p := conforming(t)
	w, ack := p.join(t, "new", lasting)
	if ack.SessionPresent {
		t.Error("session present")
	}
	w.subscribe(1, "a")
	w.publish("a", "x", 0, 0)
	w.expectMessage("a", "x")
}

// anyone starts a broker that takes any password, and none, so that only the form of a
// CONNECT is a reason to refuse it.
func anyone(t *testing.T) *plant {
	t.Helper()
	login := func(_ context.Context, _ credential.Attempt, hashes []string) (string, error) {
		return strings.Join(hashes, ""), nil // each identity has one
	}
	return startOptions(t, Options{Dir: t.TempDir(), Login: login}, newControl(identityOf("", "rw #"), identityOf("line1", "rw #")))
}

func (mqtt5) UserNameWithoutFlag(t *testing.T) {
	p := anyone(t)
	p.wantAccepted(t, rawConnect(cleanStart, properties(), text("c")))
	p.wantRefused(t, rawConnect(cleanStart, properties(), text("c"), text("line1")), 0x81, 0x82)
	p.wantRefused(t, rawConnect(member, properties(), text("c"), login("line1"), text("more")), 0x81, 0x82)
}

func (mqtt5) UserNameMissing(t *testing.T) {
	p := anyone(t)
	p.wantRefused(t, rawConnect(cleanStart|userFlag, properties(), text("c")), 0x81, 0x82)
	p.wantRefused(t, rawConnect(cleanStart|userFlag, properties(), text("c"), []byte{0, 9, 'x'}), 0x81, 0x82)
}

func (mqtt5) PasswordWithoutFlag(t *testing.T) {
	p := anyone(t)
	p.wantRefused(t, rawConnect(cleanStart|userFlag, properties(), text("c"), login("line1")), 0x81, 0x82)
}

func (mqtt5) PasswordMissing(t *testing.T) {
	p := anyone(t)
	p.wantRefused(t, rawConnect(member, properties(), text("c"), text("line1")), 0x81, 0x82)
	p.wantRefused(t, rawConnect(member, properties(), text("c"), text("line1"), []byte{0, 99, 'p'}), 0x81, 0x82)
}

// The fields of the payload are taken in their order.
func (mqtt5) ConnectFieldOrder(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "the/will")
	props := properties(property(packets.PropContentType, text("kind")...))
	w := p.wantAccepted(t, rawConnect(member|willFlag|willQoS1, properties(), text("c"), props, text("the/will"), text("payload"), login("line1")))
	w.nc.Close()
	if m := next(t, got); string(m.Payload) != "payload" || m.QoS != 1 {
		t.Errorf("got %+v", m)
	}
	p.wantRefused(t, rawConnect(member, properties(), text("c"), text("pw-line1"), text("line1")), 0x86, 0x87)
}

func (mqtt5) ClientIDNamesSession(t *testing.T) {
	p := conforming(t)
	one, _ := p.join(t, "one", lasting)
	one.subscribe(1, "a")
	p.leave(t, one)
	if _, ack := p.join(t, "two", lasting); ack.SessionPresent {
		t.Error("another client id has the session")
	}
	if _, ack := p.join(t, "One", lasting); ack.SessionPresent {
		t.Error("case makes no difference")
	}
	if _, ack := p.join(t, "one", lasting); !ack.SessionPresent {
		t.Error("the client id has lost its session")
	}
}

func (mqtt5) ClientIDMissing(t *testing.T) {
	p := conforming(t)
	p.wantRefused(t, rawConnect(cleanStart, properties()), 0x81, 0x82, 0x85)
	p.wantRefused(t, rawConnect(cleanStart, properties(), []byte{0}), 0x81, 0x82, 0x85)
	p.wantRefused(t, rawConnect(cleanStart, properties(), []byte{0, 5, 'x'}), 0x81, 0x82, 0x85)
}

func (mqtt5) ClientIDCharacters(t *testing.T) {
	const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	p := conforming(t)
	for i := range all {
		for _, id := range []string{all[i : i+1], strings.Repeat(all[i:i+1], 23)} {
			w, ack := p.join(t, id, nil)
			if ack.Properties.AssignedClientID != "" {
				t.Errorf("%q is replaced by %q", id, ack.Properties.AssignedClientID)
			}
			w.nc.Close()
		}
	}
}

// An empty id is replaced by one that is new, told, and usable as if the client had sent it.
func (mqtt5) ClientIDAssigned(t *testing.T) {
	p := conforming(t)
	ids := map[string]bool{}
	for range 20 {
		_, ack := p.join(t, "", nil)
		id := ack.Properties.AssignedClientID
		if id == "" || ids[id] {
			t.Fatalf("assigned %q after %v", id, ids)
		}
		ids[id] = true
	}
	w, ack := p.join(t, "", lasting) // without clean start
	id := ack.Properties.AssignedClientID
	if ack.SessionPresent || id == "" || ids[id] {
		t.Errorf("assigned %q, session present %v", id, ack.SessionPresent)
	}
	w.subscribe(1, "a")
	p.leave(t, w)
	p.publish(t, "line2", Message{Topic: "a", Payload: []byte("x"), QoS: 1})
	w, ack = p.join(t, id, lasting)
	if !ack.SessionPresent || ack.Properties.AssignedClientID != "" {
		t.Errorf("as %q: session present %v, assigned %q", id, ack.SessionPresent, ack.Properties.AssignedClientID)
	}
	w.expectMessage("a", "x")
}

// A CONNECT cut anywhere, or with something too much, is refused.
func (mqtt5) ConnectMalformed(t *testing.T) {
	p := anyone(t)
	full := joined(text("MQTT"), []byte{5, member | willFlag}, u16(60), properties(property(packets.PropSessionExpiryInterval, u32(5)...)),
		text("c"), properties(), text("will"), text("payload"), login("line1"))
	for n := range full {
		p.wantRefused(t, framed(connectByte, full[:n]), 0x81, 0x82, 0x84, 0x85)
	}
	p.wantRefused(t, framed(connectByte, full, []byte{0}), 0x81, 0x82)
	for name, props := range badConnectProperties() {
		t.Run(name, func(t *testing.T) {
			p.wantRefused(t, rawConnect(member, props, text("c"), login("line1")), 0x81, 0x82, 0x8C)
		})
	}
}

// badConnectProperties are those that 3.1.2.11 forbids.
func badConnectProperties() map[string][]byte {
	bad := map[string][]byte{
		"receive maximum 0":     properties(property(packets.PropReceiveMaximum, 0, 0)),
		"maximum packet size 0": properties(property(packets.PropMaximumPacketSize, 0, 0, 0, 0)),
		"response information":  properties(property(packets.PropRequestResponseInfo, 2)),
		"problem information":   properties(property(packets.PropRequestProblemInfo, 2)),
		"data without method":   properties(property(packets.PropAuthenticationData, text("x")...)),
		"unknown property":      properties(property(0x7F, 0)),
		"property 0":            properties(property(0, 0)),
		"length too long":       {99, packets.PropReceiveMaximum, 0, 1},
		"length too short":      {2, packets.PropReceiveMaximum, 0, 1},
		"cut property":          properties(property(packets.PropSessionExpiryInterval, 0)),
	}
	for _, id := range []byte{
		packets.PropPayloadFormat, packets.PropWillDelayInterval, packets.PropTopicAlias, packets.PropServerKeepAlive,
		packets.PropMaximumQos, packets.PropRetainAvailable, packets.PropSharedSubAvailable,
	} {
		bad[fmt.Sprintf("property %d of other packets", id)] = properties(property(id, 0, 0, 0, 0))
	}
	for _, twice := range [][]byte{
		property(packets.PropSessionExpiryInterval, 0, 0, 0, 1), property(packets.PropReceiveMaximum, 0, 9),
		property(packets.PropMaximumPacketSize, 0, 1, 0, 0), property(packets.PropTopicAliasMaximum, 0, 9),
		property(packets.PropRequestResponseInfo, 1), property(packets.PropRequestProblemInfo, 1),
		property(packets.PropAuthenticationMethod, text("X")...),
	} {
		bad[fmt.Sprintf("property %d twice", twice[0])] = properties(twice, twice)
	}
	return bad
}

func (mqtt5) LoginRefused(t *testing.T) {
	p := conforming(t)
	for _, data := range [][]byte{
		rawConnect(member, properties(), text("c"), text("line1"), text("wrong")),
		rawConnect(member, properties(), text("c"), text("nobody"), text("pw-nobody")),
		rawConnect(cleanStart|userFlag, properties(), text("c"), text("line1")),
		rawConnect(cleanStart|passwordFlag, properties(), text("c"), text("pw-line1")),
		rawConnect(cleanStart, properties(), text("c")),
	} {
		p.wantRefused(t, data, 0x86, 0x87)
	}
}

func (mqtt5) TakenOver(t *testing.T) {
	p := conforming(t)
	for _, client := range []func(*packets.Packet){nil, lasting} {
		first, _ := p.join(t, "c", client)
		second, _ := p.join(t, "c", client)
		if e := first.ending(nil); e.disconnect != 0x8E {
			t.Errorf("DISCONNECT %#x, want 0x8e", e.disconnect)
		}
		second.ping()
	}
}

func (mqtt5) NothingAfterRefusal(t *testing.T) {
	p := conforming(t)
	for _, connect := range [][]byte{
		rawConnect(member, properties(), text("c"), text("line1"), text("wrong")),
		rawConnect(member|reservedFlag, properties(), text("c"), login("line1")),
		framed(connectByte, text("MQTT"), []byte{6, member}, u16(60), properties(), text("c"), login("line1")),
	} {
		w := p.dial(t)
		w.raw(joined(connect, rawConnect(member, properties(), text("c"), login("line1")), rawPublish(retainBit, "a", 0, properties(), "x")))
		if e := w.ending(connect); e.connack == 0 {
			t.Error("a second CONNECT was accepted")
		}
	}
	later := p.connect(t, "line2", "later")
	later.subscribe(0, "a")
	later.ping()
}
