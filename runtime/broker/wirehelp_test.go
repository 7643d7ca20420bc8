package broker

import (
	"bufio"
	"bytes"
	"errors"
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
	err := encodePacket(w.version, &buf, pk)
	if err != nil {
		w.t.Fatal(err)
	}
	w.raw(buf.Bytes())
}

// encodePacket encodes what a client or a server sends.
func encodePacket(version byte, buf *bytes.Buffer, pk packets.Packet) error {
	pk.ProtocolVersion, pk.Mods.AllowResponseInfo = version, true // the codec leaves response topics out without it
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return pk.ConnectEncode(buf)
	case packets.Publish:
		return pk.PublishEncode(buf)
	case packets.Puback:
		return pk.PubackEncode(buf)
	case packets.Pubrec:
		return pk.PubrecEncode(buf)
	case packets.Pubrel:
		return pk.PubrelEncode(buf)
	case packets.Pubcomp:
		return pk.PubcompEncode(buf)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		return pk.SubscribeEncode(buf)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		return pk.UnsubscribeEncode(buf)
	case packets.Pingreq:
		return pk.PingreqEncode(buf)
	case packets.Auth:
		return pk.AuthEncode(buf)
	default:
		return pk.DisconnectEncode(buf)
	}
}

// readLength reads a variable byte integer.
func readLength(in io.ByteReader) (int, error) {
	n, _, err := packets.DecodeLength(in)
	return n, err
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
