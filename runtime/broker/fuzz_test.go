package broker

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzConnection throws packets at a live broker, before and after a login: whatever they
// do to their own connection, another client gets its messages and nothing is left over.
func FuzzConnection(f *testing.F) {
	for _, cases := range packets.TPacketData {
		for _, c := range cases {
			f.Add(c.RawBytes, byte(5), true)
			f.Add(c.RawBytes, byte(4), true)
			f.Add(c.RawBytes, byte(5), false)
		}
	}
	f.Add([]byte{0x82, 5, 0, 1, 0, 0, 0}, byte(5), true)
	p := start(f, Limits{PacketBytes: 1 << 16}, identityOf("watcher", "rw watch"), identityOf("fuzz", "rw fuzz/#", "r #"))
	path := filepath.Join(f.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	accepted := make(chan error)
	go func() { accepted <- p.accept(ctx, l) }()
	f.Cleanup(func() {
		cancel()
		if err := l.Close(); err != nil {
			f.Error(err)
		}
		if err := <-accepted; err != nil {
			f.Error(err)
		}
	})
	watcher := p.connect(f, "watcher", "w")
	watcher.subscribe(1, "watch")
	f.Fuzz(func(t *testing.T, data []byte, version byte, login bool) {
		watcher.t = t
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		w := newWire(t, nc)
		if login {
			w.version = 4 + version&1
			w.send(connectPacket("fuzz", "f"))
			w.expect(packets.Connack)
		}
		received := make(chan struct{})
		go func() {
			defer close(received)
			_, _ = io.Copy(io.Discard, nc) // to its end, whatever that is
		}()
		_, _ = nc.Write(data) // fails where the broker has ended the connection in the middle
		if err := nc.(*net.UnixConn).CloseWrite(); err != nil {
			t.Log(err) // likewise
		}
		<-received
		p.publish(t, "watcher", Message{Topic: "watch", Payload: []byte("x"), QoS: 1})
		watcher.ack(packets.Puback, watcher.expectMessage("watch", "x").PacketID)
		eventually(t, "the session to end", func() bool {
			s := p.Stats()
			return s.Clients == 1 && s.Subscriptions == 1
		})
	})
}

// FuzzDecode holds that whatever the decoder takes can be encoded for a client of any version.
func FuzzDecode(f *testing.F) {
	for _, cases := range packets.TPacketData {
		for _, c := range cases {
			if len(c.RawBytes) > 0 {
				f.Add(c.RawBytes[0], c.RawBytes[min(2, len(c.RawBytes)):], byte(5))
			}
		}
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte, version byte) {
		pk := packets.Packet{ProtocolVersion: version}
		if pk.FixedHeader.Decode(first) != nil {
			return
		}
		pk.FixedHeader.Remaining = len(body)
		if guard(func() error { return decode(&pk, body) }) != nil || pk.FixedHeader.Type != packets.Publish || checkPublish(&pk) != nil {
			return
		}
		m := &message{Message: Message{Topic: pk.TopicName, Payload: pk.Payload}}
		m.forward(&pk.Properties)
		for version := byte(3); version <= 5; version++ {
			c := &conn{version: version}
			for qos := range byte(3) {
				if err := c.encode(new(bytes.Buffer), publishPacket(&delivery{msg: m, qos: qos, ids: []int{1, 268435455}}, 1, true)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
