package broker

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// willOf sets the will.
func willOf(topic, payload string, qos byte, retain bool) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte(payload)
		pk.Connect.WillQos, pk.Connect.WillRetain = qos, retain
	}
}

// A will is stored with the session and published however the connection ends but by DISCONNECT 0.
func (mqtt5) WillPublished(t *testing.T) {
	for name, end := range map[string]func(*wire){
		"connection broken":    func(w *wire) { w.nc.Close() },
		"protocol error":       func(w *wire) { w.violate(rawPublish(qos1Bits, "a", 0, properties(), "")) },
		"malformed packet":     func(w *wire) { w.violate([]byte{0, 0}) },
		"DISCONNECT 4":         func(w *wire) { w.raw(framed(disconnectByte, []byte{4}, properties())) },
		"DISCONNECT 0x80":      func(w *wire) { w.raw(framed(disconnectByte, []byte{0x80})) },
		"DISCONNECT 0x81":      func(w *wire) { w.raw(framed(disconnectByte, []byte{0x81}, properties())) },
		"taken over":           nil,
		"taken over and clean": nil,
	} {
		t.Run(name, func(t *testing.T) {
			p := conforming(t)
			got := p.collect(t, "line2", "will")
			w, _ := p.join(t, "c", func(pk *packets.Packet) { lasting(pk); willOf("will", "gone", 1, false)(pk) })
			defer w.nc.Close()
			if end != nil {
				end(w)
			} else {
				p.join(t, "c", func(pk *packets.Packet) { pk.Connect.Clean = strings.HasSuffix(name, "clean") })
			}
			if m := next(t, got); string(m.Payload) != "gone" || m.QoS != 1 || m.Retain {
				t.Errorf("got %+v", m)
			}
			p.nothingMore(t, "line2", "will", got)
		})
	}
}

func (mqtt5) WillRemoved(t *testing.T) {
	p := conforming(t)
	got := p.collect(t, "line2", "will")
	w, _ := p.join(t, "c", func(pk *packets.Packet) { lasting(pk); willOf("will", "first", 0, false)(pk) })
	p.leave(t, w)
	if m := next(t, got); string(m.Payload) != "first" {
		t.Errorf("got %+v", m)
	}
	w, _ = p.join(t, "c", lasting) // resumes the session, without a will
	p.leave(t, w)
	w, _ = p.join(t, "c", func(pk *packets.Packet) { lasting(pk); willOf("will", "second", 0, false)(pk) })
	w.raw([]byte{disconnectByte, 0})
	w.expectEnd()
	p.awaitClients(t, 0)
	w, _ = p.join(t, "c", nil) // ends the session
	p.leave(t, w)
	p.nothingMore(t, "line2", "will", got)
}

func (mqtt5) WillDiscarded(t *testing.T) {
	for name, data := range map[string][]byte{
		"no code": {disconnectByte, 0}, "code": {disconnectByte, 1, 0}, "code and properties": {disconnectByte, 2, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := conforming(t)
			got := p.collect(t, "line2", "will")
			w, _ := p.join(t, "c", willOf("will", "never", 1, false))
			w.raw(data)
			w.expectEnd()
			p.awaitClients(t, 0)
			p.nothingMore(t, "line2", "will", got)
		})
	}
}

// With the will flag, properties, topic and payload must follow.
func (mqtt5) WillFields(t *testing.T) {
	p := conforming(t)
	const flags = cleanStart | willFlag
	for _, payload := range [][]byte{
		nil, properties(), joined(properties(), text("will")), joined(properties(), text("will"), []byte{0}),
		joined(properties(), text("will"), []byte{0, 9, 'x'}), joined(text("will"), text("x")),
		joined(properties(), text(""), text("x")), joined(properties(), text("will/#"), text("x")),
		joined(properties(property(packets.PropPayloadFormat, 2)), text("will"), text("x")),
		joined(properties(property(packets.PropTopicAlias, 0, 1)), text("will"), text("x")),
		joined(properties(property(packets.PropWillDelayInterval, 0, 0, 0, 1), property(packets.PropWillDelayInterval, 0, 0, 0, 1)), text("will"), text("x")),
	} {
		p.wantRefused(t, rawConnect(flags, properties(), text("c"), payload), 0x81, 0x82, 0x90)
	}
	w := p.wantAccepted(t, rawConnect(member|willFlag, properties(), text("c"), properties(), text("will"), text(""), login("line1")))
	w.ping()
}

func (mqtt5) WillQoSWithoutFlag(t *testing.T) {
	p := conforming(t)
	for _, bits := range []byte{willQoS1, willQoS2, willQoS1 | willQoS2} {
		p.wantRefused(t, rawConnect(member|bits, properties(), text("c"), login("line1")), 0x81, 0x82)
	}
}

func (mqtt5) WillQoS3(t *testing.T) {
	p := conforming(t)
	will := joined(properties(), text("w"), text("x"))
	p.wantRefused(t, rawConnect(member|willFlag|willQoS1|willQoS2, properties(), text("c"), will, login("line1")), 0x81, 0x82)
	for qos := range byte(3) {
		p.wantAccepted(t, rawConnect(member|willFlag|qos<<3, properties(), text("c"), will, login("line1")))
	}
}

