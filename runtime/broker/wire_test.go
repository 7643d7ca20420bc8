package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// wire is a client that sends whatever a test wants.
type wire struct {
	t       testing.TB
	nc      net.Conn
	in      *bufio.Reader
	version byte
}

func (p *plant) dial(t testing.TB) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, nc)
}

func newWire(t testing.TB, nc net.Conn) *wire {
	t.Cleanup(func() { _ = nc.Close() })
	return &wire{t: t, nc: nc, in: bufio.NewReader(nc), version: 5}
}

func (w *wire) raw(data []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(data); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) send(pk packets.Packet) {
	w.t.Helper()
	var buf bytes.Buffer
	var err error
	pk.ProtocolVersion = w.version
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buf)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&buf)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&buf)
	case packets.Pingreq:
		err = pk.PingreqEncode(&buf)
	default:
		err = (&conn{version: w.version}).encode(&buf, pk)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.raw(buf.Bytes())
}

// receive reads one packet; an error means that the broker closed the connection.
func (w *wire) receive() (packets.Packet, error) {
	w.t.Helper()
	if err := w.nc.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return packets.Packet{}, err
	}
	pk := packets.Packet{ProtocolVersion: w.version}
	first, err := w.in.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	length, err := readLength(w.in)
	if err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = length
	body := make([]byte, length)
	if _, err := io.ReadFull(w.in, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		return pk, pk.ConnackDecode(body)
	case packets.Suback:
		return pk, pk.SubackDecode(body)
	case packets.Unsuback:
		return pk, pk.UnsubackDecode(body)
	case packets.Pingresp:
		return pk, pk.PingrespDecode(body)
	default:
		return pk, decode(&pk, body)
	}
}

func (w *wire) expect(kind byte) packets.Packet {
	w.t.Helper()
	pk, err := w.receive()
	if err != nil {
		w.t.Fatalf("want %s: %v", packets.PacketNames[kind], err)
	}
	if pk.FixedHeader.Type != kind {
		w.t.Fatalf("want %s, got %s (reason %#x %q)", packets.PacketNames[kind], packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode, pk.Properties.ReasonString)
	}
	return pk
}

// expectEnd reads to the end of the connection and returns the DISCONNECT's reason, 0 for none.
func (w *wire) expectEnd() byte {
	w.t.Helper()
	var reason byte
	for {
		pk, err := w.receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.t.Fatal("the connection stays open")
		}
		if err != nil {
			return reason
		}
		if pk.FixedHeader.Type == packets.Disconnect {
			reason = pk.ReasonCode
		}
	}
}

func connectPacket(user, client string) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	pk.Connect = packets.ConnectParams{
		ProtocolName: []byte("MQTT"), ClientIdentifier: client, Clean: true, Keepalive: 60,
		UsernameFlag: true, Username: []byte(user), PasswordFlag: true, Password: []byte("pw-" + user),
	}
	return pk
}

// connect logs in with a clean session of MQTT 5.
func (p *plant) connect(t testing.TB, user, client string) *wire {
	t.Helper()
	w := p.dial(t)
	w.send(connectPacket(user, client))
	if ack := w.expect(packets.Connack); ack.ReasonCode != 0 {
		t.Fatalf("refused with %#x", ack.ReasonCode)
	}
	return w
}

func (w *wire) subscribe(qos byte, filters ...string) []byte {
	w.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 7}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	w.send(pk)
	return w.expect(packets.Suback).ReasonCodes
}

func (w *wire) publish(topic, payload string, qos byte, id uint16) {
	w.t.Helper()
	w.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: []byte(payload), PacketID: id,
	})
}

func (w *wire) ack(kind byte, id uint16) {
	w.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id}
	if kind == packets.Pubrel {
		pk.FixedHeader.Qos = 1
	}
	w.send(pk)
}

func (w *wire) expectMessage(topic, payload string) packets.Packet {
	w.t.Helper()
	pk := w.expect(packets.Publish)
	if pk.TopicName != topic || string(pk.Payload) != payload {
		w.t.Fatalf("want %q on %q, got %q on %q", payload, topic, pk.Payload, pk.TopicName)
	}
	return pk
}

// ping proves that the broker has handled all before it, and sent nothing else.
func (w *wire) ping() {
	w.t.Helper()
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	w.expect(packets.Pingresp)
}

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
	if reason := killer.expectEnd(); reason != 0x80 {
		t.Errorf("DISCONNECT %#x, want 0x80", reason)
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
	session.inflight = append(session.inflight, &outgoing{id: 1}) // without a message, as no code path makes it
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
		"QoS 3":                    {[]byte{0x36, 3, 0, 1, 'a'}, 0x82},
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
