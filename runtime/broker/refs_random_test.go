package broker

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// wanderer is a client that does what chance says: with sessions of both kinds, it
// subscribes, reads or does not, acknowledges some and breaks off.
type wanderer struct {
	p      *plant
	t      testing.TB
	name   string
	random *rand.Rand
	nc     net.Conn // nil while not connected
	reader sync.WaitGroup
}

func (w *wanderer) step() {
	if w.nc == nil {
		w.connect(w.random.IntN(2) == 0)
		return
	}
	topic := fmt.Sprint("t/", w.random.IntN(4))
	switch w.random.IntN(8) {
	case 0:
		w.leave()
	case 1, 2:
		filter := topic
		if w.random.IntN(3) == 0 {
			filter = "t/#"
		}
		w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: filter, Qos: byte(w.random.IntN(3))}}})
	case 3:
		w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: topic}}})
	default: // its QoS 2 exchanges are left half done, or completed by the reader
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: byte(w.random.IntN(3)), Retain: w.random.IntN(4) == 0}, TopicName: topic, PacketID: uint16(1 + w.random.IntN(50))}
		if w.random.IntN(4) > 0 {
			pk.Payload = make([]byte, 1+w.random.IntN(40_000))
		}
		w.send(pk)
	}
}

func (w *wanderer) send(pk packets.Packet) {
	_ = w.write(w.nc, pk) // the broker may have ended the connection
}

func (w *wanderer) write(nc net.Conn, pk packets.Packet) error {
	var buf bytes.Buffer
	if err := encodePacket(5, &buf, pk); err != nil {
		w.t.Error(err)
	}
	_, err := nc.Write(buf.Bytes())
	return err
}

func (w *wanderer) connect(clean bool) {
	x := w.p.dial(w.t)
	pk := connectPacket("a", w.name)
	pk.Connect.Clean = clean
	if w.random.IntN(3) > 0 {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
	}
	x.send(pk)
	x.expect(packets.Connack)
	w.nc = x.nc
	if w.random.IntN(2) == 0 {
		return // and never reads
	}
	lazy := rand.New(rand.NewPCG(w.random.Uint64(), 1))
	w.reader.Go(func() { w.read(x, lazy) })
}

// read acknowledges most of what comes.
func (w *wanderer) read(x *wire, lazy *rand.Rand) {
	answers := map[byte]byte{packets.Pubrec: packets.Pubrel, packets.Pubrel: packets.Pubcomp}
	for {
		pk, err := x.receive()
		if err != nil {
			return
		}
		answer := answers[pk.FixedHeader.Type]
		if pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos > 0 {
			answer = []byte{packets.Puback, packets.Pubrec}[pk.FixedHeader.Qos-1]
		}
		if answer == 0 || lazy.IntN(10) == 0 {
			continue
		}
		ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: answer}, PacketID: pk.PacketID}
		if answer == packets.Pubrel {
			ack.FixedHeader.Qos = 1
		}
		if w.write(x.nc, ack) != nil {
			return
		}
	}
}

func (w *wanderer) leave() {
	if err := w.nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		w.t.Error(err)
	}
	w.nc = nil
	w.reader.Wait()
}

// Whatever clients do, the journal counts exactly the references that there are: while they
// wander about, after a restart, and when all that waited is gone.
func TestReferencesExact(t *testing.T) {
	seed := fromEnv(t, "MILLWRIGHT_TEST_SEED", rand.Uint64N(1<<32))
	t.Logf("MILLWRIGHT_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	opts := Options{Dir: t.TempDir(), segmentBytes: 256 << 10, Limits: Limits{QueueMessages: 200, RetainedMessages: 3}}
	for range 3 {
		p := startOptions(t, opts, newControl(identityOf("a", "rw #")))
		var all []*wanderer
		for i := range 4 {
			all = append(all, &wanderer{p: p, t: t, name: fmt.Sprint("w", i), random: random})
		}
		for n := range 800 {
			all[random.IntN(len(all))].step()
			if n%100 == 0 {
				p.exact(t)
			}
		}
		for _, w := range all {
			if w.nc != nil {
				w.leave()
			}
		}
		p.awaitClients(t, 0)
		p.exact(t)
		t.Logf("%d references, %+v", p.needed(), p.journal.Stats())
		p.stop()
	}
	p := startOptions(t, opts, newControl(identityOf("a", "rw #")))
	p.exact(t)
	for i := range 4 { // a clean start ends each session
		p.connect(t, "a", fmt.Sprint("w", i)).nc.Close()
	}
	p.awaitClients(t, 0)
	if _, err := p.forgetRetained("#"); err != nil {
		t.Fatal(err)
	}
	p.references(t, 0)
	if s := p.Stats(); s.MessagesQueued != 0 || s.BytesQueued != 0 || p.buffered.Load() != 0 {
		t.Errorf("nobody is left, but %d messages and %d bytes wait, %d in memory", s.MessagesQueued, s.BytesQueued, p.buffered.Load())
	}
}

// exact waits until the journal counts what there is: clients are at work meanwhile.
func (p *plant) exact(t testing.TB) {
	t.Helper()
	eventually(t, "the count of references to be right", func() bool {
		before := p.needed()
		got := p.referred(t.Context())
		return got == before && before == p.needed()
	})
}
