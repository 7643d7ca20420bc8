package broker

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func trafficStorms() []storm {
	small := Limits{QueueMessages: 1000, QueueBytes: 1 << 20, BufferMessages: 1000, BufferBytes: 1 << 20}
	return []storm{
		{name: "slow readers at QoS 0", limits: small, run: slowReaders(0)},
		{name: "slow readers at QoS 1", limits: small, run: slowReaders(1)},
		{name: "200,000 topics", run: topicFlood(0x30, "attack", 0)},
		{name: "200,000 retained topics", limits: Limits{RetainedMessages: 20_000}, run: topicFlood(0x31, "attack", 20_000)},
		{name: "200,000 refused topics", run: topicFlood(0x30, "forbidden", 0)},
		{name: "all packet ids in use", limits: Limits{Inflight: math.MaxUint16, QueueMessages: 1 << 17}, run: allPacketIDs},
		{name: "more packet ids than are allowed", run: tooManyPacketIDs},
		{name: "PINGREQ", run: pings},
	}
}

// Subscribers that never read, and somebody who publishes to them as fast as the broker takes it.
func slowReaders(qos byte) func(testing.TB, *site) {
	return func(t testing.TB, s *site) {
		const readers, messages = 20, 20_000
		connect := encoded(t, s.connectPacket("attacker", ""))
		subscribe := encoded(t, packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
			Filters: packets.Subscriptions{{Filter: "attack/#", Qos: qos}},
		})
		s.attack(t, readers, 10, func(_ int, nc net.Conn) error {
			if _, err := connected(nc, connect); err != nil {
				return err
			}
			if err := nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
				return err
			}
			return exchange(nc, subscribe, packets.Suback, 1)
		})
		payload := strings.Repeat("x", 1000)
		batch := make([]byte, 0, 110<<10)
		kind, answers := byte(packets.Pingresp), 1
		for i := range 100 {
			batch = stormPublish(batch, 0x30|qos<<1, "attack/flood", uint16(i+1), payload)
		}
		if qos == 0 {
			batch = append(batch, 0xC0, 0)
		} else {
			kind, answers = packets.Puback, 100
		}
		s.asAttacker(t, func(nc net.Conn) error {
			for range messages / 100 {
				if err := exchange(nc, batch, kind, answers); err != nil {
					return err
				}
			}
			return nil
		})
		if s.Stats().MessagesDropped == 0 {
			t.Error("nothing was dropped, so nobody was slow")
		}
		s.hold(t, readers*(1<<20+256<<10)+buffers, "the queue's bound of 1 MiB for each, and what is being written")
	}
}

// More topics than anybody needs: published, retained or refused.
func topicFlood(first byte, prefix string, retained int64) func(testing.TB, *site) {
	return func(t testing.TB, s *site) {
		const n, each = 200_000, 1000
		var batch []byte
		s.asAttacker(t, func(nc net.Conn) error {
			for from := 0; from < n; from += each {
				batch = batch[:0]
				for i := range each {
					batch = stormPublish(batch, first, fmt.Sprintf("%s/%d/a/topic/of/some/length/%d", prefix, i%7, from+i), 0, "x")
				}
				if err := exchange(nc, append(batch, 0xC0, 0), packets.Pingresp, 1); err != nil {
					return err
				}
			}
			return nil
		})
		if got := s.Stats().Retained; got != retained {
			t.Errorf("%d retained, want %d", got, retained)
		}
		if got := s.Stats().Refused; prefix == "forbidden" && got != n {
			t.Errorf("%d refused, want %d", got, n)
		}
		s.hold(t, maxRemembered*(200+maxRememberedTopic)+int(retained)*700, "the decisions that one identity remembers, and 700 bytes for each retained message")
	}
}

// 65,535 exchanges at QoS 2 that a publisher leaves open, and as many that a subscriber does.
func allPacketIDs(t testing.TB, s *site) {
	subscribe, _ := subscribePackets(t, []string{"attack/#"}, 1)
	subscribe[len(subscribe)-1] = 2 // QoS
	connect := encoded(t, s.connectPacket("attacker", ""))
	s.attack(t, 1, 1, func(_ int, nc net.Conn) error {
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		return exchange(nc, subscribe, packets.Suback, 1)
	})
	s.asAttacker(t, func(nc net.Conn) error {
		var batch []byte
		for id := 1; id <= math.MaxUint16; id++ {
			batch = stormPublish(batch, 0x34, "attack/a", uint16(id), "x")
		}
		if err := exchange(nc, batch, packets.Pubrec, math.MaxUint16); err != nil {
			return err
		}
		return exchange(nc, stormPublish(nil, 0x3C, "attack/a", 1, "x"), packets.Pubrec, 1) // again
	})
	if err := awaitAll(s.dialled[0], packets.Publish, math.MaxUint16); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.MessagesDropped != 0 {
		t.Errorf("%d dropped", got.MessagesDropped)
	}
	s.hold(t, math.MaxUint16*1000, "1,000 bytes for each exchange, on both sides")
}

// A publisher that leaves more exchanges open than the broker has said it may.
func tooManyPacketIDs(t testing.TB, s *site) {
	s.asAttacker(t, func(nc net.Conn) error {
		var batch []byte
		for id := 1; id <= s.limits.Inflight+1; id++ {
			batch = stormPublish(batch, 0x34, "attack/a", uint16(id), "x")
		}
		if _, err := nc.Write(batch); err != nil {
			return err
		}
		if reason := rest(nc); reason != 0x93 {
			return fmt.Errorf("the connection ends with %#x, want 0x93 (MQTT 5.0, 3.3.4)", reason)
		}
		return nil
	})
	s.hold(t, buffers, "nothing of it but buffers")
}

// Pings by one who reads the answers, and by one who does not.
func pings(t testing.TB, s *site) {
	const n = 200_000
	s.asAttacker(t, func(nc net.Conn) error {
		return exchange(nc, bytes.Repeat([]byte{0xC0, 0}, n), packets.Pingresp, n)
	})
	s.asAttacker(t, func(nc net.Conn) error {
		writing := make(chan error, 1)
		go func() {
			for range 1000 { // until it is closed, since nobody takes so many
				if _, err := nc.Write(bytes.Repeat([]byte{0xC0, 0}, 1<<16)); err != nil {
					writing <- err
					return
				}
			}
			writing <- nil
		}()
		stuck := s.Stats()
		eventually(t, "the broker to read no more", func() bool {
			before := stuck
			stuck = s.Stats()
			return before.BytesReceived == stuck.BytesReceived && stuck.BytesSent > 0
		})
		return errors.Join(nc.Close(), closedOnly(<-writing))
	})
	s.hold(t, buffers, "answers that wait, of which there is a bound, and buffers")
}

// closedOnly is nil where a write ended because its connection did.
func closedOnly(err error) error {
	if err == nil {
		return errors.New("the broker took pings without end")
	}
	return nil
}
