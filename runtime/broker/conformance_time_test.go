package broker

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// bubble is a broker in fake time.
type bubble struct {
	*Broker
	t *testing.T
	l *pipes
}

// inBubble runs a broker in fake time; a test that fails ends it too.
func inBubble(t *testing.T, run func(b *bubble)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{Dir: dir, Login: loginPlain, Watch: newControl(identityOf("line1", "rw #"))})
		if err != nil {
			t.Fatal(err)
		}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, l) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		<-b.Synced()
		run(&bubble{b, t, l})
	})
}

func (b *bubble) join(client string, change func(*packets.Packet)) (*wire, packets.Packet) {
	b.t.Helper()
	w := b.l.dial(b.t)
	pk := connectPacket("line1", client)
	pk.Connect.Keepalive = 0
	if change != nil {
		change(&pk)
	}
	w.send(pk)
	ack := w.expect(packets.Connack)
	if ack.ReasonCode != 0 {
		b.t.Fatalf("refused with %#x", ack.ReasonCode)
	}
	return w, ack
}

// leave breaks the connection and lets the broker notice.
func (b *bubble) leave(w *wire) {
	w.nc.Close()
	synctest.Wait()
}

func expiring(seconds uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = seconds, true
	}
}

// keepAlive wants a silent client cut after one and a half times the interval that is in
// force: the client's, or what the broker announces instead.
func keepAlive(t *testing.T, seconds uint16) {
	inBubble(t, func(b *bubble) {
		w, ack := b.join("c", func(pk *packets.Packet) { pk.Connect.Keepalive = seconds })
		if ack.Properties.ServerKeepAliveFlag {
			seconds = ack.Properties.ServerKeepAlive
		}
		interval := time.Duration(seconds) * time.Second
		for range 5 {
			time.Sleep(interval * 14 / 10)
			w.ping()
		}
		for range 5 { // any packet counts
			time.Sleep(interval * 14 / 10)
			w.publish("a", "", 0, 0)
		}
		begin := time.Now()
		if reason := w.expectEnd(); reason != 0x8D {
			b.t.Errorf("DISCONNECT %#x, want 0x8d", reason)
		}
		if took := time.Since(begin); took < interval*3/2 || took > interval*3/2+time.Second {
			b.t.Errorf("cut after %s, keep-alive %s", took, interval)
		}
	})
}

// A client that falls silent is cut like one whose network has failed: with its will. Keep-alive 0 is none.
func (mqtt5) KeepAlive(t *testing.T) {
	keepAlive(t, 10)
	inBubble(t, func(b *bubble) {
		wills := b.collect("will")
		w, _ := b.join("c", func(pk *packets.Packet) { pk.Connect.Keepalive = 10; willOf("will", "x", 1, false)(pk) })
		w.expectEnd()
		if m := <-wills; string(m.Payload) != "x" {
			b.t.Errorf("got %+v", m)
		}
		w, ack := b.join("forever", nil)
		if !ack.Properties.ServerKeepAliveFlag {
			time.Sleep(24 * time.Hour)
			w.ping()
		}
	})
}

// arrival is a message and when it came.
type arrival struct {
	Message
	at time.Time
}

func (b *bubble) collect(filter string) <-chan arrival {
	b.t.Helper()
	out := make(chan arrival, 1000)
	stop, err := b.Subscribe(b.t.Context(), "line1", filter, 2, func(m Message) { out <- arrival{m, time.Now()} })
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(stop)
	return out
}

