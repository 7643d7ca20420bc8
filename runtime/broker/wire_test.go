package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestWireLogin(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	for name, tc := range map[string]struct {
		change func(*packets.Packet)
		v5, v3 byte
	}{
		"right":             {func(*packets.Packet) {}, 0, 0},
		"wrong password":    {func(pk *packets.Packet) { pk.Connect.Password = []byte("x") }, 0x86, 5},
		"unknown user":      {func(pk *packets.Packet) { pk.Connect.Username = []byte("x") }, 0x86, 5},
		"no password":       {func(pk *packets.Packet) { pk.Connect.PasswordFlag = false }, 0x86, 5},
		"anonymous":         {func(pk *packets.Packet) { pk.Connect.PasswordFlag, pk.Connect.UsernameFlag = false, false }, 0x86, 5},
		"will with a topic": {func(pk *packets.Packet) { pk.Connect.WillFlag, pk.Connect.WillTopic = true, "a" }, 0, 0},
	} {
		for version, want := range map[byte]byte{5: tc.v5, 4: tc.v3} {
			t.Run(fmt.Sprintf("%s/%d", name, version), func(t *testing.T) {
				w := p.dial(t)
				w.version = version
				pk := connectPacket("line1", "c")
				tc.change(&pk)
				w.send(pk)
				if got := w.expect(packets.Connack).ReasonCode; got != want {
					t.Errorf("CONNACK %#x, want %#x", got, want)
				}
				if want != 0 {
					w.expectEnd()
				}
			})
		}
	}
}

func TestWireConnectMalformed(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	for name, tc := range map[string]struct {
		version byte
		change  func(*packets.Packet)
		want    byte // CONNACK, 0 for none
	}{
		"version 6":           {5, func(pk *packets.Packet) { pk.Connect.ProtocolName = []byte("MQTX") }, 0x84},
		"name of 3.1":         {4, func(pk *packets.Packet) { pk.Connect.ProtocolName = []byte("MQIsdp") }, 1},
		"empty id, not clean": {4, func(pk *packets.Packet) { pk.Connect.ClientIdentifier, pk.Connect.Clean = "", false }, 2},
		"will retain alone":   {5, func(pk *packets.Packet) { pk.Connect.WillRetain = true }, 0x82},
		"will wildcard":       {5, func(pk *packets.Packet) { pk.Connect.WillFlag, pk.Connect.WillTopic = true, "a/#" }, 0x90},
		"authentication":      {5, func(pk *packets.Packet) { pk.Properties.AuthenticationMethod = "SCRAM" }, 0x8C},
	} {
		t.Run(name, func(t *testing.T) {
			w := p.dial(t)
			w.version = tc.version
			pk := connectPacket("line1", "c")
			tc.change(&pk)
			w.send(pk)
			if got := w.expect(packets.Connack).ReasonCode; got != tc.want {
				t.Errorf("CONNACK %#x, want %#x", got, tc.want)
			}
			w.expectEnd()
		})
	}
	w := p.dial(t)
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	w.expectEnd()
}

func TestWireAssignedClientID(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	w := p.dial(t)
	w.send(connectPacket("line1", ""))
	if ack := w.expect(packets.Connack); ack.Properties.AssignedClientID == "" {
		t.Error("no client id was assigned")
	}
}

// The packet that ends the process of a broker that trusts the library: SUBSCRIBE, MQTT 5,
// seven bytes, an empty filter without its option byte.
func TestWireKillerPacket(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	other := p.connect(t, "line1", "other")
	other.subscribe(0, "a")
	killer := p.dial(t)
	pk := connectPacket("line1", "killer")
	pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "a", []byte("the will")
	killer.send(pk)
	killer.expect(packets.Connack)
	killer.subscribe(0, "killer/#")
	killer.raw([]byte{0x82, 5, 0, 1, 0, 0, 0})
	if reason := killer.expectEnd(); reason != 0x81 {
		t.Errorf("DISCONNECT %#x, want 0x81", reason)
	}
	other.expectMessage("a", "the will")
	p.publish(t, "line1", Message{Topic: "a", Payload: []byte("still here")})
	other.expectMessage("a", "still here")
	eventually(t, "the session to go", func() bool {
		s := p.Stats()
		return s.Panics == 1 && s.Clients == 1 && s.Subscriptions == 1
	})
}

// A panic in the writer's goroutine ends that connection, with its session, and no other.
func TestWirePanicInWriter(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	other := p.connect(t, "line1", "other")
	other.subscribe(0, "a")
	w := p.connect(t, "line1", "victim")
	w.subscribe(0, "b")
	p.Broker.mu.Lock()
	session := p.sessions[sessionKey{"line1", "victim"}]
	p.Broker.mu.Unlock()
	session.mu.Lock()
	session.box.buffer.push(delivery{}) // without a message, as no code path makes it
	session.mu.Unlock()
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	w.expectEnd()
	eventually(t, "the session to go", func() bool { s := p.Stats(); return s.Panics == 1 && s.Clients == 1 && s.Subscriptions == 1 })
	p.publish(t, "line1", Message{Topic: "a", Payload: []byte("x")})
	other.expectMessage("a", "x")
}

