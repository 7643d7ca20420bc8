package broker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// How long a client of the durability tests waits: for a packet before it looks at what else
// there is to do, and for the rest of a packet or for room to write, after which the broker
// counts as stuck.
const (
	lookAround = 5 * time.Millisecond
	stuckAfter = time.Minute
)

// link is one connection of a client of the durability tests. One goroutine owns it, but for
// the cut, which closes nc. It shares no code with the broker but the library's codec.
type link struct {
	nc      net.Conn
	in      *bufio.Reader
	out     bytes.Buffer // not yet written
	version byte
	number  int // of its client's connections, from 1

	present    bool // the broker had the session
	receiveMax int  // of the broker: unacknowledged QoS 1 and 2 messages that it takes
}

// greeting is what a client of the durability tests connects with.
type greeting struct {
	client     string
	version    byte
	clean      bool
	expiry     uint32 // seconds; MQTT 3 has it by clean
	receiveMax uint16 // MQTT 5 only; 0: the most
}

// open sends CONNECT and waits for the broker's yes.
func (o greeting) open(nc net.Conn, number int) (*link, error) {
	l := &link{nc: nc, in: bufio.NewReader(nc), version: o.version, number: number, receiveMax: 65535}
	pk := connectPacket("line1", o.client)
	pk.Connect.Clean, pk.Connect.Keepalive = o.clean, 0
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = o.expiry, true
	pk.Properties.ReceiveMaximum = o.receiveMax
	l.put(pk)
	if err := l.flush(); err != nil {
		return nil, err
	}
	ack, err := l.await(packets.Connack)
	if err != nil {
		return nil, err
	}
	switch ack.ReasonCode {
	case 0:
	case 3, 0x88, 0x89, 0x8B: // MQTT 3, MQTT 5: unavailable, busy, shutting down
		return nil, fmt.Errorf("the broker, which stops, has no time for %q: %#x", o.client, ack.ReasonCode)
	default:
		return nil, fmt.Errorf("CONNECT of %q was refused with %#x", o.client, ack.ReasonCode)
	}
	l.present = ack.SessionPresent
	if ack.Properties.ReceiveMaximum > 0 {
		l.receiveMax = int(ack.Properties.ReceiveMaximum)
	}
	return l, nil
}

// put appends a packet to what the next flush writes.
func (l *link) put(pk packets.Packet) {
	pk.ProtocolVersion = l.version
	encode := map[byte]func(*bytes.Buffer) error{
		packets.Connect: pk.ConnectEncode, packets.Publish: pk.PublishEncode, packets.Puback: pk.PubackEncode,
		packets.Pubrec: pk.PubrecEncode, packets.Pubrel: pk.PubrelEncode, packets.Pubcomp: pk.PubcompEncode,
		packets.Subscribe: pk.SubscribeEncode, packets.Unsubscribe: pk.UnsubscribeEncode,
		packets.Pingreq: pk.PingreqEncode, packets.Disconnect: pk.DisconnectEncode,
	}[pk.FixedHeader.Type]
	if err := encode(&l.out); err != nil {
		panic(err) // the test's own mistake
	}
}

// putAck appends one of the four packets that acknowledge.
func (l *link) putAck(kind byte, id uint16) {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id}
	if kind == packets.Pubrel {
		pk.FixedHeader.Qos = 1
	}
	l.put(pk)
}

func (l *link) flush() error {
	if l.out.Len() == 0 {
		return nil
	}
	if err := l.nc.SetWriteDeadline(time.Now().Add(stuckAfter)); err != nil {
		return err
	}
	_, err := l.nc.Write(l.out.Bytes())
	l.out.Reset()
	return err
}

// tear writes a part of what waits, the last packet cut short, and breaks the connection.
func (l *link) tear(part float64) {
	l.out.Truncate(int(float64(l.out.Len()) * part))
	_ = l.flush() // it breaks anyway
	_ = l.nc.Close()
}

// leave says goodbye; the session stays.
func (l *link) leave() {
	l.put(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	_ = l.flush() // who is gone needs no goodbye
	_ = l.nc.Close()
}

// next returns the next packet, or false when none came within lookAround.
func (l *link) next() (pk packets.Packet, there bool, err error) {
	if err := l.nc.SetReadDeadline(time.Now().Add(lookAround)); err != nil {
		return pk, false, err
	}
	if _, err := l.in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
		return pk, false, nil
	}
	if err := l.nc.SetReadDeadline(time.Now().Add(stuckAfter)); err != nil {
		return pk, false, err
	}
	pk, err = l.read()
	return pk, err == nil, err
}

// read reads one packet.
func (l *link) read() (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: l.version}
	first, err := l.in.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	length, err := binary.ReadUvarint(l.in) // MQTT counts the same way
	if err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = int(length)
	body := make([]byte, length)
	if _, err := io.ReadFull(l.in, body); err != nil {
		return pk, err
	}
	return pk, decodeServer(&pk, body)
}

// decodeServer decodes what a broker sends.
func decodeServer(pk *packets.Packet, body []byte) error {
	switch pk.FixedHeader.Type {
	case packets.Connack:
		return pk.ConnackDecode(body)
	case packets.Publish:
		return pk.PublishDecode(body)
	case packets.Puback:
		return pk.PubackDecode(body)
	case packets.Pubrec:
		return pk.PubrecDecode(body)
	case packets.Pubrel:
		return pk.PubrelDecode(body)
	case packets.Pubcomp:
		return pk.PubcompDecode(body)
	case packets.Suback:
		return pk.SubackDecode(body)
	case packets.Unsuback:
		return pk.UnsubackDecode(body)
	case packets.Pingresp:
		return pk.PingrespDecode(body)
	case packets.Disconnect:
		if err := pk.DisconnectDecode(body); err != nil {
			return err
		}
		return fmt.Errorf("the broker disconnects with %#x %q", pk.ReasonCode, pk.Properties.ReasonString)
	default:
		return fmt.Errorf("a broker sends no packet of type %d", pk.FixedHeader.Type)
	}
}

// await reads until a packet of the kind comes; messages before it are not expected.
func (l *link) await(kind byte) (packets.Packet, error) {
	if err := l.nc.SetReadDeadline(time.Now().Add(stuckAfter)); err != nil {
		return packets.Packet{}, err
	}
	pk, err := l.read()
	if err == nil && pk.FixedHeader.Type != kind {
		err = fmt.Errorf("want %s, got %s", packets.PacketNames[kind], packets.PacketNames[pk.FixedHeader.Type])
	}
	return pk, err
}
