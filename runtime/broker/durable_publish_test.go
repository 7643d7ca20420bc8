package broker

import (
	"fmt"
	"math/rand/v2"

	"github.com/mochi-mqtt/server/v2/packets"
)

// publisher publishes with a window of unacknowledged messages, and after a broken connection
// sends these again in the same session, as MQTT demands (MQTT 5.0, 4.4). Unlike a client in
// the field it writes its connection's number into the repetition (stamp).
type publisher struct {
	d       *drive
	id      int
	qos     byte
	version byte
	window  int
	limit   int  // messages; 0: until the run stops
	cuts    int  // a connection breaks after about so many packets; 0: never by itself
	retain  bool // its own topics, retained; every fifth message removes them

	random  *rand.Rand
	ledger  *ledger
	topics  []int
	seq     map[int]int // by topic
	sent    int
	links   int
	known   bool // a CONNACK came
	pending []*pending
}

// pending is one unacknowledged message.
type pending struct {
	stamp
	id  uint16
	rec bool // PUBREC came: it is acknowledged, what is left is to release the identifier
}

// publish starts a publisher.
func (d *drive) publish(p *publisher) {
	p.d, p.seq, p.ledger = d, map[int]int{}, d.ledger
	p.random = d.random(p.name())
	for n := range topicsOf {
		if p.retain {
			p.ledger = d.kept
			n += 1000 * p.id
		}
		p.topics = append(p.topics, n)
		p.ledger.open(stream{p.id, n}, p.qos, p.qos == 2)
	}
	d.publishers.Go(p.run)
}

func (p *publisher) name() string { return fmt.Sprintf("publisher-%d", p.id) }

func (p *publisher) run() {
	p.d.subscribing.Wait()
	for !p.finished() {
		o := greeting{client: p.name(), version: p.version, expiry: 3600}
		l, done, ok := p.d.connect(o, p.links+1)
		if !ok {
			return
		}
		p.links++
		p.resume(l)
		err := p.session(l)
		done()
		if err != nil && p.d.ctx.Err() == nil && isProtest(err) {
			p.d.fault("%s: %v", p.name(), err)
		}
	}
}

// more reports whether there is a message to publish.
func (p *publisher) more() bool {
	return p.d.wanted(p.limit, p.sent)
}

func (p *publisher) finished() bool { return !p.more() && len(p.pending) == 0 }

// resume sends what is unacknowledged again.
func (p *publisher) resume(l *link) {
	if p.known && !l.present {
		p.d.fault("%s: its session is gone on connection %d", p.name(), l.number)
		p.pending = nil
	}
	p.known = true
	for _, m := range p.pending {
		if m.rec {
			l.putAck(packets.Pubrel, m.id)
			continue
		}
		m.conn = l.number
		p.put(l, m, true)
	}
}

func (p *publisher) put(l *link, m *pending, dup bool) {
	p.ledger.send(m.stamp)
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: p.qos, Dup: dup, Retain: p.retain}, PacketID: m.id}
	pk.TopicName, pk.Payload = topicName(m.topic), m.payload()
	if p.retain {
		pk.TopicName = keptName(m.topic)
		if removes(m.seq) {
			pk.Payload = nil
		}
	}
	l.put(pk)
}

// session publishes until there is no more, or the connection breaks.
func (p *publisher) session(l *link) error {
	left := 1 << 30
	if p.cuts > 0 {
		left = 1 + p.random.IntN(2*p.cuts)
	}
	for {
		for len(p.pending) < min(p.window, l.receiveMax) && p.more() && !p.d.ahead() {
			p.fresh(l)
			left--
		}
		if left <= 0 {
			l.tear(p.random.Float64())
			return nil
		}
		if err := l.flush(); err != nil {
			return err
		}
		if p.finished() {
			l.leave()
			return nil
		}
		for again := true; again; again = l.in.Buffered() > 0 {
			pk, there, err := l.next()
			if err != nil {
				return err
			}
			if there {
				left--
				p.acknowledged(l, pk)
			}
		}
	}
}

// fresh publishes a new message under the lowest packet identifier that is free, so that
// identifiers are used again soon.
func (p *publisher) fresh(l *link) {
	used := map[uint16]bool{}
	for _, m := range p.pending {
		used[m.id] = true
	}
	m := &pending{id: 1}
	for used[m.id] {
		m.id++
	}
	topic := p.topics[p.random.IntN(len(p.topics))]
	p.seq[topic]++
	p.sent++
	m.stamp = stamp{p.id, topic, l.number, p.seq[topic]}
	p.pending = append(p.pending, m)
	p.put(l, m, false)
}

// acknowledged handles an acknowledgement. They come in the order of the messages (MQTT 5.0, 4.6).
func (p *publisher) acknowledged(l *link, pk packets.Packet) {
	kind := pk.FixedHeader.Type
	if pk.ReasonCode >= packets.ErrUnspecifiedError.Code && kind != packets.Pubcomp {
		p.d.fault("%s: %s with %#x", p.name(), packets.PacketNames[kind], pk.ReasonCode)
	}
	for i, m := range p.pending {
		if m.rec != (kind == packets.Pubcomp) {
			continue
		}
		if m.id != pk.PacketID {
			break
		}
		switch kind {
		case packets.Puback:
			p.ledger.ack(m.stamp)
			p.pending = append(p.pending[:i], p.pending[i+1:]...)
		case packets.Pubrec:
			p.ledger.ack(m.stamp)
			m.rec = true
			l.putAck(packets.Pubrel, m.id)
		case packets.Pubcomp:
			p.pending = append(p.pending[:i], p.pending[i+1:]...)
		}
		return
	}
	p.d.fault("%s: %s of %d is not the next one, on connection %d", p.name(), packets.PacketNames[kind], pk.PacketID, l.number)
}

// localPublisher publishes in process, one message after the other. One whose Publish failed
// may have been taken in or not, and is published again as a new one.
type localPublisher struct {
	d       *drive
	id, qos int
	limit   int  // messages; 0: until the run stops
	fast    bool // without the pauses that let the others have their share
}

func (d *drive) publishLocally(p *localPublisher) {
	p.d = d
	for n := range topicsOf {
		d.ledger.open(stream{p.id, n}, byte(p.qos), false)
	}
	d.publishers.Go(p.run)
}

func (p *localPublisher) run() {
	p.d.subscribing.Wait()
	tries := 1
	for n := 0; p.d.wanted(p.limit, n); n++ {
		for (!p.fast || p.d.ahead()) && p.d.pause() && p.d.ahead() {
			continue
		}
		s := stamp{p.id, n % topicsOf, tries, n/topicsOf + 1}
		for {
			if p.d.ctx.Err() != nil {
				return
			}
			if b := p.d.local.Load(); b != nil {
				s.conn = tries
				p.d.ledger.send(s)
				m := Message{Topic: topicName(s.topic), Payload: s.payload(), QoS: byte(p.qos)}
				if err := b.Publish(p.d.ctx, "line1", m); err == nil {
					break
				}
				tries++
			}
			p.d.pause()
		}
		p.d.ledger.ack(s)
	}
}
