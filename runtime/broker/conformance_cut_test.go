package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// taker is a client that receives as MQTT asks, and whose connection breaks at given steps:
// a step is before or after each packet that it sends, and after each that it reads.
type taker struct {
	t       *testing.T
	p       *plant
	w       *wire
	maximum uint16
	cuts    []int // the steps at which the connection breaks, ascending
	step    int

	taken  []string               // what the application got, in order
	open   map[uint16]bool        // QoS 2 ids received and not released
	flying map[uint16]bool        // not acknowledged in full on this connection
	last   map[string]int         // by topic: the highest number taken
	topics map[string]map[int]int // how often each number was taken
}

func newTaker(t *testing.T, p *plant, maximum uint16, cuts ...int) *taker {
	k := &taker{t: t, p: p, maximum: maximum, cuts: cuts, open: map[uint16]bool{}, last: map[string]int{}, topics: map[string]map[int]int{}}
	k.connect()
	return k
}

func (k *taker) connect() {
	k.t.Helper()
	k.w, _ = k.p.join(k.t, "taker", func(pk *packets.Packet) { lasting(pk); pk.Properties.ReceiveMaximum = k.maximum })
	k.flying = map[uint16]bool{}
}

// cut counts a step and reports that the connection was broken there.
func (k *taker) cut() bool {
	k.t.Helper()
	k.step++
	if len(k.cuts) == 0 || k.step != k.cuts[0] {
		return false
	}
	k.cuts = k.cuts[1:]
	k.w.nc.Close()
	k.connect()
	return true
}

func (k *taker) send(kind byte, id uint16) {
	k.t.Helper()
	if k.cut() {
		return
	}
	k.w.ack(kind, id)
	if kind != packets.Pubrec {
		delete(k.flying, id)
	}
	k.cut()
}

// run takes messages until the one with the payload, and then what belongs to open exchanges.
func (k *taker) run(until string) {
	k.t.Helper()
	for !slices.Contains(k.taken, until) {
		k.handle(k.read())
	}
	for quiet := 0; quiet < 2; { // two, as PINGRESP may overtake what is sent again
		w := k.w
		w.raw([]byte{pingreqByte, 0})
		quiet++
		for pk := k.read(); pk.FixedHeader.Type != packets.Pingresp; pk = k.read() {
			quiet = 0
			if k.handle(pk); k.w != w {
				break // a new connection, with no PINGREQ
			}
		}
	}
}

func (k *taker) read() packets.Packet {
	k.t.Helper()
	pk, err := k.w.receive()
	if err != nil {
		k.t.Fatalf("after %q: %v", k.taken, err)
	}
	return pk
}

// handle does with one packet what MQTT asks of a receiver.
func (k *taker) handle(pk packets.Packet) {
	k.t.Helper()
	id := pk.PacketID
	if pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos > 0 {
		k.flying[id] = true
		if len(k.flying) > int(k.maximum) {
			k.t.Errorf("%d in flight, receive maximum %d", len(k.flying), k.maximum)
		}
	}
	if k.cut() {
		return // read from the network, never seen by the client
	}
	switch {
	case pk.FixedHeader.Type == packets.Pubrel:
		delete(k.open, id)
		k.send(packets.Pubcomp, id)
	case pk.FixedHeader.Qos == 2:
		if !k.open[id] {
			k.open[id] = true
			k.take(pk)
		}
		k.send(packets.Pubrec, id)
	default:
		k.take(pk)
		if pk.FixedHeader.Qos == 1 {
			k.send(packets.Puback, id)
		}
	}
}

// take holds each topic to its order: numbers go up by one; at QoS 1 one may come again, marked DUP.
func (k *taker) take(pk packets.Packet) {
	k.t.Helper()
	k.taken = append(k.taken, string(pk.Payload))
	var n int
	if _, err := fmt.Sscan(string(pk.Payload), &n); err != nil {
		return // the last one
	}
	seen := k.topics[pk.TopicName]
	if seen == nil {
		seen = map[int]int{}
		k.topics[pk.TopicName] = seen
	}
	seen[n]++
	switch {
	case n == k.last[pk.TopicName]+1:
		k.last[pk.TopicName] = n
	case n <= k.last[pk.TopicName] && pk.FixedHeader.Qos == 1 && pk.FixedHeader.Dup:
	default:
		k.t.Errorf("%s: %d (QoS %d, DUP %v) after %d", pk.TopicName, n, pk.FixedHeader.Qos, pk.FixedHeader.Dup, k.last[pk.TopicName])
	}
}

// wantOnce wants the numbers from 1 to n of the topic, each once.
func (k *taker) wantOnce(topic string, n int) {
	k.t.Helper()
	for i := range n {
		if got := k.topics[topic][i+1]; got != 1 {
			k.t.Errorf("%s: %d came %d times", topic, i+1, got)
		}
	}
}

