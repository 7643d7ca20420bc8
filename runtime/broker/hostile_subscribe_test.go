package broker

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

func subscriptionStorms() []storm {
	return []storm{
		{name: "10,000 subscriptions one by one", run: subscribeStorm(1)},
		{name: "10,000 subscriptions in large packets", run: subscribeStorm(1000)},
		{name: "filters and topics of 1,000 levels", run: deepStorm},
		{name: "filters of 1,000 levels that branch", run: branchingStorm},
		{name: "overlapping subscriptions of many", ids: []spec.Identity{identityOf("crowd", "r crowd/#"), identityOf("speaker", "w crowd/#")}, run: overlapStorm},
		{name: "wildcards over 100,000 retained topics", run: retainedScans},
		{name: "UNSUBSCRIBE", run: unsubscribeStorm},
		{name: "a million filters in a packet", run: manyFilters},
	}
}

// subscribePackets ask for the filters, some in a packet.
func subscribePackets(t testing.TB, filters []string, each int) (data []byte, n int) {
	t.Helper()
	for from := 0; from < len(filters); from += each {
		n++
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: uint16(n)}
		for _, f := range filters[from:min(from+each, len(filters))] {
			pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: byte(from % 3)})
		}
		data = append(data, encoded(t, pk)...)
	}
	return data, n
}

// exchange writes data while it reads until n packets of the kind have come.
func exchange(nc net.Conn, data []byte, kind byte, n int) error {
	written := make(chan error, 1)
	go func() {
		_, err := nc.Write(data)
		written <- err
	}()
	if err := awaitAll(nc, kind, n); err != nil {
		return errors.Join(err, nc.Close(), <-written) // in this order: the writer ends
	}
	return <-written
}

// asAttacker is one attacker that is logged in.
func (s *site) asAttacker(t testing.TB, one func(nc net.Conn) error) {
	t.Helper()
	connect := encoded(t, s.connectPacket("attacker", ""))
	s.attack(t, 1, 1, func(_ int, nc net.Conn) error {
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		return one(nc)
	})
}

// perSubscription is what a subscription to a filter of some 30 bytes may take.
const perSubscription = 800

func subscribeStorm(each int) func(testing.TB, *site) {
	return func(t testing.TB, s *site) {
		const n = 10_000
		filters := make([]string, n)
		for i := range filters {
			filters[i] = fmt.Sprintf("attack/%d/+/%d/value", i%50, i)
		}
		data, packetCount := subscribePackets(t, filters, each)
		s.asAttacker(t, func(nc net.Conn) error { return exchange(nc, data, packets.Suback, packetCount) })
		if got := s.Stats().Subscriptions; got != n+1 {
			t.Errorf("%d subscriptions, want %d", got, n+1)
		}
		clear(filters)
		data = nil
		s.hold(t, n*perSubscription, "800 bytes for each")
		_ = s.dialled[0].Close()
		eventually(t, "the subscriptions to go", func() bool { return s.Stats().Subscriptions == 1 })
		s.hold(t, buffers, "nothing of them but buffers")
	}
}

// One topic of 1,000 levels to as many filters as fit, and filters that are too deep.
func deepStorm(t testing.TB, s *site) {
	topic := "attack" + strings.Repeat("/a", 999)
	filters := []string{"attack/#", topic, topic + "/#"}
	for depth := 1; depth < 1000; depth++ {
		filters = append(filters, "attack"+strings.Repeat("/+", depth), "attack"+strings.Repeat("/+", depth)+"/#")
	}
	data, n := subscribePackets(t, filters, 100)
	publish := encoded(t, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: topic, PacketID: 1})
	s.asAttacker(t, func(nc net.Conn) error {
		if err := exchange(nc, data, packets.Suback, n); err != nil {
			return err
		}
		for range 300 {
			if err := exchange(nc, publish, packets.Puback, 1); err != nil {
				return err
			}
		}
		deeper, _ := subscribePackets(t, []string{"attack" + strings.Repeat("/+", maxLevels)}, 1)
		if _, err := nc.Write(deeper); err != nil {
			return err
		}
		for {
			kind, body, err := readRaw(nc)
			if err != nil || kind == packets.Suback && body[3] < 0x80 {
				return fmt.Errorf("a filter of more than %d levels: %x, %w", maxLevels, body, err)
			}
			if kind == packets.Suback {
				return nil
			}
		}
	})
	s.hold(t, len(filters)*(perSubscription+4<<10)+buffers, "a filter of up to 2 KiB for each subscription, and its place")
}

// Filters that take either way at each of 1,000 levels, and a topic that matches all: a match must
// not cost 2^1000, nor more memory than the filters.
func branchingStorm(t testing.TB, s *site) {
	filters, topic := deepFilters(1000, 999)
	for i := range filters {
		filters[i] = "attack/" + filters[i]
	}
	data, n := subscribePackets(t, filters, 10)
	publish := encoded(t, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: "attack/" + topic, PacketID: 1})
	s.asAttacker(t, func(nc net.Conn) error {
		if err := exchange(nc, data, packets.Suback, n); err != nil {
			return err
		}
		for range 50 {
			if err := exchange(nc, publish, packets.Puback, 1); err != nil {
				return err
			}
		}
		return nil
	})
	clear(filters)
	data = nil
	s.hold(t, 1000*(perSubscription+4<<10)+buffers, "2 KiB of filter, twice, for each subscription, its place, and buffers")
}

