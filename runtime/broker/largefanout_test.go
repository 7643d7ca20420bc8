package broker

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A large message for many who do not read is in memory once.
func TestLargeMessageShared(t *testing.T) {
	const n, size = 100, 4 << 20
	p := start(t, Limits{}, identityOf("a", "rw #"))
	var all []*wire
	for i := range n {
		w := p.connect(t, "a", fmt.Sprint("c", i))
		w.subscribe(byte(i%2), "x")
		all = append(all, w)
	}
	before := heapInUse()
	p.publish(t, "a", Message{Topic: "x", Payload: make([]byte, size)})
	if more := heapInUse() - before; more > 20*size {
		t.Errorf("%d MiB more", more>>20)
	}
	for _, w := range all {
		w.nc.Close()
	}
}

// What a large message's receiver is sent beside it comes before or after it, never within.
func TestLargeMessageWhole(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	for _, version := range []byte{3, 4, 5} {
		w := p.dial(t)
		w.version = version
		pk := connectPacket("a", "c")
		if version == 3 {
			pk.Connect.ProtocolName = []byte("MQIsdp")
		}
		w.send(pk)
		w.expect(packets.Connack)
		w.subscribe(1, "x")
		const n = 40
		for i := range n {
			payload := bytes.Repeat([]byte{byte(i)}, 20_000*(1+i%20))
			p.publish(t, "a", Message{Topic: "x", Payload: payload, QoS: byte(i % 2)})
			w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		}
		got, pongs := map[byte][]byte{}, 0
		for pongs < n || len(got[0])+len(got[1]) < n {
			pk, err := w.receive()
			if err != nil {
				t.Fatal(err)
			}
			if pk.FixedHeader.Type == packets.Pingresp {
				pongs++
				continue
			}
			i := pk.Payload[0]
			if want := bytes.Repeat([]byte{i}, 20_000*(1+int(i)%20)); !bytes.Equal(pk.Payload, want) {
				t.Fatalf("message %d is not what it was", i)
			}
			got[pk.FixedHeader.Qos] = append(got[pk.FixedHeader.Qos], i)
		}
		for qos, list := range got {
			for k, i := range list {
				if int(i) != 2*k+int(qos) {
					t.Fatalf("QoS %d came as %v", qos, list)
				}
			}
		}
		w.nc.Close()
		p.awaitClients(t, 0)
	}
}
