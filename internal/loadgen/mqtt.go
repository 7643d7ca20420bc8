package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// mqtt is the codec of MQTT 3.1.1 (version 4) and 5: as much as a load needs.
type mqtt struct{ version byte }

// The first bytes of the control packets (MQTT 5.0, 2.1).
const (
	mqttConnect    = 0x10
	mqttConnack    = 0x20
	mqttPublish    = 0x30
	mqttPuback     = 0x40
	mqttPubrec     = 0x50
	mqttPubrel     = 0x62
	mqttPubcomp    = 0x70
	mqttSubscribe  = 0x82
	mqttSuback     = 0x90
	mqttDisconnect = 0xe0
)

var errMalformed = errors.New("cannot decode a packet of the server: it is malformed")

// varint decodes a variable byte integer (MQTT 5.0, 1.5.5); n is 0 where buf holds less.
func varint(buf []byte) (value, n int, err error) {
	for i := 0; i < len(buf); i++ {
		value |= int(buf[i]&0x7f) << (7 * i)
		if buf[i] < 0x80 {
			return value, i + 1, nil
		}
		if i == 3 {
			return 0, 0, errMalformed
		}
	}
	return 0, 0, nil
}

func appendVarint(buf []byte, v int) []byte {
	for v >= 0x80 {
		buf = append(buf, byte(v)|0x80)
		v >>= 7
	}
	return append(buf, byte(v))
}

func appendText(buf []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(buf, uint16(len(s))), s...)
}

func (m mqtt) next(buf []byte, f *frame) (int, error) {
	if len(buf) < 2 {
		return 0, nil
	}
	length, n, err := varint(buf[1:])
	end := 1 + n + length
	if err != nil || n == 0 || len(buf) < end {
		return 0, err
	}
	return end, m.decode(buf[0], buf[1+n:end], f)
}

func (m mqtt) decode(first byte, body []byte, f *frame) error {
	f.kind = kindOther
	switch first &^ 0x0f {
	case mqttPublish:
		return m.decodePublish(first, body, f)
	case mqttPuback, mqttPubrec, mqttPubrel &^ 0x0f, mqttPubcomp:
		return decodeAck(first, body, f)
	case mqttConnack:
		return m.decodeConnack(body, f)
	case mqttSuback:
		if len(body) < 3 {
			return errMalformed
		}
		if code := body[len(body)-1]; code >= 0x80 {
			return fmt.Errorf("%w the subscription with code %#x", errRefused, code)
		}
		f.kind, f.inflight, f.again = kindAccepted, 0, false
	case mqttDisconnect:
		if len(body) > 0 {
			return fmt.Errorf("%w to go on: DISCONNECT with code %#x", errRefused, body[0])
		}
		return fmt.Errorf("%w to go on: DISCONNECT", errRefused)
	}
	return nil
}

