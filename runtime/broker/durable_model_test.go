package broker

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// stamp is what a message of the durability tests says of itself. The number of the
// publisher's connection is in it, so that a publisher's own repetition, at QoS 1 a new
// message to the broker, is told from a second delivery of one message by the broker.
type stamp struct {
	pub, topic int // the topic's number; several publishers share a topic
	conn       int // of the publisher, from 1
	seq        int // within publisher and topic, from 1
}

// heavy is the first number of publishers whose messages are larger, some KiB.
const heavy = 100

// payload is the stamp and a filling whose length and bytes follow from it.
func (s stamp) payload() []byte {
	out := fmt.Appendf(nil, "%d.%d.%d.%d|", s.pub, s.topic, s.conn, s.seq)
	n := (s.pub*7919 + s.seq*104729 + s.conn) % 300
	if s.pub >= heavy {
		n *= 30
	}
	return append(out, bytes.Repeat([]byte{byte('a' + s.seq%26)}, n)...)
}

// readStamp reads a payload and compares every byte of it.
func readStamp(payload []byte) (stamp, error) {
	head, _, _ := strings.Cut(string(payload), "|")
	parts := strings.Split(head, ".")
	if len(parts) != 4 {
		return stamp{}, fmt.Errorf("a payload that nobody sent: %.40q", payload)
	}
	var n [4]int
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(p); err != nil {
			return stamp{}, fmt.Errorf("a payload that nobody sent: %.40q", payload)
		}
	}
	s := stamp{n[0], n[1], n[2], n[3]}
	if !bytes.Equal(payload, s.payload()) {
		return s, fmt.Errorf("a changed payload: %.40q, %d bytes", payload, len(payload))
	}
	return s, nil
}

// before reports whether the broker took s in before o, both of one publisher and topic: a
// publisher sends in order, and repeats in order after each broken connection.
func (s stamp) before(o stamp) bool {
	return s.conn < o.conn || s.conn == o.conn && s.seq < o.seq
}

// stream is all of one publisher on one topic.
type stream struct{ pub, topic int }

func (s stamp) stream() stream { return stream{s.pub, s.topic} }

// written is what a publisher knows of its stream.
type written struct {
	qos   byte
	once  bool    // a repetition is not a new message: QoS 2 on the network
	sent  int     // highest sequence number that may have reached the broker
	acked []int32 // by sequence number - 1: the connection that brought the acknowledgement, 0 for none
}

// ledger is what publishers sent and what was acknowledged to them.
type ledger struct {
	mu      sync.Mutex
	streams map[stream]*written
	acked   atomic.Int64 // messages acknowledged, of all streams
}

func newLedger() *ledger { return &ledger{streams: map[stream]*written{}} }

// open makes a stream known before its first message.
func (l *ledger) open(s stream, qos byte, once bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[s] = &written{qos: qos, once: once}
}

func (l *ledger) send(s stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.streams[s.stream()]
	w.sent = max(w.sent, s.seq)
}

func (l *ledger) ack(s stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.streams[s.stream()]
	for len(w.acked) < s.seq {
		w.acked = append(w.acked, 0)
	}
	w.acked[s.seq-1] = int32(s.conn)
	l.acked.Add(1)
}

// state returns a stream's QoS, whether each message is one, and how far it was sent and acknowledged.
func (l *ledger) state(s stream) (w written, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.streams[s]; p != nil {
		return *p, true
	}
	return written{}, false
}

// inbox is what one subscriber got, checked as it comes.
type inbox struct {
	name   string
	qos    byte // of the subscription
	ledger *ledger
	fault  func(format string, args ...any)
	start  int // the link on which nothing can be a second delivery; 0: the broker may have crashed before

	mu         sync.Mutex
	streams    map[stream]*got
	first      atomic.Int64 // messages, without repetitions
	duplicates int          // second deliveries by the broker
	repeated   int          // copies that the publisher repeated
}