// 1,000 clients with two subscriptions each that match the same topic.
func overlapStorm(t testing.TB, s *site) {
	const clients, messages = 1000, 30
	connect := encoded(t, s.connectPacket("crowd", ""))
	subscribe, _ := subscribePackets(t, []string{"crowd/#", "crowd/+"}, 2)
	s.attack(t, clients, 50, func(_ int, nc net.Conn) error {
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		return exchange(nc, subscribe, packets.Suback, 1)
	})
	speaker := s.login(t, "speaker", "s")
	for i := range messages {
		speaker.publish("crowd/x", "hello", 1, uint16(i+1))
		speaker.expect(packets.Puback)
	}
	for _, nc := range s.dialled {
		if err := awaitAll(nc, packets.Publish, messages); err != nil {
			t.Fatal(err)
		}
	}
	s.hold(t, clients*perIdle, "idle connections")
	if err := speaker.nc.Close(); err != nil {
		t.Error(err)
	}
}

// Subscriptions with wildcards that look through many retained topics, and find nothing or much.
func retainedScans(t testing.TB, s *site) {
	const topics = 100_000
	var flood []byte
	for i := range topics {
		flood = stormPublish(flood, 0x31, fmt.Sprintf("attack/%d/%d", i%100, i), 0, "x")
	}
	s.asAttacker(t, func(nc net.Conn) error {
		return exchange(nc, append(flood, 0xC0, 0), packets.Pingresp, 1)
	})
	flood = nil
	if got := s.Stats().Retained; got != topics {
		t.Fatalf("%d retained, want %d", got, topics)
	}
	s.hold(t, topics*700, "700 bytes for each retained message")
	var filters []string
	for i := range 100 {
		filters = append(filters, fmt.Sprintf("attack/+/%d/+", i), fmt.Sprintf("attack/%d/#", i), "attack"+strings.Repeat("/+", i+2))
	}
	data, n := subscribePackets(t, filters, 1)
	s.asAttacker(t, func(nc net.Conn) error { return exchange(nc, data, packets.Suback, n) })
}

// UNSUBSCRIBE for what exists and what does not, small and large.
func unsubscribeStorm(t testing.TB, s *site) {
	const n = 10_000
	filters := make([]string, n)
	for i := range filters {
		filters[i] = fmt.Sprintf("attack/%d/+", i)
	}
	data, packetCount := subscribePackets(t, filters, 1000)
	var leave []byte
	leaves := 0
	for from, to := 0, 0; from < n; from = to {
		leaves++
		if to = from + 1; from >= n/2 {
			to = from + 500
		}
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: uint16(leaves)}
		for _, f := range filters[from:to] {
			pk.Filters = append(pk.Filters, packets.Subscription{Filter: f}, packets.Subscription{Filter: f + "/none"})
		}
		leave = append(leave, encoded(t, pk)...)
	}
	s.asAttacker(t, func(nc net.Conn) error {
		for range 3 {
			if err := exchange(nc, data, packets.Suback, packetCount); err != nil {
				return err
			}
			if err := exchange(nc, leave, packets.Unsuback, leaves); err != nil {
				return err
			}
		}
		return nil
	})
	if got := s.Stats().Subscriptions; got != 1 {
		t.Errorf("%d subscriptions, want the witness's", got)
	}
	clear(filters)
	data, leave = nil, nil
	s.hold(t, buffers, "nothing of them but buffers")
}

// The largest packet with the smallest filters: each takes four bytes there, and many more decoded.
func manyFilters(t testing.TB, s *site) {
	body := []byte{0, 1, 0}
	for len(body) < s.limits.PacketBytes-8 {
		body = append(body, 0, 1, 'x', 0)
	}
	packet := append(stormLength([]byte{0x82}, len(body)), body...)
	connect := encoded(t, s.connectPacket("attacker", ""))
	s.attack(t, 8, 2, func(_ int, nc net.Conn) error {
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		_, _ = nc.Write(packet) // refused, packet and all, or each filter
		_, _ = nc.Write([]byte{0xC0, 0})
		for {
			kind, _, err := readRaw(nc)
			if err != nil || kind == packets.Pingresp || kind == packets.Disconnect {
				return nil
			}
		}
	})
	packet = nil
	s.hold(t, buffers, "nothing of them but buffers")
}

func stormLength(data []byte, n int) []byte {
	for n > 127 {
		data = append(data, byte(n)|0x80)
		n >>= 7
	}
	return append(data, byte(n))
}

// stormPublish appends a PUBLISH of MQTT 5 without properties; id is left out at QoS 0.
func stormPublish(data []byte, first byte, topic string, id uint16, payload string) []byte {
	n := 2 + len(topic) + 1 + len(payload)
	if first&6 != 0 {
		n += 2
	}
	data = stormLength(append(data, first), n)
	data = append(append(data, byte(len(topic)>>8), byte(len(topic))), topic...)
	if first&6 != 0 {
		data = append(data, byte(id>>8), byte(id))
	}
	return append(append(data, 0), payload...)
}