// The session lasts as long after its connection as was asked, to the second, and no longer.
func (mqtt5) SessionExpires(t *testing.T) {
	for _, expiry := range []uint32{0, 1, 5, 60, 3600} {
		for _, away := range []uint32{0, 1, 3, 58, 62, 3598, 3603} {
			if away == expiry {
				continue // a tie
			}
			inBubble(t, func(b *bubble) {
				w, _ := b.join("c", expiring(expiry))
				w.subscribe(1, "a")
				b.leave(w)
				time.Sleep(time.Duration(away) * time.Second)
				if away > expiry+1 {
					if n := b.Stats().Subscriptions; n != 0 {
						b.t.Errorf("expiry %d, after %d s: %d subscriptions", expiry, away, n)
					}
				}
				if _, ack := b.join("c", expiring(expiry)); ack.SessionPresent != (away < expiry) {
					b.t.Errorf("expiry %d, after %d s: session present %v", expiry, away, ack.SessionPresent)
				}
			})
		}
	}
	inBubble(t, func(b *bubble) {
		w, _ := b.join("c", expiring(math.MaxUint32))
		b.leave(w)
		time.Sleep(24 * time.Hour)
		if _, ack := b.join("c", expiring(math.MaxUint32)); !ack.SessionPresent {
			b.t.Error("a session that never expires is gone after a day")
		}
	})
}

// DISCONNECT may change the expiry.
func TestConformanceDisconnectExpiry(t *testing.T) {
	for _, tc := range []struct {
		connect, disconnect, away uint32
		present                   bool
	}{{100, 10, 8, true}, {100, 10, 12, false}, {10, 100, 90, true}, {10, 100, 102, false}, {10, 0, 1, false}, {10, math.MaxUint32, 100_000, true}} {
		inBubble(t, func(b *bubble) {
			w, _ := b.join("c", expiring(tc.connect))
			w.raw(framed(disconnectByte, []byte{0}, properties(property(packets.PropSessionExpiryInterval, u32(tc.disconnect)...))))
			w.expectEnd()
			synctest.Wait()
			time.Sleep(time.Duration(tc.away) * time.Second)
			if _, ack := b.join("c", expiring(10)); ack.SessionPresent != tc.present {
				b.t.Errorf("%+v: session present %v", tc, ack.SessionPresent)
			}
		})
	}
}

// While the connection is open the session does not expire.
func (mqtt5) SessionKeptWhileOpen(t *testing.T) {
	for _, expiry := range []uint32{0, 5} {
		inBubble(t, func(b *bubble) {
			w, _ := b.join("c", expiring(expiry))
			w.subscribe(2, "a")
			w.publish("a", "x", 2, 1)
			w.await(packets.Pubrec)
			time.Sleep(time.Hour)
			w.publish("a", "x", 2, 1) // still the same exchange
			w.await(packets.Pubrec)
			w.ack(packets.Pubrel, 1)
			if comp := w.await(packets.Pubcomp); comp.ReasonCode != 0 {
				b.t.Errorf("PUBCOMP %#x", comp.ReasonCode)
			}
			if n := b.Stats().Subscriptions; n != 1 {
				b.t.Errorf("%d subscriptions", n)
			}
		})
	}
}

func publishExpiring(w *wire, topic, payload string, bits byte, seconds uint32) {
	w.t.Helper()
	w.raw(rawPublish(bits, topic, 1, properties(property(packets.PropMessageExpiryInterval, u32(seconds)...)), payload))
	w.awaitAnswer(bits >> 1 & 3)
}

