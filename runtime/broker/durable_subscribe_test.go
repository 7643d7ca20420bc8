package broker

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"

	"github.com/mochi-mqtt/server/v2/packets"
)

// receiver subscribes to everything of the run with a persistent session, once, and relies
// on the session from then on. It keeps the client's part of the session: at QoS 2 the
// identifiers of messages that it got and the broker has not released.
type receiver struct {
	d          *drive
	name       string
	qos        byte
	version    byte
	receiveMax uint16
	cuts       int           // a connection breaks after about so many messages; 0: never by itself
	away       int64         // after its own break it comes back when about so many messages wait; 0: at once
	asleep     chan struct{} // after it has subscribed it is away until this is closed; nil: it is not

	random *rand.Rand
	in     *inbox
	links  int
	held   map[uint16]stamp // QoS 2: got and not released

	// of the present link
	open map[uint16]bool // identifiers that count against Receive Maximum
	acks []packets.Packet
}

// receive starts a receiver. Nobody publishes before all receivers have subscribed; those
// that the caller wants are started before the first publisher.
func (d *drive) receive(r *receiver) {
	r.d, r.held = d, map[uint16]stamp{}
	r.random = d.random(r.name)
	r.in = newInbox(r.name, r.qos, d.ledger, d.fault)
	d.inboxes = append(d.inboxes, r.in)
	d.subscribing.Add(1)
	d.others.Go(func() {
		ready := sync.OnceFunc(d.subscribing.Done)
		defer ready()
		if !r.subscribe() {
			return
		}
		if r.asleep != nil {
			ready()
		} else if !d.crashes {
			r.in.start = r.links + 1
		}
		if r.awake() {
			r.run(ready)
		}
	})
}

// awake waits until the receiver is to be connected; false when the run is over.
func (r *receiver) awake() bool {
	if r.asleep == nil {
		return true
	}
	select {
	case <-r.asleep:
		return true
	case <-r.d.ctx.Done():
		return false
	}
}

func (r *receiver) greeting() greeting {
	return greeting{client: r.name, version: r.version, expiry: 3600, receiveMax: r.receiveMax}
}

// subscribe subscribes on a connection of its own.
func (r *receiver) subscribe() bool {
	for {
		l, done, ok := r.d.connect(r.greeting(), r.links+1)
		if !ok {
			return false
		}
		r.links++
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1}
		pk.Filters = packets.Subscriptions{{Filter: "d/#", Qos: r.qos}}
		l.put(pk)
		err := l.flush()
		if err == nil {
			pk, err = l.await(packets.Suback)
		}
		if err == nil && (len(pk.ReasonCodes) != 1 || pk.ReasonCodes[0] != r.qos) {
			r.d.fault("%s: SUBACK %v", r.name, pk.ReasonCodes)
		}
		if err == nil {
			l.leave()
		}
		done()
		if err == nil {
			return true
		}
	}
}

// run receives. It is ready once the broker has parted from the connection that
// subscribed: what comes then cannot have been sent on that one.
func (r *receiver) run(ready func()) {
	for {
		l, done, ok := r.d.connect(r.greeting(), r.links+1)
		if !ok {
			return
		}
		ready()
		r.links++
		if !l.present {
			r.d.fault("%s: its session is gone on connection %d", r.name, l.number)
			r.held = map[uint16]stamp{}
		}
		r.open, r.acks = map[uint16]bool{}, nil
		all, err := r.session(l)
		done()
		if err != nil && r.d.ctx.Err() == nil && isProtest(err) {
			r.d.fault("%s: %v", r.name, err)
		}
		if all {
			return
		}
	}
}

// isProtest tells a fault of the broker from a broken connection.
func isProtest(err error) bool {
	broken := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	return !broken && !strings.Contains(err.Error(), "disconnects with 0x8b") // it shuts down
}

