package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The flags of CONNECT (MQTT 5.0, 3.1.2.3).
const (
	reservedFlag byte = 1 << iota
	cleanStart
	willFlag
	willQoS1
	willQoS2
	willRetain
	passwordFlag
	userFlag
)

// The first bytes of the packets that tests write or read raw.
const (
	connectByte     = 0x10
	connackByte     = 0x20
	publishByte     = 0x30 // QoS 0, no DUP, no RETAIN
	pubackByte      = 0x40
	pubrecByte      = 0x50
	pubrelByte      = 0x62
	pubcompByte     = 0x70
	subscribeByte   = 0x82
	subackByte      = 0x90
	unsubscribeByte = 0xA2
	unsubackByte    = 0xB0
	pingreqByte     = 0xC0
	pingrespByte    = 0xD0
	disconnectByte  = 0xE0
	authByte        = 0xF0
)

const (
	dupBit    = 0x08
	qos1Bits  = 0x02
	qos2Bits  = 0x04
	retainBit = 0x01
)

func text(s string) []byte { return append(u16(uint16(len(s))), s...) }

func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func joined(parts ...[]byte) []byte { return slices.Concat(parts...) }

// variable is a variable byte integer (MQTT 5.0, 1.5.5).
func variable(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// framed is a packet of first byte, remaining length and body.
func framed(first byte, body ...[]byte) []byte {
	b := joined(body...)
	return joined([]byte{first}, variable(len(b)), b)
}

// properties are the property length and the properties.
func properties(props ...[]byte) []byte {
	b := joined(props...)
	return append(variable(len(b)), b...)
}

// property is an identifier and its value.
func property(id byte, value ...byte) []byte { return append([]byte{id}, value...) }

func userProperty(key, value string) []byte {
	return property(packets.PropUser, joined(text(key), text(value))...)
}

// rawConnect is a CONNECT of MQTT 5 with keep-alive 60 s.
func rawConnect(flags byte, props []byte, payload ...[]byte) []byte {
	return framed(connectByte, text("MQTT"), []byte{5, flags}, u16(60), props, joined(payload...))
}

// login is the end of a CONNECT's payload, for the flags userFlag and passwordFlag.
func login(user string) []byte { return joined(text(user), text("pw-"+user)) }

// rawPublish is a PUBLISH of MQTT 5; bits are those of the first byte, id is left out at QoS 0.
func rawPublish(bits byte, topic string, id uint16, props []byte, payload string) []byte {
	if bits&(qos1Bits|qos2Bits) == 0 {
		return framed(publishByte|bits, text(topic), props, []byte(payload))
	}
	return framed(publishByte|bits, text(topic), u16(id), props, []byte(payload))
}

func rawSubscribe(id uint16, props []byte, filter string, options byte) []byte {
	return framed(subscribeByte, u16(id), props, text(filter), []byte{options})
}

// received is one packet as it came.
type received struct {
	first  byte
	length []byte // the remaining length as it was encoded
	body   []byte
}

func (r received) size() int { return 1 + len(r.length) + len(r.body) }

// next reads one packet without the library's codec.
func (w *wire) next() (received, error) {
	w.t.Helper()
	var r received
	if err := w.nc.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return r, err
	}
	var err error
	if r.first, err = w.in.ReadByte(); err != nil {
		return r, err
	}
	for {
		b, err := w.in.ReadByte()
		if err != nil {
			return r, err
		}
		r.length = append(r.length, b)
		if b&0x80 == 0 {
			break
		}
	}
	n, _ := binary.Uvarint(r.length)
	r.body = make([]byte, n)
	_, err = io.ReadFull(w.in, r.body)
	return r, err
}

// expectRaw reads one packet, which must begin so.
func (w *wire) expectRaw(first byte) received {
	w.t.Helper()
	r, err := w.next()
	if err != nil {
		w.t.Fatalf("want a packet %#x: %v", first, err)
	}
	if r.first != first {
		w.t.Fatalf("want a packet %#x, got %#x % x", first, r.first, r.body)
	}
	return r
}

// none stands for a reason code that was not sent.
const none = -1

// ending is what the broker said before it closed a connection.
type ending struct{ connack, disconnect int }

// violate sends the data and a PINGREQ, and reads until the broker closes the connection. A
// broker that answers the PINGREQ, or sends anything after DISCONNECT, fails the test.
func (w *wire) violate(data []byte) ending {
	w.t.Helper()
	w.raw(joined(data, []byte{pingreqByte, 0}))
	return w.ending(data)
}

func (w *wire) ending(data []byte) ending {
	w.t.Helper()
	e := ending{none, none}
	for {
		pk, err := w.receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.t.Fatalf("% .40x: the connection stays open, and nothing comes", data)
		case err != nil:
			return e
		case e.disconnect != none:
			w.t.Fatalf("% .40x: %s after DISCONNECT", data, packets.PacketNames[pk.FixedHeader.Type])
		case pk.FixedHeader.Type == packets.Connack:
			e.connack = int(pk.ReasonCode)
		case pk.FixedHeader.Type == packets.Disconnect:
			e.disconnect = int(pk.ReasonCode)
		case pk.FixedHeader.Type == packets.Pingresp:
			w.t.Errorf("% .40x: the connection stays open", data)
			w.nc.Close()
			return e
		}
	}
}