// A message that waited longer than its expiry is not delivered, whatever it waited for.
func (mqtt5) MessageExpires(t *testing.T) {
	inBubble(t, func(b *bubble) {
		away, _ := b.join("away", expiring(math.MaxUint32))
		away.subscribe(2, "a")
		b.leave(away)
		stuck, _ := b.join("stuck", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
		stuck.subscribe(2, "a", "first")
		if err := b.Publish(b.t.Context(), "line1", Message{Topic: "first", QoS: 1}); err != nil {
			b.t.Fatal(err)
		}
		first := stuck.expectMessage("first", "")
		w, _ := b.join("c", nil)
		for seconds, payload := range map[uint32]string{0: "zero", 1: "one", 10: "ten"} {
			publishExpiring(w, "a", payload, qos1Bits, seconds)
			publishExpiring(w, "kept/"+payload, payload, qos1Bits|retainBit, seconds)
		}
		time.Sleep(12 * time.Second)
		publishExpiring(w, "a", "fresh", qos1Bits, 10)
		stuck.ack(packets.Puback, first.PacketID)
		stuck.expectMessage("a", "fresh")
		back, _ := b.join("away", expiring(math.MaxUint32))
		back.expectMessage("a", "fresh")
		back.subscribe(0, "kept/+")
		back.ping()
	})
}

// What is left of the expiry goes with the message, however it waited.
func (mqtt5) MessageExpiryReduced(t *testing.T) {
	for _, waits := range []uint32{0, 1, 30, 99} {
		inBubble(t, func(b *bubble) {
			want := func(pk packets.Packet) {
				b.t.Helper()
				if got := pk.Properties.MessageExpiryInterval; got != 100-waits {
					b.t.Errorf("after %d s of 100: message expiry %d", waits, got)
				}
			}
			away, _ := b.join("away", expiring(math.MaxUint32))
			away.subscribe(2, "a")
			b.leave(away)
			w, _ := b.join("c", nil)
			publishExpiring(w, "a", "x", qos2Bits|retainBit, 100)
			time.Sleep(time.Duration(waits) * time.Second)
			back, _ := b.join("away", expiring(math.MaxUint32))
			want(back.expectMessage("a", "x"))
			back.subscribe(0, "+")
			want(back.expectMessage("a", "x"))
			w.publish("a", "plain", 1, 2)
			w.await(packets.Puback)
			if pk := back.expectMessage("a", "plain"); pk.Properties.MessageExpiryInterval != 0 {
				b.t.Errorf("a message without expiry has %d", pk.Properties.MessageExpiryInterval)
			}
		})
	}
}

// A message that was sent once is sent again after a reconnect though it has expired, and its
// QoS 2 exchange goes to its end, in both directions.
func (mqtt5) NoExpiryOnceSent(t *testing.T) {
	for _, bits := range []byte{qos1Bits, qos2Bits} {
		inBubble(t, func(b *bubble) {
			sub, _ := b.join("s", expiring(math.MaxUint32))
			sub.subscribe(2, "a")
			w, _ := b.join("c", expiring(math.MaxUint32))
			publishExpiring(w, "a", "x", bits, 5)
			id := sub.expectMessage("a", "x").PacketID
			b.leave(sub)
			time.Sleep(20 * time.Second)
			sub, _ = b.join("s", expiring(math.MaxUint32))
			pk := sub.expectMessage("a", "x")
			if pk.PacketID != id || !pk.FixedHeader.Dup {
				b.t.Errorf("id %d, DUP %v", pk.PacketID, pk.FixedHeader.Dup)
			}
			sub.acknowledgeAll(pk)
			if bits == qos2Bits { // the publisher's side, long after the expiry
				w.ack(packets.Pubrel, 1)
				if comp := w.expect(packets.Pubcomp); comp.ReasonCode != 0 {
					b.t.Errorf("PUBCOMP %#x", comp.ReasonCode)
				}
			}
		})
	}
}

// Nothing is sent again while the connection lasts, however long the client is silent.
func (mqtt5) NoResendWhileConnected(t *testing.T) {
	inBubble(t, func(b *bubble) {
		w, _ := b.join("c", expiring(math.MaxUint32))
		w.subscribe(2, "a")
		for qos := byte(1); qos <= 2; qos++ {
			if err := b.Publish(b.t.Context(), "line1", Message{Topic: "a", Payload: []byte("x"), QoS: qos}); err != nil {
				b.t.Fatal(err)
			}
		}
		one, two := w.expectMessage("a", "x"), w.expectMessage("a", "x")
		time.Sleep(time.Hour)
		w.ping()
		w.ack(packets.Pubrec, two.PacketID)
		w.expect(packets.Pubrel)
		time.Sleep(time.Hour)
		w.ping()
		w.ack(packets.Puback, one.PacketID)
		w.ack(packets.Pubcomp, two.PacketID)
		w.ping()
	})
}