// TestConformanceCutOutbound breaks the connection of a QoS 2 subscriber at every step of the
// handshake, once and twice: each message comes exactly once, in order.
func TestConformanceCutOutbound(t *testing.T) {
	const messages, steps = 3, 24 // more steps than the exchange has
	p := conforming(t)
	for first := range steps {
		for second := first + 1; second <= steps; second += 3 {
			k := newTaker(t, p, 10, first, second)
			if first == 0 {
				k.cuts = []int{second}
			}
			k.w.subscribe(2, "q/#")
			for i := range messages {
				p.publish(t, "line2", Message{Topic: "q/a", Payload: fmt.Append(nil, i+1), QoS: 2})
			}
			p.publish(t, "line2", Message{Topic: "q/end", Payload: []byte("end"), QoS: 2})
			k.run("end")
			k.wantOnce("q/a", messages)
			if t.Failed() {
				t.Fatalf("cut at steps %d and %d", first, second)
			}
			k.w.ping()
			end, _ := p.join(t, "taker", nil) // forget the session
			p.leave(t, end)
		}
	}
}

// TestConformanceOrderOverReconnects: QoS 1 and 2 on several topics, the connection breaks
// often, and publishing goes on meanwhile. Each topic stays in order at each Receive Maximum.
func TestConformanceOrderOverReconnects(t *testing.T) {
	const messages = 120
	for _, maximum := range []uint16{1, 2, 10} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("receive maximum %d, QoS %d", maximum, qos), func(t *testing.T) {
				p := conforming(t)
				var cuts []int
				for at := 5; at < 3*messages; at += 7 + at%13 {
					cuts = append(cuts, at)
				}
				k := newTaker(t, p, maximum, cuts...)
				k.w.subscribe(qos, "q/#")
				published := make(chan error, 1)
				go func() {
					for i := range messages {
						topic := []string{"q/a", "q/b", "q/c"}[i%3]
						if err := p.Publish(t.Context(), "line2", Message{Topic: topic, Payload: fmt.Append(nil, i/3+1), QoS: qos}); err != nil {
							published <- err
							return
						}
					}
					published <- p.Publish(t.Context(), "line2", Message{Topic: "q/end", Payload: []byte("end"), QoS: qos})
				}()
				k.run("end")
				if err := <-published; err != nil {
					t.Fatal(err)
				}
				for _, topic := range []string{"q/a", "q/b", "q/c"} {
					if k.last[topic] != messages/3 {
						t.Errorf("%s ends with %d", topic, k.last[topic])
					}
					if qos == 2 {
						k.wantOnce(topic, messages/3)
					}
				}
			})
		}
	}
}

// What one client publishes on a topic arrives in that order, at each QoS, with all of its
// messages in flight at once.
func (mqtt5) Ordered(t *testing.T) {
	p := conforming(t)
	sub := p.connect(t, "line2", "s")
	sub.subscribe(2, "q/+")
	w := p.connect(t, "line1", "c")
	const messages = 60 // below the receive maximum, for QoS 2 in one go
	for qos := range byte(3) {
		var all []byte
		for i := range messages {
			all = append(all, rawPublish(qos<<1, fmt.Sprint("q/", i%3), uint16(i+1), properties(), fmt.Sprint(i/3))...)
		}
		w.raw(all)
		next := map[string]int{}
		for seen := 0; seen < messages; {
			pk, err := sub.receive()
			if err != nil {
				t.Fatal(err)
			}
			sub.answer(pk)
			if pk.FixedHeader.Type != packets.Publish {
				continue
			}
			seen++
			if want := fmt.Sprint(next[pk.TopicName]); string(pk.Payload) != want {
				t.Fatalf("QoS %d, %s: %q, want %s", qos, pk.TopicName, pk.Payload, want)
			}
			next[pk.TopicName]++
		}
		for i := range messages { // the broker answers in order, too
			switch qos {
			case 1:
				if ack := w.expect(packets.Puback); ack.PacketID != uint16(i+1) {
					t.Fatalf("PUBACK %d, want %d", ack.PacketID, i+1)
				}
			case 2:
				if rec := w.expect(packets.Pubrec); rec.PacketID != uint16(i+1) {
					t.Fatalf("PUBREC %d, want %d", rec.PacketID, i+1)
				}
				w.ack(packets.Pubrel, uint16(i+1))
			}
		}
		for i := range messages {
			if qos == 2 {
				if comp := w.expect(packets.Pubcomp); comp.PacketID != uint16(i+1) {
					t.Fatalf("PUBCOMP %d, want %d", comp.PacketID, i+1)
				}
			}
		}
	}
}
