package broker

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// decode decodes what is not in the path of messages with the library's codec. A packet that
// is no MQTT, or over which the decoder panics, is an error with a code.
func (c *conn) decode(first byte, body []byte) (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: c.version}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = len(body)
	if err := checkBody(first>>4, body, c.version); err != nil {
		return pk, err
	}
	err := guard(func() error { return decode(&pk, bytes.Clone(body)) })
	return pk, err
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
	default: // what only servers send, and AUTH, which no login here uses
		return packets.ErrProtocolViolation
	}
	if err != nil && !errors.As(err, new(packets.Code)) {
		return fmt.Errorf("%w: %w", packets.ErrMalformedPacket, err)
	}
	return err
}

// encode encodes a packet as this client's version of MQTT has it.
func (c *conn) encode(pk packets.Packet) ([]byte, error) {
	pk.ProtocolVersion = c.version
	var buf bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackEncode(&buf)
	case packets.Suback:
		err = pk.SubackEncode(&buf)
	case packets.Unsuback:
		err = pk.UnsubackEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	default:
		err = fmt.Errorf("cannot encode a packet of type %d", pk.FixedHeader.Type)
	}
	return buf.Bytes(), err
}

// withReason encodes a packet with a reason string, if that is not too large for the client
// (MQTT 5.0, 3.2.2.3.9); nil where it is too large without it too.
func (c *conn) withReason(pk packets.Packet, reason string) ([]byte, error) {
	pk.Properties.ReasonString = reason
	data, err := c.encode(pk)
	if err != nil || c.maxPacket == 0 || len(data) <= c.maxPacket {
		return data, err
	}
	pk.Properties.ReasonString = ""
	if data, err = c.encode(pk); len(data) > c.maxPacket {
		return nil, err
	}
	return data, err
}
