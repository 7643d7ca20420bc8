package broker

import (
	"fmt"
	"net"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func memoryStorms() []storm {
	return []storm{
		{name: "packets of 256 MB", run: hugePackets},
		{name: "large packets without an end", run: unfinishedPackets},
		{name: "topic aliases", run: aliases},
		{name: "10,000 user properties", run: manyProperties},
		{name: "properties in a slow reader's queue", limits: Limits{QueueBytes: 1 << 20, BufferBytes: 1 << 20}, run: queuedProperties},
		{name: "retained properties", limits: Limits{RetainedBytes: 4 << 20}, run: retainedProperties},
	}
}

// The largest packet that MQTT has, before and after a log-in: the broker takes no part of it.
func hugePackets(t testing.TB, s *site) {
	connect := encoded(t, s.connectPacket("attacker", ""))
	zeros := make([]byte, 1<<20)
	s.attack(t, 20, 4, func(i int, nc net.Conn) error {
		first := byte(0x10)
		if i%2 == 1 {
			first = 0x30
			if _, err := connected(nc, connect); err != nil {
				return err
			}
		}
		_, err := nc.Write([]byte{first, 0xFF, 0xFF, 0xFF, 0x7F})
		for sent := 0; err == nil && sent < 256<<20; sent += len(zeros) {
			_, err = nc.Write(zeros)
		}
		if err == nil {
			return fmt.Errorf("the broker has taken 256 MiB")
		}
		return nil
	})
	s.hold(t, buffers, "nothing of them but buffers")
}

// Packets as large as allowed, that all lack their last byte.
func unfinishedPackets(t testing.TB, s *site) {
	const n = 100
	connect := encoded(t, s.connectPacket("attacker", ""))
	size := s.limits.PacketBytes - 16
	packet := stormLength([]byte{0x30}, size)
	packet = append(packet, make([]byte, size-1)...)
	s.attack(t, n, n, func(_ int, nc net.Conn) error {
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		writing := make(chan struct{})
		go func() {
			defer close(writing)
			_, _ = nc.Write(packet) // the broker may leave it waiting, or close
		}()
		t.Cleanup(func() { _ = nc.Close(); <-writing })
		return nil
	})
	var before int64
	eventually(t, "the broker to take no more", func() bool {
		last := before
		before = s.Stats().BytesReceived
		return before > 16<<20 && last+int64(witnessPacketBytes) > before
	})
	s.hold(t, 160<<20, "what all clients together may have under way, and not 400 MiB")
}

// witnessPacketBytes is more than the witnesses send in a few milliseconds.
const witnessPacketBytes = 4 << 10

// As many aliases as are allowed, for topics as long as there are.
func aliases(t testing.TB, s *site) {
	const n = 60
	connect := encoded(t, s.connectPacket("attacker", ""))
	long := string(make65k())
	var packet []byte
	for alias := byte(1); alias <= aliasMaximum; alias++ {
		topic := fmt.Sprintf("attack/%d/%s", alias, long)
		packet = stormLength(append(packet, 0x30), 2+len(topic)+1+3)
		packet = append(append(packet, byte(len(topic)>>8), byte(len(topic))), topic...)
		packet = append(packet, 3, 0x23, 0, alias)
	}
	packet = append(packet, 0xC0, 0)
	s.attack(t, n, 10, func(_ int, nc net.Conn) error {
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		_, _ = nc.Write(packet) // the broker may say that this is enough
		_, _, err := readRaw(nc)
		return err
	})
	packet = nil
	s.hold(t, n*(1<<20), "1 MiB for each connection with aliases for topics of 64 KiB")
}

// flooded is a PUBLISH with 10,000 user properties.
func flooded(t testing.TB, topic string, retain bool) packets.Packet {
	t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: retain}, TopicName: topic, PacketID: 1, Payload: []byte("x")}
	for i := range 10_000 {
		pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: fmt.Sprint("key", i), Val: "value"})
	}
	return pk
}

// They come through, in order.
func manyProperties(t testing.TB, s *site) {
	pk := flooded(t, "attack/a", false)
	w := s.login(t, "attacker", "w")
	w.subscribe(1, "attack/a")
	for range 20 {
		w.send(pk)
		got := packets.Packet{}
		for range 2 { // PUBACK and PUBLISH, in either order
			if p, err := w.receive(); err != nil {
				t.Fatal(err)
			} else if p.FixedHeader.Type == packets.Publish {
				got = p
			}
		}
		if len(got.Properties.User) != 10_000 || got.Properties.User[9_999] != pk.Properties.User[9_999] {
			t.Fatalf("%d user properties, want 10,000", len(got.Properties.User))
		}
		w.ack(packets.Puback, got.PacketID)
	}
	if err := w.nc.Close(); err != nil {
		t.Error(err)
	}
	pk = packets.Packet{}
	s.hold(t, buffers, "nothing of them, and what a client's buffers keep")
}

// A queue is bounded by what it holds, not by payloads alone.
func queuedProperties(t testing.TB, s *site) {
	subscribe, _ := subscribePackets(t, []string{"attack/#"}, 1)
	publish := encoded(t, flooded(t, "attack/a", false))
	s.asAttacker(t, func(nc net.Conn) error {
		if err := nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			return err
		}
		return exchange(nc, subscribe, packets.Suback, 1) // and never reads again
	})
	s.asAttacker(t, func(nc net.Conn) error {
		for range 300 {
			if err := exchange(nc, publish, packets.Puback, 1); err != nil {
				return err
			}
		}
		return nil
	})
	if s.Stats().MessagesDropped == 0 {
		t.Error("nothing was dropped")
	}
	s.hold(t, 8<<20, "a queue of 1 MiB, as packets have it, decoded and being written")
}

// So is the store of retained messages.
func retainedProperties(t testing.TB, s *site) {
	s.asAttacker(t, func(nc net.Conn) error {
		for i := range 300 {
			pk := flooded(t, fmt.Sprint("attack/", i), true)
			if err := exchange(nc, encoded(t, pk), packets.Puback, 1); err != nil {
				return err
			}
		}
		return nil
	})
	if got := s.Stats().Retained; got >= 300 {
		t.Errorf("%d retained: 180 kB each, of 4 MiB", got)
	}
	s.hold(t, 32<<20, "4 MiB of retained messages, as packets have it, decoded")
}
