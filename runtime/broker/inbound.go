package broker

import (
	"errors"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

// forward keeps the properties that go on to subscribers (MQTT 5.0, 3.3.2.3), and the expiry.
func (m *message) forward(p *packets.Properties) {
	if p.MessageExpiryInterval > 0 {
		m.expires = time.Now().Add(time.Duration(p.MessageExpiryInterval) * time.Second)
	}
	if p.PayloadFormatFlag || p.ContentType != "" || p.ResponseTopic != "" || len(p.CorrelationData) > 0 || len(p.User) > 0 {
		m.props = &packets.Properties{
			PayloadFormat: p.PayloadFormat, PayloadFormatFlag: p.PayloadFormatFlag, ContentType: p.ContentType,
			ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData, User: p.User,
		}
	}
}

// publish takes a client's message in. It is acknowledged after it was routed and, if it is
// retained, written. A QoS 2 message that was routed is not routed again, even if the
// connection ends before its acknowledgement.
func (c *conn) publish(pk packets.Packet) error {
	if err := c.resolveAlias(&pk); err != nil {
		return err
	}
	if err := checkPublish(&pk); err != nil {
		return err
	}
	qos := pk.FixedHeader.Qos
	if qos == 2 {
		if _, again := c.session.received[pk.PacketID]; again {
			return c.confirm(pk)
		}
		if len(c.session.received) >= c.b.limits.Inflight {
			return packets.ErrReceiveMaximum
		}
	}
	code, err := c.takeIn(pk)
	if err != nil {
		return err
	}
	if code.Code >= packets.ErrUnspecifiedError.Code {
		return c.answerPublish(pk, code)
	}
	if qos == 2 {
		c.session.received[pk.PacketID] = struct{}{}
	}
	return c.confirm(pk)
}

// confirm acknowledges a message that was routed; a retained one when it stands in the log
// file, so that it outlives the process (not a loss of power: see retainedlog.go). Where the
// disk fails, the connection ends instead, and the client sends it again.
func (c *conn) confirm(pk packets.Packet) error {
	if pk.FixedHeader.Retain && pk.FixedHeader.Qos > 0 {
		if err := c.b.retained.awaitWritten(c.ctx); err != nil {
			return errors.Join(packets.ErrImplementationSpecificError, err)
		}
	}
	return c.answerPublish(pk, packets.CodeSuccess)
}

// takeIn routes the message and returns the code to acknowledge it with. An error ends the connection.
func (c *conn) takeIn(pk packets.Packet) (packets.Code, error) {
	m := &message{
		Message: Message{Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain},
		from:    &c.session.subscriber,
	}
	m.forward(&pk.Properties)
	err := c.b.mayPublish(c.session.key.user, m.Topic)
	if err == nil {
		c.b.stats.received.Add(1)
		err = c.b.route(c.ctx, m, m.QoS == 0)
	}
	switch {
	case err == nil, spec.KindOf(err) == spec.Conflict:
		return packets.CodeSuccess, nil // in conflict one copy was dropped, and counted; the others have theirs
	case c.ctx.Err() != nil || m.QoS == 0 && spec.KindOf(err) != spec.Forbidden:
		return packets.Code{}, err
	}
	code := packets.ErrQuotaExceeded
	if spec.KindOf(err) == spec.Forbidden {
		code = packets.ErrNotAuthorized
		if c.session.refused.allow() {
			c.log.Warn("publish refused", "topic", m.Topic, "error", err)
		}
	}
	if c.version < 5 && m.QoS > 0 {
		return code, errors.Join(code, err) // MQTT 3 has no negative acknowledgement
	}
	return code, nil
}

func (c *conn) answerPublish(pk packets.Packet, code packets.Code) error {
	ack := packets.Packet{PacketID: pk.PacketID, ReasonCode: code.Code}
	switch pk.FixedHeader.Qos {
	case 0:
		return nil
	case 1:
		ack.FixedHeader.Type = packets.Puback
	default:
		ack.FixedHeader.Type = packets.Pubrec
	}
	return c.answer(ack)
}

// resolveAlias puts the topic that an alias stands for (MQTT 5.0, 3.3.2.3.4).
func (c *conn) resolveAlias(pk *packets.Packet) error {
	if !pk.Properties.TopicAliasFlag {
		return nil
	}
	alias := pk.Properties.TopicAlias
	if alias == 0 || alias > aliasMaximum {
		return packets.ErrTopicAliasInvalid
	}
	if pk.TopicName == "" {
		topic, ok := c.aliases[alias]
		if !ok {
			return packets.ErrProtocolViolationNoTopic
		}
		pk.TopicName = topic
		return nil
	}
	if c.aliases == nil {
		c.aliases = map[uint16]string{}
	}
	c.aliases[alias] = strings.Clone(pk.TopicName)
	return nil
}

func checkPublish(pk *packets.Packet) error {
	switch {
	case pk.FixedHeader.Qos > 0 && pk.PacketID == 0:
		return packets.ErrProtocolViolationNoPacketID
	case spec.CheckTopic(pk.TopicName) != nil:
		return packets.ErrTopicNameInvalid
	case len(pk.Properties.SubscriptionIdentifier) > 0:
		return packets.ErrProtocolViolationSurplusSubID
	case strings.ContainsAny(pk.Properties.ResponseTopic, "+#"):
		return packets.ErrProtocolViolationSurplusWildcard
	}
	return nil
}

// acknowledge handles the four packets that move QoS 1 and 2 messages on.
func (c *conn) acknowledge(pk packets.Packet) error {
	failed := pk.ReasonCode >= packets.ErrUnspecifiedError.Code
	switch pk.FixedHeader.Type {
	case packets.Puback:
		c.session.complete(pk.PacketID, 1)
	case packets.Pubcomp:
		c.session.complete(pk.PacketID, 2)
	case packets.Pubrel:
		return c.release(pk)
	case packets.Pubrec:
		if failed {
			c.session.complete(pk.PacketID, 2)
			break
		}
		rel := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: pk.PacketID}
		if !c.session.releaseOut(pk.PacketID) {
			rel.ReasonCode = packets.ErrPacketIdentifierNotFound.Code
		}
		return c.answer(rel)
	}
	c.signal() // the window has opened
	return nil
}

// release ends an incoming QoS 2 exchange.
func (c *conn) release(pk packets.Packet) error {
	comp := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubcomp}, PacketID: pk.PacketID}
	if _, ok := c.session.received[pk.PacketID]; !ok {
		comp.ReasonCode = packets.ErrPacketIdentifierNotFound.Code
	}
	delete(c.session.received, pk.PacketID)
	return c.answer(comp)
}
