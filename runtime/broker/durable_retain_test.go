package broker

import (
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

func keptName(topic int) string { return fmt.Sprintf("r/%d", topic) }

// removes reports whether the retained message of a number is one that removes the others.
func removes(seq int) bool { return seq%5 == 0 }

// probe subscribes as somebody new and compares what is retained: on each topic the last
// message that was acknowledged, or a later one that was sent.
func (d *drive) probe(client string) {
	low := d.keptState(func(w written) int { return len(w.acked) })
	found, ok := d.retainedNow(client)
	if !ok {
		return
	}
	high := d.keptState(func(w written) int { return w.sent })
	for id, from := range low {
		s, there := found[id]
		if there && (s.seq < from || s.seq > high[id] || removes(s.seq)) {
			d.fault("retained on %s is %+v, acknowledged is %d and sent %d", keptName(id.topic), s, from, high[id])
		}
		gone := from == 0
		for n := from; n <= high[id]; n++ {
			gone = gone || removes(n)
		}
		if !there && !gone {
			d.fault("nothing is retained on %s, acknowledged is %d and sent %d", keptName(id.topic), from, high[id])
		}
	}
}

func (d *drive) keptState(of func(written) int) map[stream]int {
	d.kept.mu.Lock()
	defer d.kept.mu.Unlock()
	out := map[stream]int{}
	for id, w := range d.kept.streams {
		out[id] = of(*w)
	}
	return out
}

// retainedNow returns what a new subscriber gets before a message that it publishes itself.
// It is false when the broker goes away meanwhile.
func (d *drive) retainedNow(client string) (map[stream]stamp, bool) {
	l, done, ok := d.connect(greeting{client: client, version: 5, clean: true}, 1)
	if !ok {
		return nil, false
	}
	defer done()
	own := "probe/" + client
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1}
	pk.Filters = packets.Subscriptions{{Filter: "r/#", Qos: 2}, {Filter: own, Qos: 1}}
	l.put(pk)
	l.put(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: own, PacketID: 2})
	found := map[stream]stamp{}
	for {
		if l.flush() != nil {
			return nil, false
		}
		pk, there, err := l.next()
		if err != nil || d.ctx.Err() != nil {
			return nil, false
		}
		if !there {
			continue
		}
		switch pk.FixedHeader.Type {
		case packets.Pubrel:
			l.putAck(packets.Pubcomp, pk.PacketID)
		case packets.Publish:
			if pk.TopicName == own {
				l.leave()
				return found, true
			}
			d.noteRetained(l, pk, found)
		}
	}
}

func (d *drive) noteRetained(l *link, pk packets.Packet, found map[stream]stamp) {
	if kind, acks := map[byte]byte{1: packets.Puback, 2: packets.Pubrec}[pk.FixedHeader.Qos]; acks {
		l.putAck(kind, pk.PacketID)
	}
	if len(pk.Payload) == 0 {
		return // it removes what was retained when it was published, a moment ago
	}
	s, err := readStamp(pk.Payload)
	if err != nil || pk.TopicName != keptName(s.topic) {
		d.fault("retained on %q: %v", pk.TopicName, err)
		return
	}
	former, twice := found[s.stream()]
	if twice && pk.FixedHeader.Retain {
		d.fault("%+v is retained on %q beside %+v", s, pk.TopicName, former)
	}
	found[s.stream()] = s // one that was published a moment ago may come in place of what was retained
}
