package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// churner subscribes and unsubscribes in persistent sessions, with a new session now and
// then: whatever was acknowledged must hold after each broken connection. It is publisher
// and subscriber in one, one step at a time, and repeats a step until it is acknowledged.
type churner struct {
	d      *drive
	id     int
	limit  int  // rounds; 0: until the run ends
	clean  bool // some sessions begin with a clean start
	random *rand.Rand

	links   int
	session int // number of the session
	known   bool
	l       *link // nil while not connected
	done    func()
	seen    map[string]bool // payloads
	nextID  uint16
}

// churn starts a churner. It ends when all publishers have ended.
func (d *drive) churn(id, limit int, clean bool) {
	c := &churner{d: d, id: id, limit: limit, clean: clean, seen: map[string]bool{}}
	c.random = d.random(fmt.Sprintf("churner-%d", id))
	d.others.Go(c.run)
}

func (c *churner) name() string { return fmt.Sprintf("churner-%d-%d", c.id, c.session) }

func (c *churner) run() {
	defer func() {
		if c.l != nil {
			c.done()
		}
	}()
	for round := 1; c.limit == 0 && !closed(c.d.finishing) || round <= c.limit; round++ {
		if c.random.IntN(4) == 0 {
			c.session++
			c.known = false
			c.lose()
		}
		if !c.round(round) {
			return
		}
		c.d.rounds.Add(1)
	}
}

// round is: a message to a filter comes after SUBACK and not after UNSUBACK.
func (c *churner) round(n int) bool {
	topic := fmt.Sprintf("c/%d/%d", c.id, n)
	before, after := topic+" subscribed", topic+" unsubscribed"
	end, last := topic+"/end", topic+" the end"
	ok := c.subscribed(topic, end) && c.published(topic, before) && c.got(before) &&
		c.unsubscribed(topic) && c.published(topic, after) && c.published(end, last) && c.got(last) && c.unsubscribed(end)
	if c.seen[after] {
		c.d.fault("%s got a message to %q after UNSUBACK", c.name(), topic)
	}
	c.seen = map[string]bool{}
	return ok
}

// lose breaks the connection.
func (c *churner) lose() {
	if c.l != nil {
		c.done()
		c.l = nil
	}
}

// connected connects, if need be; false when the run is over.
func (c *churner) connected() bool {
	if c.l != nil {
		return true
	}
	o := greeting{client: c.name(), version: 5, clean: c.clean && !c.known && c.random.IntN(2) == 0, expiry: 3600}
	l, done, ok := c.d.connect(o, c.links+1)
	if !ok {
		return false
	}
	c.links++
	if c.known && !l.present {
		c.d.fault("%s: its session is gone on connection %d", c.name(), l.number)
	}
	if o.clean && l.present {
		c.d.fault("%s: a session is present after a clean start", c.name())
	}
	c.l, c.done, c.known = l, done, true
	return true
}

// asked sends a request until its acknowledgement comes.
func (c *churner) asked(pk packets.Packet, kind byte) bool {
	for c.connected() {
		c.nextID++
		pk.PacketID = max(1, c.nextID)
		c.l.put(pk)
		if c.random.IntN(20) == 0 {
			c.l.tear(c.random.Float64())
		}
		err := c.l.flush()
		for err == nil {
			var ack packets.Packet
			if ack, err = c.receive(); err == nil && ack.FixedHeader.Type == kind && ack.PacketID == pk.PacketID {
				c.granted(ack)
				if c.random.IntN(10) == 0 {
					c.lose()
				}
				return true
			}
		}
		c.lose()
	}
	return false
}

func (c *churner) granted(ack packets.Packet) {
	for _, code := range append(ack.ReasonCodes, ack.ReasonCode) {
		if code >= packets.ErrUnspecifiedError.Code {
			c.d.fault("%s: %s with %#x", c.name(), packets.PacketNames[ack.FixedHeader.Type], code)
		}
	}
}

// receive reads a packet; a message is noted and acknowledged.
func (c *churner) receive() (packets.Packet, error) {
	for {
		pk, there, err := c.l.next()
		if err != nil || there && pk.FixedHeader.Type != packets.Publish {
			return pk, err
		}
		if c.d.ctx.Err() != nil {
			return pk, c.d.ctx.Err()
		}
		if !there {
			continue
		}
		c.seen[strings.TrimSpace(string(pk.Payload))] = true
		c.l.putAck(packets.Puback, pk.PacketID)
		return pk, c.l.flush()
	}
}

func (c *churner) subscribed(filters ...string) bool {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: 1})
	}
	return c.asked(pk, packets.Suback)
}

func (c *churner) unsubscribed(filter string) bool {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}}
	pk.Filters = packets.Subscriptions{{Filter: filter}}
	return c.asked(pk, packets.Unsuback)
}

func (c *churner) published(topic, payload string) bool {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: topic}
	pk.Payload = []byte(payload)
	return c.asked(pk, packets.Puback)
}

// got waits for a message, which was acknowledged to its publisher.
func (c *churner) got(payload string) bool {
	for looks := 0; !c.seen[payload]; {
		if !c.connected() {
			return false
		}
		if _, err := c.receive(); err != nil {
			c.lose()
			if looks++; looks > 100 {
				c.d.fault("%s: %q does not come", c.name(), payload)
				return false
			}
		}
	}
	return true
}