// session takes messages until it has all, or the connection breaks.
func (r *receiver) session(l *link) (all bool, err error) {
	left := 1 << 30
	if r.cuts > 0 {
		left = 1 + r.random.IntN(2*r.cuts)
	}
	for {
		pk, there, err := l.next()
		if err != nil {
			return false, err
		}
		if there {
			r.take(l, pk)
			left--
		}
		if left <= 0 {
			r.part(l)
			return false, nil
		}
		if l.in.Buffered() > 0 && len(r.acks) < 20 {
			continue
		}
		if err := r.acknowledge(l, len(r.acks)); err != nil {
			return false, err
		}
		if !there && r.complete() {
			l.leave()
			return true, nil
		}
	}
}

func (r *receiver) complete() bool {
	if !closed(r.d.finishing) {
		return false
	}
	n, _ := r.in.missing(everything)
	return n == 0
}

// part ends a connection in one of the ways in which connections end, and stays away.
func (r *receiver) part(l *link) {
	switch r.random.IntN(3) {
	case 0:
		_ = r.acknowledge(l, r.random.IntN(len(r.acks)+1)) // some are on their way, perhaps
		_ = l.nc.Close()
	case 1:
		for _, pk := range r.acks {
			l.put(pk)
		}
		l.tear(r.random.Float64())
	default:
		_ = r.acknowledge(l, len(r.acks))
		l.leave()
	}
	if r.away == 0 || r.random.IntN(3) == 0 {
		return
	}
	wait := r.random.Int64N(r.away)
	for r.d.ledger.acked.Load()-r.in.first.Load() < wait && !closed(r.d.finishing) && r.d.pause() {
		continue
	}
}

// acknowledge sends the first n acknowledgements that wait.
func (r *receiver) acknowledge(l *link, n int) error {
	for _, pk := range r.acks[:n] {
		l.put(pk)
		if kind := pk.FixedHeader.Type; kind != packets.Pubrec {
			delete(r.open, pk.PacketID)
		}
	}
	r.acks = r.acks[n:]
	return l.flush()
}

func (r *receiver) ack(kind byte, id uint16) {
	r.acks = append(r.acks, packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id})
}

func (r *receiver) take(l *link, pk packets.Packet) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		r.message(l, pk)
	case packets.Pubrel:
		delete(r.held, pk.PacketID)
		r.ack(packets.Pubcomp, pk.PacketID)
	default:
		r.d.fault("%s: unexpected %s", r.name, packets.PacketNames[pk.FixedHeader.Type])
	}
}

func (r *receiver) message(l *link, pk packets.Packet) {
	s, err := readStamp(pk.Payload)
	if err != nil || pk.TopicName != topicName(s.topic) || pk.FixedHeader.Retain {
		r.d.fault("%s: on %q, retained %v: %v", r.name, pk.TopicName, pk.FixedHeader.Retain, err)
		return
	}
	id := pk.PacketID
	if r.open[id] {
		r.d.fault("%s: %+v comes under identifier %d, which is in use on connection %d", r.name, s, id, l.number)
	}
	r.open[id] = true
	if r.receiveMax > 0 && len(r.open) > int(r.receiveMax) && r.version == 5 {
		r.d.fault("%s: %d messages unacknowledged on connection %d (DUP %v), Receive Maximum is %d", r.name, len(r.open), l.number, pk.FixedHeader.Dup, r.receiveMax)
	}
	if pk.FixedHeader.Qos == 1 {
		r.in.take(l.number, s, 1, pk.FixedHeader.Dup)
		r.ack(packets.Puback, id)
		return
	}
	r.ack(packets.Pubrec, id)
	held, again := r.held[id]
	switch {
	case !again:
		r.held[id] = s
		r.in.take(l.number, s, pk.FixedHeader.Qos, pk.FixedHeader.Dup)
	case held != s:
		r.d.fault("%s: %+v comes under identifier %d, under which it holds %+v", r.name, s, id, held)
	case !pk.FixedHeader.Dup:
		r.d.fault("%s: %+v comes again without DUP", r.name, s)
	}
}