// wantDisconnect sends the data on a new connection, which must end with one of the codes.
func (p *plant) wantDisconnect(t testing.TB, data []byte, codes ...int) {
	t.Helper()
	w := p.connect(t, "line1", "violator")
	defer w.nc.Close()
	if e := w.violate(data); !slices.Contains(codes, e.disconnect) {
		t.Errorf("% .40x: DISCONNECT %#x, want %#x", data, e.disconnect, codes)
	}
}

// wantRefused sends a CONNECT, which must be refused: with one of the codes or without
// CONNACK, and without DISCONNECT.
func (p *plant) wantRefused(t testing.TB, connect []byte, codes ...int) {
	t.Helper()
	w := p.dial(t)
	defer w.nc.Close()
	e := w.violate(connect)
	if e.connack != none && !slices.Contains(codes, e.connack) || e.disconnect != none {
		t.Errorf("% .60x: CONNACK %#x, DISCONNECT %#x; want CONNACK %#x or none", connect, e.connack, e.disconnect, codes)
	}
}

// wantAccepted sends a CONNECT of MQTT 5, which must be accepted.
func (p *plant) wantAccepted(t testing.TB, connect []byte) *wire {
	t.Helper()
	w := p.dial(t)
	w.raw(connect)
	if ack := w.expect(packets.Connack); ack.ReasonCode != 0 {
		t.Fatalf("% .60x: refused with %#x", connect, ack.ReasonCode)
	}
	return w
}

// conforming starts a broker with two identities that may read and write everything.
func conforming(t testing.TB) *plant {
	t.Helper()
	return start(t, Limits{}, identityOf("line1", "rw #", "rw $own/#"), identityOf("line2", "rw #"))
}

// join connects as line1 after change has changed the CONNECT.
func (p *plant) join(t testing.TB, client string, change func(*packets.Packet)) (*wire, packets.Packet) {
	t.Helper()
	w := p.dial(t)
	pk := connectPacket("line1", client)
	if change != nil {
		change(&pk)
	}
	w.send(pk)
	ack := w.expect(packets.Connack)
	if ack.ReasonCode != 0 {
		t.Fatalf("refused with %#x", ack.ReasonCode)
	}
	return w, ack
}

// lasting makes the session outlive its connection.
func lasting(pk *packets.Packet) {
	pk.Connect.Clean = false
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
}

// leave breaks the connection and waits until the broker has noticed.
func (p *plant) leave(t testing.TB, w *wire) {
	t.Helper()
	w.nc.Close()
	eventually(t, "the connection to end", func() bool { return !p.serves(w.nc.LocalAddr()) })
}

// serves reports whether a session has the client's connection.
func (p *plant) serves(client net.Addr) bool {
	p.Broker.mu.Lock()
	defer p.Broker.mu.Unlock()
	for _, s := range p.sessions {
		if s.conn != nil && s.conn.net.RemoteAddr().String() == client.String() {
			return true
		}
	}
	return false
}

// subscribeWith sends one subscription with all its options and returns its code.
func (w *wire) subscribeWith(id int, s packets.Subscription) byte {
	w.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9, Filters: packets.Subscriptions{s}}
	if id > 0 {
		pk.Properties.SubscriptionIdentifier = []int{id}
	}
	w.send(pk)
	return w.expect(packets.Suback).ReasonCodes[0]
}

// acknowledgeAll takes a message to its end as the receiver.
func (w *wire) acknowledgeAll(pk packets.Packet) {
	w.t.Helper()
	switch pk.FixedHeader.Qos {
	case 1:
		w.ack(packets.Puback, pk.PacketID)
	case 2:
		w.ack(packets.Pubrec, pk.PacketID)
		if rel := w.expect(packets.Pubrel); rel.PacketID != pk.PacketID {
			w.t.Fatalf("PUBREL %d, want %d", rel.PacketID, pk.PacketID)
		}
		w.ack(packets.Pubcomp, pk.PacketID)
	}
}

// publishAll takes a message to its end as the sender.
func (w *wire) publishAll(topic, payload string, qos byte, id uint16) {
	w.t.Helper()
	w.publish(topic, payload, qos, id)
	switch qos {
	case 1:
		w.expect(packets.Puback)
	case 2:
		w.expect(packets.Pubrec)
		w.ack(packets.Pubrel, id)
		w.expect(packets.Pubcomp)
	}
}

// answer sends what a receiver answers to the packet, if anything.
func (w *wire) answer(pk packets.Packet) {
	w.t.Helper()
	switch {
	case pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos == 1:
		w.ack(packets.Puback, pk.PacketID)
	case pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos == 2:
		w.ack(packets.Pubrec, pk.PacketID)
	case pk.FixedHeader.Type == packets.Pubrel:
		w.ack(packets.Pubcomp, pk.PacketID)
	}
}

func wantBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: % x, want % x", what, got, want)
	}
}