func TestWireMalformed(t *testing.T) {
	p := start(t, Limits{PacketBytes: 1000}, identityOf("line1", "rw #"))
	for name, tc := range map[string]struct {
		bytes  []byte
		reason byte
	}{
		"reserved type":            {[]byte{0x00, 0}, 0x81},
		"server's packet":          {[]byte{0x20, 2, 0, 0}, 0x82},
		"second connect":           {[]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0}, 0x82},
		"length of five bytes":     {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 0x81},
		"too large":                {[]byte{0x30, 0xE8, 0x08}, 0x95},
		"ping with a body":         {[]byte{0xC0, 1, 0}, 0x81},
		"QoS 3":                    {[]byte{0x36, 3, 0, 1, 'a'}, 0x81},
		"QoS 1 without id":         {[]byte{0x32, 6, 0, 1, 'a', 0, 0, 0}, 0x82},
		"no topic":                 {[]byte{0x30, 3, 0, 0, 0}, 0x90},
		"topic with a wildcard":    {[]byte{0x30, 4, 0, 1, '#', 0}, 0x90},
		"topic not UTF-8":          {[]byte{0x30, 4, 0, 1, 0xFF, 0}, 0x81},
		"alias never set":          {[]byte{0x30, 6, 0, 0, 3, 0x23, 0, 1}, 0x82},
		"alias too large":          {[]byte{0x30, 7, 0, 1, 'a', 3, 0x23, 1, 0}, 0x94},
		"subscribe without filter": {[]byte{0x82, 3, 0, 1, 0}, 0x82},
		"subscribe without id":     {[]byte{0x82, 7, 0, 0, 0, 0, 1, 'a', 0}, 0x82},
		"shared with no-local":     {[]byte{0x82, 16, 0, 1, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'a', 4}, 0x82},
		"retain handling 3":        {[]byte{0x82, 7, 0, 1, 0, 0, 1, 'a', 0x30}, 0x82},
		"auth":                     {[]byte{0xF0, 2, 0x18, 0}, 0x82},
	} {
		t.Run(name, func(t *testing.T) {
			before := p.Stats().Panics
			w := p.connect(t, "line1", "c")
			w.raw(tc.bytes)
			if reason := w.expectEnd(); reason != tc.reason {
				t.Errorf("DISCONNECT %#x, want %#x", reason, tc.reason)
			}
			malformed := tc.reason == 0x81 || tc.reason == 0x82
			eventually(t, "the count", func() bool { return (p.Stats().Panics > before) == malformed })
		})
	}
}

func TestWireQoS2(t *testing.T) {
	p := start(t, Limits{Inflight: 3}, identityOf("line1", "rw #"))
	got := p.collect(t, "line1", "a")
	w := p.connect(t, "line1", "c")
	w.publish("a", "one", 2, 5)
	w.expect(packets.Pubrec)
	w.publish("a", "one", 2, 5) // again, as after a lost PUBREC
	w.expect(packets.Pubrec)
	w.ack(packets.Pubrel, 5)
	if comp := w.expect(packets.Pubcomp); comp.ReasonCode != 0 {
		t.Errorf("PUBCOMP %#x", comp.ReasonCode)
	}
	w.ack(packets.Pubrel, 5)
	if comp := w.expect(packets.Pubcomp); comp.ReasonCode != 0x92 {
		t.Errorf("PUBCOMP %#x for an unknown id, want 0x92", comp.ReasonCode)
	}
	if m := next(t, got); string(m.Payload) != "one" || m.QoS != 2 {
		t.Errorf("got %+v", m)
	}
	for id := range uint16(3) {
		w.publish("a", "more", 2, 10+id)
		w.expect(packets.Pubrec)
		next(t, got)
	}
	p.nothingMore(t, "line1", "a", got)
	w.publish("a", "too many", 2, 20)
	if reason := w.expectEnd(); reason != 0x93 {
		t.Errorf("DISCONNECT %#x, want 0x93", reason)
	}
}

// The client's receive maximum holds, and all messages arrive in order.
func TestWireReceiveMaximum(t *testing.T) {
	for qos, first := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
		p := start(t, Limits{}, identityOf("line1", "rw #"))
		w := p.dial(t)
		pk := connectPacket("line1", "c")
		pk.Properties.ReceiveMaximum = 10
		w.send(pk)
		w.expect(packets.Connack)
		w.subscribe(qos, "a")
		for i := range 1000 {
			p.publish(t, "line1", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: qos})
		}
		var open []uint16
		for i := range 1000 {
			if len(open) == 10 {
				w.ping() // nothing comes until one is acknowledged in full
				for _, id := range open {
					w.ack(first, id)
					if qos == 2 && w.expect(packets.Pubrel).PacketID != id {
						t.Fatal("PUBREL for another message")
					}
				}
				for _, id := range open {
					if qos == 2 {
						w.ack(packets.Pubcomp, id)
					}
				}
				open = nil
			}
			open = append(open, w.expectMessage("a", fmt.Sprint(i)).PacketID)
		}
	}
}
