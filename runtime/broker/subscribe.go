package broker

import (
	"github.com/mochi-mqtt/server/v2/packets"
)

// subscribe handles SUBSCRIBE: each filter is granted or refused by itself (MQTT 5.0, 3.8).
func (c *conn) subscribe(pk packets.Packet) error {
	if pk.PacketID == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	if len(pk.Filters) == 0 {
		return packets.ErrProtocolViolationNoFilters
	}
	if err := c.awaitRoom(); err != nil {
		return err
	}
	c.mu.Lock() // so that SUBACK goes out before the retained messages
	defer c.mu.Unlock()
	codes := make([]byte, len(pk.Filters))
	for i, f := range pk.Filters {
		code, err := c.subscribeOne(f, pk.Properties.SubscriptionIdentifier)
		if err != nil {
			return err
		}
		if c.version < 5 && code > packets.CodeGrantedQos2.Code {
			code = packets.ErrUnspecifiedError.Code // the only refusal that MQTT 3 knows
		}
		codes[i] = code
	}
	c.answers = append(c.answers, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID, ReasonCodes: codes,
	})
	c.signal()
	return nil
}

// The values of retain handling (MQTT 5.0, 3.8.3.1).
const (
	retainIfNew = 1
	retainNever = 2
)

// subscribeOne returns the reason code; an error ends the connection.
func (c *conn) subscribeOne(f packets.Subscription, ids []int) (byte, error) {
	if f.Qos > 2 || f.RetainHandling > retainNever {
		return 0, packets.ErrProtocolViolation
	}
	s, err := parseFilter(f.Filter)
	if err != nil {
		return packets.ErrTopicFilterInvalid.Code, nil
	}
	if s.group != "" && f.NoLocal {
		return 0, packets.ErrProtocolViolationInvalidSharedNoLocal
	}
	if len(ids) > 1 || len(ids) == 1 && ids[0] == 0 {
		return 0, packets.ErrProtocolViolation
	}
	if len(ids) == 1 {
		s.id = ids[0]
	}
	s.qos, s.noLocal, s.retainAsPublished, s.retainHandling = f.Qos, f.NoLocal, f.RetainAsPublished, f.RetainHandling
	s.owner = &c.session.subscriber
	code := c.b.subscribeSession(c.session, s)
	if code.Code > packets.CodeGrantedQos2.Code && c.session.refused.allow() {
		c.log.Warn("subscription refused", "filter", f.Filter, "reason", code.Reason)
	}
	return code.Code, nil
}

// subscribeSession grants or refuses one filter.
func (b *Broker) subscribeSession(to *session, s *subscription) packets.Code {
	b.mu.Lock()
	defer b.mu.Unlock()
	former := to.subscriptions[s.name()]
	switch {
	case !to.identity.Load().maySubscribe(s.filter):
		b.stats.refused.Add(1)
		return packets.ErrNotAuthorized
	case former == nil && len(to.subscriptions) >= b.limits.Subscriptions,
		to.queue.len() > b.limits.RetainedMessages, b.queued.used.Load() > b.queued.max:
		// by subscribing to retained messages again and again
		b.stats.refused.Add(1)
		return packets.ErrQuotaExceeded
	}
	to.subscriptions[s.name()] = s
	b.subscribe(s, s.retainHandling != retainNever && (s.retainHandling != retainIfNew || former == nil))
	return packets.QosCodes[s.qos]
}

// unsubscribe handles UNSUBSCRIBE (MQTT 5.0, 3.10).
func (c *conn) unsubscribe(pk packets.Packet) error {
	if pk.PacketID == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	if len(pk.Filters) == 0 {
		return packets.ErrProtocolViolationNoFilters
	}
	codes := make([]byte, len(pk.Filters))
	for i, f := range pk.Filters {
		codes[i] = c.b.unsubscribeSession(c.session, f.Filter).Code
	}
	return c.answer(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: pk.PacketID, ReasonCodes: codes,
	})
}

func (b *Broker) unsubscribeSession(to *session, filter string) packets.Code {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := to.subscriptions[filter]
	if s == nil {
		return packets.CodeNoSubscriptionExisted
	}
	delete(to.subscriptions, filter)
	b.unsubscribe(s)
	return packets.CodeSuccess
}
