package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// giver is a QoS 2 publisher whose connection breaks at given steps.
type giver struct {
	t    *testing.T
	p    *plant
	w    *wire
	cuts []int
	step int
}

func (g *giver) connect() {
	g.t.Helper()
	g.w, _ = g.p.join(g.t, "giver", lasting)
}

// cut counts a step; where the connection breaks there it is made anew.
func (g *giver) cut() bool {
	g.t.Helper()
	g.step++
	if !slices.Contains(g.cuts, g.step) {
		return false
	}
	g.w.nc.Close()
	g.connect()
	return true
}

// expect reads the answer; false means that the connection broke.
func (g *giver) expect(kind byte, id uint16) bool {
	g.t.Helper()
	if g.cut() {
		return false
	}
	pk := g.w.expect(kind)
	if pk.PacketID != id || pk.ReasonCode >= 0x80 && pk.ReasonCode != 0x92 {
		g.t.Fatalf("%s %d %#x", packets.PacketNames[kind], pk.PacketID, pk.ReasonCode)
	}
	return !g.cut()
}

// publish takes a message through its handshake, however often the connection breaks. An answer
// that was read before the break counts as not seen, so that all is repeated that may be.
func (g *giver) publish(topic, payload string, id uint16) {
	g.t.Helper()
	for bits := byte(qos2Bits); ; bits |= dupBit {
		if g.cut() {
			continue
		}
		g.w.raw(rawPublish(bits, topic, id, properties(), payload))
		if g.expect(packets.Pubrec, id) {
			break
		}
	}
	for {
		if g.cut() {
			continue
		}
		g.w.ack(packets.Pubrel, id)
		if g.expect(packets.Pubcomp, id) {
			return
		}
	}
}

// TestConformanceCutInbound breaks a QoS 2 publisher's connection at every step, once and
// twice: subscribers get each message once, in order.
func TestConformanceCutInbound(t *testing.T) {
	const messages, steps = 3, 26
	p := conforming(t)
	got := p.collect(t, "line2", "q/#")
	away, _ := p.join(t, "away", lasting)
	away.subscribe(2, "q/#")
	p.leave(t, away)
	var want []string
	round := 0
	for first := 1; first < steps; first++ {
		for second := first; second <= steps; second += 4 {
			round++
			g := &giver{t: t, p: p, cuts: []int{first, second}}
			g.connect()
			for i := range messages {
				payload := fmt.Sprintf("%d.%d", round, i)
				g.publish("q/a", payload, uint16(i+1))
				want = append(want, payload)
				if m := next(t, got); string(m.Payload) != payload {
					t.Fatalf("cut at steps %d and %d: got %q, want %q", first, second, m.Payload, payload)
				}
			}
		}
	}
	p.nothingMore(t, "line2", "q/end", got)
	back, _ := p.join(t, "away", lasting)
	var taken []string
	for len(taken) < len(want) {
		pk, err := back.receive()
		if err != nil {
			t.Fatal(err)
		}
		back.answer(pk)
		if pk.FixedHeader.Type == packets.Publish {
			taken = append(taken, string(pk.Payload))
		}
	}
	if !slices.Equal(taken, want) {
		t.Error("a subscriber that was away got other messages, or in another order")
	}
}

// TestConformanceCutInsidePacket breaks the connection inside each packet of a QoS 2
// handshake: what is not whole has no effect.
func TestConformanceCutInsidePacket(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "q/#")
	publish := rawPublish(qos2Bits, "q/a", 5, properties(), "payload")
	for n := 1; n < len(publish); n++ {
		w, _ := p.join(t, "c", lasting)
		w.raw(publish[:n])
		w.nc.Close()
	}
	w, _ := p.join(t, "c", lasting)
	w.raw(publish)
	w.expect(packets.Pubrec)
	release := framed(pubrelByte, u16(5))
	for n := 1; n < len(release); n++ {
		w.raw(release[:n])
		w.nc.Close()
		w, _ = p.join(t, "c", lasting)
		w.raw(append([]byte{publish[0] | dupBit}, publish[1:]...)) // still not released
		w.expect(packets.Pubrec)
	}
	w.raw(release)
	w.expect(packets.Pubcomp)
	next(t, got)
	p.nothingMore(t, "line2", "q/end", got)
}