func (mqtt5) WillRetainWithoutFlag(t *testing.T) {
	p := conforming(t)
	p.wantRefused(t, rawConnect(member|willRetain, properties(), text("c"), login("line1")), 0x81, 0x82)
}

func willRetained(t *testing.T, retain bool) {
	p := conforming(t)
	got := p.collect(t, "line2", "will")
	w, _ := p.join(t, "c", willOf("will", "x", 1, retain))
	w.nc.Close()
	next(t, got)
	later := p.connect(t, "line2", "later")
	later.subscribe(0, "will")
	if retain {
		if pk := later.expectMessage("will", "x"); !pk.FixedHeader.Retain {
			t.Error("without RETAIN")
		}
	}
	later.ping()
}

func (mqtt5) WillNotRetained(t *testing.T) { willRetained(t, false) }
func (mqtt5) WillRetained(t *testing.T)    { willRetained(t, true) }

func (mqtt5) WillUserProperties(t *testing.T) {
	p := conforming(t)
	sub := p.connect(t, "line2", "s")
	sub.subscribe(0, "will")
	want := []packets.UserProperty{{Key: "z", Val: "1"}, {Key: "a", Val: "2"}, {Key: "z", Val: "1"}, {Key: "", Val: ""}, {Key: "a", Val: "0"}}
	var props [][]byte
	for _, u := range want {
		props = append(props, userProperty(u.Key, u.Val))
	}
	w := p.wantAccepted(t, rawConnect(member|willFlag, properties(), text("c"), properties(props...), text("will"), text("x"), login("line1")))
	w.nc.Close()
	if got := sub.expectMessage("will", "x").Properties.User; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestConformanceWillMatrix: the will comes after its delay or with the end of the session,
// whichever is first, unless the client is back before.
func TestConformanceWillMatrix(t *testing.T) {
	const never = math.MaxUint32
	for _, expiry := range []uint32{0, 20, 100, never} {
		for _, delay := range []uint32{0, 10, 50} {
			for _, back := range []uint32{5, 30, 70, never} { // when the client is back
				for _, clean := range []bool{false, true} {
					due := min(delay, expiry)
					switch {
					case back < due && clean:
						due = back // the session ends
					case back < due:
						due = never
					}
					name := fmt.Sprintf("expiry %d, delay %d, back %d, clean %v", expiry, delay, back, clean)
					t.Run(name, func(t *testing.T) { willMatrix(t, expiry, delay, back, clean, due) })
				}
			}
		}
	}
}

func willMatrix(t *testing.T, expiry, delay, back uint32, clean bool, due uint32) {
	const never, horizon = math.MaxUint32, 200
	inBubble(t, func(b *bubble) {
		wills := b.collect("will")
		w, _ := b.join("c", func(pk *packets.Packet) {
			expiring(expiry)(pk)
			willOf("will", "x", 1, false)(pk)
			pk.Connect.WillProperties.WillDelayInterval = delay
		})
		time.Sleep(3 * time.Second)
		begin := time.Now()
		b.leave(w)
		if back != never {
			time.Sleep(time.Duration(back)*time.Second - time.Since(begin))
			_, ack := b.join("c", func(pk *packets.Packet) { expiring(expiry)(pk); pk.Connect.Clean = clean })
			if want := !clean && back < expiry; ack.SessionPresent != want {
				b.t.Errorf("session present %v, want %v", ack.SessionPresent, want)
			}
		}
		time.Sleep(horizon*time.Second - time.Since(begin))
		synctest.Wait()
		switch {
		case due == never && len(wills) == 0:
		case due == never || len(wills) != 1:
			b.t.Errorf("%d wills, one due after %d s", len(wills), due)
		default:
			late := (<-wills).at.Sub(begin) - time.Duration(due)*time.Second
			if late < 0 || late > time.Second {
				b.t.Errorf("will due after %d s is %s late", due, late)
			}
		}
	})
}

func (mqtt5) WillDelayReconnect(t *testing.T) {
	const never = math.MaxUint32
	willMatrix(t, 100, 50, 5, false, never)
	willMatrix(t, 100, 50, 49, false, never)
	willMatrix(t, 100, 50, 52, false, 50)
}

// WillTimes: at once, after the delay, with the end of the session.
func (mqtt5) WillTimes(t *testing.T) {
	const never = math.MaxUint32
	willMatrix(t, 100, 0, never, false, 0)
	willMatrix(t, 100, 50, never, false, 50)
	willMatrix(t, 20, 50, never, false, 20)
	willMatrix(t, 0, 50, never, false, 0)
}

// A will's message expiry counts from when the will is published.
func TestConformanceWillMessageExpiry(t *testing.T) {
	inBubble(t, func(b *bubble) {
		sub, _ := b.join("s", nil)
		sub.subscribe(0, "will")
		w, _ := b.join("c", func(pk *packets.Packet) {
			willOf("will", "x", 0, false)(pk)
			pk.Connect.WillProperties.MessageExpiryInterval = 10
		})
		time.Sleep(100 * time.Second)
		b.leave(w)
		if pk := sub.expectMessage("will", "x"); pk.Properties.MessageExpiryInterval != 10 {
			b.t.Errorf("message expiry %d, want 10", pk.Properties.MessageExpiryInterval)
		}
	})
}
