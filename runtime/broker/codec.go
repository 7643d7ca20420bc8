package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/mochi-mqtt/server/v2/packets"
)

// readPacket reads and decodes one packet. A packet that is no MQTT, or over which the
// decoder panics, is an error with a code.
func (c *conn) readPacket(limit int) (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: c.version}
	first, err := c.in.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	length, err := readLength(c.in)
	if err != nil {
		return pk, err
	}
	if length > limit {
		return pk, packets.ErrPacketTooLarge
	}
	pk.FixedHeader.Remaining = length
	body, err := readBody(c.in, length)
	if err != nil {
		return pk, err
	}
	return pk, guard(func() error { return decode(&pk, body) })
}

// readLength reads a variable byte integer of at most four bytes (MQTT 5.0, 1.5.5).
func readLength(in io.ByteReader) (int, error) {
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		length |= int(b&0x7F) << shift
		if b&0x80 == 0 {
			return length, nil
		}
	}
	return 0, packets.ErrMalformedVariableByteInteger
}

// trustedLength is allocated on a client's word; more only as it arrives.
const trustedLength = 64 << 10

func readBody(in io.Reader, length int) ([]byte, error) {
	if length <= trustedLength {
		body := make([]byte, length)
		_, err := io.ReadFull(in, body)
		return body, err
	}
	var body bytes.Buffer
	_, err := io.CopyN(&body, in, int64(length))
	return body.Bytes(), err
}

func decode(pk *packets.Packet, body []byte) error {
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	case packets.Pingreq:
		if len(body) > 0 {
			return packets.ErrMalformedPacket
		}
	case packets.Reserved:
		return packets.ErrMalformedPacket
	default: // what only servers send, and AUTH, which no login here uses
		return packets.ErrProtocolViolation
	}
	if err != nil && !errors.As(err, new(packets.Code)) {
		return fmt.Errorf("%w: %w", packets.ErrMalformedPacket, err)
	}
	return err
}

// encode appends a packet as this client's version of MQTT has it.
func (c *conn) encode(buf *bytes.Buffer, pk packets.Packet) error {
	pk.ProtocolVersion = c.version
	pk.Mods.AllowResponseInfo = true // the codec leaves response topics out without it
	switch pk.FixedHeader.Type {
	case packets.Connack:
		return pk.ConnackEncode(buf)
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
	case packets.Suback:
		return pk.SubackEncode(buf)
	case packets.Unsuback:
		return pk.UnsubackEncode(buf)
	case packets.Pingresp:
		return pk.PingrespEncode(buf)
	case packets.Disconnect:
		return pk.DisconnectEncode(buf)
	default:
		return fmt.Errorf("cannot encode a packet of type %d", pk.FixedHeader.Type)
	}
}