func (m mqtt) decodePublish(first byte, body []byte, f *frame) error {
	if len(body) < 2 {
		return errMalformed
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	f.kind, f.qos, f.again, f.id = kindMessage, first>>1&3, first&8 != 0, 0
	if f.qos > 0 {
		if len(body) < at+2 {
			return errMalformed
		}
		f.id = binary.BigEndian.Uint16(body[at:])
		at += 2
	}
	if m.version == 5 {
		if len(body) <= at {
			return errMalformed
		}
		length, n, err := varint(body[at:])
		if err != nil || n == 0 {
			return errMalformed
		}
		at += n + length
	}
	if len(body) < at {
		return errMalformed
	}
	f.payload = body[at:]
	return nil
}

func decodeAck(first byte, body []byte, f *frame) error {
	if len(body) < 2 {
		return errMalformed
	}
	if len(body) > 2 && body[2] >= 0x80 {
		return fmt.Errorf("%w a message with code %#x", errRefused, body[2])
	}
	f.id = binary.BigEndian.Uint16(body)
	switch first {
	case mqttPuback, mqttPubcomp:
		f.kind = kindAck
	case mqttPubrec:
		f.kind = kindReceived
	case mqttPubrel:
		f.kind = kindRelease
	}
	return nil
}

func (m mqtt) decodeConnack(body []byte, f *frame) error {
	if len(body) < 2 {
		return errMalformed
	}
	if body[1] != 0 {
		return fmt.Errorf("%w the connection with code %#x", errRefused, body[1])
	}
	f.kind, f.again, f.inflight = kindAccepted, body[0]&1 != 0, 0
	if m.version < 5 {
		return nil
	}
	length, n, err := varint(body[2:])
	if err != nil || n == 0 || len(body) < 2+n+length {
		return errMalformed
	}
	f.inflight, err = receiveMaximum(body[2+n : 2+n+length])
	return err
}

// receiveMaximum finds the Receive Maximum among CONNACK's properties (MQTT 5.0, 3.2.2.3.3).
func receiveMaximum(props []byte) (int, error) {
	const everyMessage = 65535
	for len(props) > 0 {
		var size int
		switch id := props[0]; id {
		case 0x21:
			if len(props) < 3 {
				return 0, errMalformed
			}
			return int(binary.BigEndian.Uint16(props[1:])), nil
		case 0x13, 0x22:
			size = 2
		case 0x11, 0x27:
			size = 4
		case 0x24, 0x25, 0x28, 0x29, 0x2a:
			size = 1
		case 0x12, 0x1a, 0x1c, 0x1f, 0x15, 0x16:
			if len(props) < 3 {
				return 0, errMalformed
			}
			size = 2 + int(binary.BigEndian.Uint16(props[1:]))
		default:
			return 0, errMalformed
		}
		if len(props) < 1+size {
			return 0, errMalformed
		}
		props = props[1+size:]
	}
	return everyMessage, nil
}

func (m mqtt) hello(buf []byte, s *Server, id string, clean bool) []byte {
	var flags byte
	if clean {
		flags |= 0x02
	}
	if s.User != "" {
		flags |= 0xc0
	}
	body := appendText(make([]byte, 0, 128), "MQTT")
	body = append(body, m.version, flags, 0, 0)
	if m.version == 5 && clean {
		body = append(body, 0)
	} else if m.version == 5 {
		body = append(body, 5, 0x11, 0xff, 0xff, 0xff, 0xff) // the session never expires
	}
	body = appendText(body, id)
	if s.User != "" {
		body = appendText(appendText(body, s.User), s.Password)
	}
	return append(appendVarint(append(buf, mqttConnect), len(body)), body...)
}

func (m mqtt) subscribe(buf []byte, filters []string, qos byte) []byte {
	body := []byte{0, 1}
	if m.version == 5 {
		body = append(body, 0)
	}
	for _, f := range filters {
		body = append(appendText(body, f), qos)
	}
	return append(appendVarint(append(buf, mqttSubscribe), len(body)), body...)
}

func (m mqtt) message(buf []byte, topic string, size int, qos byte) (out []byte, idAt, payloadAt int) {
	length := 2 + len(topic) + size
	if qos > 0 {
		length += 2
	}
	if m.version == 5 {
		length++
	}
	buf = appendVarint(append(buf, mqttPublish|qos<<1), length)
	buf = appendText(buf, topic)
	idAt = -1
	if qos > 0 {
		idAt = len(buf)
		buf = append(buf, 0, 0)
	}
	if m.version == 5 {
		buf = append(buf, 0)
	}
	payloadAt = len(buf)
	return append(buf, make([]byte, size)...), idAt, payloadAt
}

func (m mqtt) answer(buf []byte, f *frame) []byte {
	switch {
	case f.kind == kindMessage && f.qos == 1:
		buf = append(buf, mqttPuback, 2)
	case f.kind == kindMessage && f.qos == 2:
		buf = append(buf, mqttPubrec, 2)
	case f.kind == kindReceived:
		buf = append(buf, mqttPubrel, 2)
	case f.kind == kindRelease:
		buf = append(buf, mqttPubcomp, 2)
	default:
		return buf
	}
	return binary.BigEndian.AppendUint16(buf, f.id)
}

func (mqtt) bye(buf []byte) []byte { return append(buf, mqttDisconnect, 0) }

func (mqtt) topic(publisher, n int) string { return fmt.Sprintf("load/%05d/%04d", publisher, n) }

func (mqtt) everything() string { return "load/#" }
