package broker

import (
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// checkText refuses what is no UTF-8 string of MQTT (MQTT 5.0, 1.5.4).
func checkText(s []byte) error {
	for _, b := range s {
		if b == 0 {
			return packets.ErrMalformedPacket
		}
	}
	if !utf8.Valid(s) {
		return packets.ErrMalformedPacket
	}
	return nil
}

// The properties whose values the library's codec does not check.
const (
	propRequestProblemInfo  = 0x17
	propRequestResponseInfo = 0x19
	propAuthMethod          = 0x15
	propAuthData            = 0x16
	propReceiveMaximum      = 0x21
	propMaximumPacketSize   = 0x27
)

// checkProperties refuses properties that come twice, and values that MQTT excludes (MQTT 5.0,
// 2.2.2.2 and 3.1.2.11). Which of them a packet may have at all is the codec's to check.
func checkProperties(all []byte) error {
	c := cursor{rest: all}
	var seen uint64
	for len(c.rest) > 0 && !c.bad {
		id := c.byte()
		value, err := c.property(id)
		if err != nil {
			return err
		}
		again := id < 64 && seen&(1<<id) != 0 && id != propUser && id != propSubscriptionID
		zero := value == 0 && (id == propReceiveMaximum || id == propMaximumPacketSize || id == propSubscriptionID)
		large := value > 1 && (id == propRequestProblemInfo || id == propRequestResponseInfo || id == propPayloadFormat)
		if !c.bad && (again || zero || large) {
			return packets.ErrProtocolViolation
		}
		seen |= 1 << (id & 63)
	}
	if c.bad {
		return packets.ErrMalformedPacket
	}
	switch {
	case seen&(1<<propAuthMethod) != 0:
		return packets.ErrBadAuthenticationMethod // none is supported (MQTT 5.0, 4.12)
	case seen&(1<<propAuthData) != 0:
		return packets.ErrProtocolViolation // MQTT 5.0, 3.1.2.11.10
	}
	return nil
}

// property reads one property's value; that of a text is 0.
func (c *cursor) property(id byte) (value uint32, err error) {
	switch id {
	case propPayloadFormat, propRequestProblemInfo, propRequestResponseInfo, 0x24, 0x25, 0x28, 0x29, 0x2A:
		return uint32(c.byte()), nil
	case 0x13, propReceiveMaximum, 0x22, propTopicAlias:
		return uint32(c.uint16()), nil
	case propExpiry, 0x11, 0x18, propMaximumPacketSize:
		return c.uint32(), nil
	case propSubscriptionID:
		return uint32(c.varint()), nil
	case propContentType, propResponseTopic, 0x12, propAuthMethod, 0x1A, 0x1C, propReasonString:
		return 0, checkText(c.string())
	case propCorrelationData, propAuthData:
		c.string()
		return 0, nil
	case propUser:
		if err := checkText(c.string()); err != nil {
			return 0, err
		}
		return 0, checkText(c.string())
	}
	return 0, packets.ErrMalformedPacket
}

// The bits of CONNECT's flags (MQTT 5.0, 3.1.2.3).
const (
	connectWill     = 1 << 2
	connectPassword = 1 << 6
	connectUser     = 1 << 7
)

// checkConnectBody checks what the codec does not: the properties, that texts are texts, and
// that what the flags announce is all there is.
func checkConnectBody(body []byte, version byte) error {
	c := cursor{rest: body}
	c.string() // the protocol's name
	c.byte()   // and version
	flags := c.byte()
	c.uint16() // keep-alive
	if err := c.connectProperties(version); err != nil {
		return err
	}
	texts := [][]byte{c.string()} // the client id
	if flags&connectWill != 0 {
		if err := c.connectProperties(version); err != nil {
			return err
		}
		texts = append(texts, c.string())
		c.string() // the will's payload
	}
	if flags&connectUser != 0 {
		texts = append(texts, c.string())
	}
	if flags&connectPassword != 0 {
		c.string()
	}
	if c.bad || len(c.rest) > 0 {
		return packets.ErrMalformedPacket
	}
	for _, text := range texts {
		if err := checkText(text); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) connectProperties(version byte) error {
	if version < 5 {
		return nil
	}
	return checkProperties(c.take(c.varint()))
}

// checkBody checks what the codec does not of a packet that it then decodes.
func checkBody(kind byte, body []byte, version byte) error {
	c := cursor{rest: body}
	switch kind {
	case packets.Connect:
		return checkConnectBody(body, version)
	case packets.Subscribe, packets.Unsubscribe:
		return c.checkFilters(kind, version)
	case packets.Disconnect:
		if len(body) > 0 && !knownReason(kind, c.byte()) {
			return packets.ErrMalformedPacket
		}
	default:
		c.take(3) // packet id and reason
	}
	if len(c.rest) == 0 {
		return nil // shorter forms leave the properties out
	}
	if version < 5 {
		return packets.ErrMalformedPacket
	}
	return c.lastProperties()
}

// lastProperties are the end of their packet.
func (c *cursor) lastProperties() error {
	all := c.take(c.varint())
	if c.bad || len(c.rest) > 0 {
		return packets.ErrMalformedPacket
	}
	return checkProperties(all)
}

// maxFilters bounds the filters of one packet, and so the time for which it holds up others.
const maxFilters = 10_000

// checkFilters checks SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0, 3.8 and 3.10).
func (c *cursor) checkFilters(kind, version byte) error {
	c.uint16() // the packet id
	if version == 5 {
		all := c.take(c.varint())
		if c.bad {
			return packets.ErrMalformedPacket
		}
		if err := checkProperties(all); err != nil {
			return err
		}
	}
	reserved := byte(0xFC)
	if version == 5 {
		reserved = 0xC0
	}
	for n := 0; len(c.rest) > 0 && !c.bad; n++ {
		if n == maxFilters {
			return packets.ErrQuotaExceeded
		}
		if err := checkText(c.string()); err != nil {
			return err
		}
		if kind == packets.Subscribe {
			if options := c.byte(); options&reserved != 0 || options&3 == 3 {
				return packets.ErrMalformedPacket
			}
		}
	}
	if c.bad {
		return packets.ErrMalformedPacket
	}
	return nil
}