// got is what came of one stream.
type got struct {
	link int   // of the subscriber, that last came on
	last stamp // on that link
	high stamp // of all, in the broker's order
	conn []int32
	// conn is by sequence number - 1: the connection in the stamp of the first copy
	more map[stamp]struct{} // further copies, repeated by the publisher
}

func (g *got) has(s stamp) bool {
	if s.seq <= len(g.conn) && g.conn[s.seq-1] == int32(s.conn) {
		return true
	}
	_, there := g.more[s]
	return there
}

func newInbox(name string, qos byte, l *ledger, fault func(string, ...any)) *inbox {
	return &inbox{name: name, qos: qos, ledger: l, fault: fault, streams: map[stream]*got{}}
}

// take checks one delivery that came on the subscriber's link of that number. At QoS 2 the
// caller has left out what bears the packet identifier of a message that it holds.
func (in *inbox) take(link int, s stamp, qos byte, dup bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	w, sent := in.ledger.state(s.stream())
	if !sent || s.seq > w.sent {
		in.fault("%s got %+v, which nobody sent", in.name, s)
		return
	}
	if qos != min(w.qos, in.qos) {
		in.fault("%s got %+v at QoS %d, published at %d, subscribed at %d", in.name, s, qos, w.qos, in.qos)
	}
	g := in.streams[s.stream()]
	if g == nil {
		g = &got{more: map[stamp]struct{}{}}
		in.streams[s.stream()] = g
	}
	if g.link != link {
		g.link, g.last = link, stamp{}
	} else if !g.last.before(s) {
		in.fault("%s got %+v after %+v on connection %d", in.name, s, g.last, link)
	}
	g.last = s
	if dup && link == in.start {
		in.fault("%s got %+v with DUP on its first connection", in.name, s)
	}
	if g.has(s) {
		in.again(s, qos, dup, link)
		return
	}
	in.fresh(g, s, w.once, link)
}

// again checks a second delivery of one message.
func (in *inbox) again(s stamp, qos byte, dup bool, link int) {
	in.duplicates++
	if qos == 2 {
		in.fault("%s got %+v twice at QoS 2, again on connection %d (DUP %v)", in.name, s, link, dup)
	} else if !dup {
		in.fault("%s got %+v again on connection %d without DUP", in.name, s, link)
	}
}

// fresh checks the first delivery of one message.
func (in *inbox) fresh(g *got, s stamp, once bool, link int) {
	if s.before(g.high) {
		in.fault("%s got %+v for the first time after %+v, on connection %d", in.name, s, g.high, link)
	}
	if g.high.before(s) {
		g.high = s
	}
	if s.seq > len(g.conn)+1 {
		in.fault("%s got %+v, but nothing between it and sequence %d", in.name, s, len(g.conn))
	}
	if s.seq <= len(g.conn) && g.conn[s.seq-1] != 0 {
		in.repeated++
		g.more[s] = struct{}{}
		if once {
			in.fault("%s got %+v, whose message it has from the publisher's connection %d: the broker took it in twice", in.name, s, g.conn[s.seq-1])
		}
		return
	}
	for len(g.conn) < s.seq {
		g.conn = append(g.conn, 0)
	}
	g.conn[s.seq-1] = int32(s.conn)
	in.first.Add(1)
}

// missing counts what was acknowledged to the publishers of these topics and did not come,
// and names one.
func (in *inbox) missing(mine func(stream) bool) (n int, example stamp) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ledger.mu.Lock()
	defer in.ledger.mu.Unlock()
	for id, w := range in.ledger.streams {
		if !mine(id) {
			continue
		}
		g := in.streams[id]
		for i, conn := range w.acked {
			s := stamp{id.pub, id.topic, int(conn), i + 1}
			there := conn == 0 || g != nil && (g.has(s) || w.once && s.seq <= len(g.conn) && g.conn[i] != 0)
			if !there {
				n++
				example = s
			}
		}
	}
	return n, example
}
