package broker

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/errgroup"

	"github.com/millwright/millwright/internal/spec"
)

// load publishes in process without a pause. Each payload is the number of the phase it was
// published in.
type load struct {
	phase atomic.Uint64
	stop  chan struct{}
	g     errgroup.Group
}

func (p *plant) load(t testing.TB, as, topic string) *load {
	l := &load{stop: make(chan struct{})}
	for range 2 {
		l.g.Go(func() error {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return nil
				default:
				}
				m := Message{Topic: topic, Payload: binary.BigEndian.AppendUint64(nil, l.phase.Load()), QoS: byte(n % 2)}
				if err := p.Publish(t.Context(), as, m); err != nil {
					return err
				}
			}
		})
	}
	return l
}

func (l *load) end(t testing.TB) {
	t.Helper()
	close(l.stop)
	if err := l.g.Wait(); err != nil {
		t.Error(err)
	}
}

// Under load, in process and on the network: what is published once a permission is gone does
// not come, and what comes, comes at once.
func TestRevocationUnderLoad(t *testing.T) {
	all, none, source := identityOf("line1", "r a/#"), identityOf("line1", "r other"), identityOf("source", "w a/#")
	p := start(t, Limits{}, all, source)
	var latest [2]atomic.Uint64 // phase of the last message, in process and on the network
	var at [2]atomic.Int64      // and when it came
	note := func(who int, payload []byte) {
		latest[who].Store(binary.BigEndian.Uint64(payload))
		at[who].Store(time.Now().UnixNano())
	}
	stop, err := p.Subscribe(t.Context(), "line1", "a/#", 1, func(m Message) { note(0, m.Payload) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	w := p.connect(t, "line1", "c")
	w.subscribe(1, "a/#")
	pings := make(chan struct{}, 10)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			pk, err := w.receive()
			if err != nil {
				return // closed by the test
			}
			switch pk.FixedHeader.Type {
			case packets.Pingresp:
				pings <- struct{}{}
			case packets.Publish:
				note(1, pk.Payload)
				if pk.FixedHeader.Qos == 0 {
					continue
				}
				if _, err := w.nc.Write([]byte{0x40, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)}); err != nil {
					return
				}
			}
		}
	})
	l := p.load(t, "source", "a/b")
	for phase := uint64(2); phase < 20; phase += 2 {
		arrived := func() bool {
			return at[0].Load() > 0 && at[1].Load() > 0 && latest[0].Load() >= phase-2 && latest[1].Load() >= phase-2
		}
		eventually(t, "messages", arrived)
		begin := time.Now()
		p.set(none, source)
		p.awaitRevision(t, int64(phase))
		l.phase.Store(phase - 1) // what is published from now on is forbidden
		if _, err := w.nc.Write([]byte{0xC0, 0}); err != nil {
			t.Fatal(err)
		}
		<-pings
		forbidden := p.Stats().MessagesReceived
		eventually(t, "the load to go on", func() bool { return p.Stats().MessagesReceived > forbidden+2000 })
		for who, name := range []string{"in process", "on the network"} {
			if latest[who].Load() == phase-1 {
				t.Errorf("%s: a message came that was published after the permission was gone", name)
			}
			t.Logf("%s: the last message came %v after the permission was taken away", name, time.Unix(0, at[who].Load()).Sub(begin))
		}
		p.set(all, source)
		p.awaitRevision(t, int64(phase)+1)
		l.phase.Store(phase)
	}
	l.end(t)
	if err := w.nc.Close(); err != nil {
		t.Error(err)
	}
	reading.Wait()
}

// What waits for a client's acknowledgements, and what it was sent but left unacknowledged on
// an earlier connection, does not come once the permission is gone.
func TestRevocationOfWhatWaits(t *testing.T) {
	all, none := identityOf("line1", "rw #"), identityOf("line1", "w #", "r b")
	p := start(t, Limits{}, all)
	connect := func(clean bool) *wire {
		w := p.dial(t)
		pk := connectPacket("line1", "c")
		pk.Connect.Clean = clean
		pk.Properties.ReceiveMaximum = 10
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
		w.send(pk)
		w.expect(packets.Connack)
		return w
	}
	w := connect(true)
	w.subscribe(1, "a", "b")
	for i := range 200 {
		p.publish(t, "line1", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 1})
	}
	var ids []uint16
	for i := range 10 {
		ids = append(ids, w.expectMessage("a", fmt.Sprint(i)).PacketID)
	}
	p.set(none)
	p.awaitRevision(t, 2)
	for _, id := range ids[:5] {
		w.ack(packets.Puback, id)
	}
	w.ping() // nothing came before the answer
	if err := w.nc.Close(); err != nil {
		t.Fatal(err)
	}
	w = connect(false)
	w.ping() // nor are the five repeated
	p.publish(t, "line1", Message{Topic: "b", Payload: []byte("permitted"), QoS: 1})
	w.ack(packets.Puback, w.expectMessage("b", "permitted").PacketID)
	p.set(all)
	p.awaitRevision(t, 3)
	p.publish(t, "line1", Message{Topic: "a", Payload: []byte("again"), QoS: 1})
	for {
		if pk := w.expect(packets.Publish); string(pk.Payload) == "again" {
			return // what waited may come before, now that it may
		}
	}
}

// The next publish after a permission to write is gone is refused, in the middle of a stream.
func TestRevocationOfWriting(t *testing.T) {
	all, none := identityOf("line1", "w a/#"), identityOf("line1", "w b")
	p := start(t, Limits{}, all)
	w := p.connect(t, "line1", "c")
	for phase := int64(1); phase < 20; phase += 2 {
		for id := range uint16(20) {
			w.publish("a/b", "x", 1, id+1)
			if pk := w.expect(packets.Puback); pk.ReasonCode >= 0x80 {
				t.Fatalf("PUBACK %#x", pk.ReasonCode)
			}
		}
		p.set(none)
		p.awaitRevision(t, phase+1)
		w.publish("a/b", "x", 1, 1)
		if pk := w.expect(packets.Puback); pk.ReasonCode != 0x87 {
			t.Fatalf("PUBACK %#x, want 0x87", pk.ReasonCode)
		}
		wantKind(t, p.Publish(t.Context(), "line1", Message{Topic: "a/b"}), spec.Forbidden)
		p.set(all)
		p.awaitRevision(t, phase+2)
	}
}

// Two policies take turns, one that lets the even readers read and one that lets the odd ones:
// no message comes to both kinds.
func TestPolicySwapIsAtomic(t *testing.T) {
	const readers, swaps = 8, 100
	sets := [2][]spec.Identity{{identityOf("source", "w #")}, {identityOf("source", "w #")}}
	for i := range readers {
		name := fmt.Sprint("reader", i)
		sets[i%2] = append(sets[i%2], identityOf(name, "r a"))
		sets[1-i%2] = append(sets[1-i%2], identityOf(name, "r b"))
	}
	both := []spec.Identity{identityOf("source", "w #")}
	for i := range readers {
		both = append(both, identityOf(fmt.Sprint("reader", i), "r a"))
	}
	p := start(t, Limits{}, both...)
	var mu sync.Mutex
	got := map[uint64]int{} // by message, a bit for each reader
	for i := range readers {
		stop, err := p.Subscribe(t.Context(), fmt.Sprint("reader", i), "a", 0, func(m Message) {
			mu.Lock()
			defer mu.Unlock()
			got[binary.BigEndian.Uint64(m.Payload)] |= 1 << i
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	p.set(sets[0]...)
	p.awaitRevision(t, 2)
	var n atomic.Uint64
	ended := make(chan struct{})
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			for {
				select {
				case <-ended:
					return nil
				default:
				}
				m := Message{Topic: "a", Payload: binary.BigEndian.AppendUint64(nil, n.Add(1))}
				if err := p.Publish(t.Context(), "source", m); err != nil {
					return err
				}
			}
		})
	}
	for i := range swaps {
		before := n.Load()
		eventually(t, "messages between two policies", func() bool { return n.Load() > before+10 })
		p.set(sets[(i+1)%2]...)
		p.awaitRevision(t, int64(i)+3)
	}
	close(ended)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	const even, odd = 0x55, 0xAA
	whole := map[int]int{}
	mu.Lock()
	defer mu.Unlock()
	for i, who := range got {
		if who&even != 0 && who&odd != 0 {
			t.Fatalf("message %d came to readers %08b: a mix of two policies", i, who)
		}
		whole[who]++
	}
	if whole[even] == 0 || whole[odd] == 0 {
		t.Errorf("messages by who got them: %v; no policy was ever seen whole", whole)
	}
}

// BenchmarkAuthorisation is what a message costs to check, once for its publisher and once for a
// subscriber, with 100 permissions each: for topics that were seen before, and for new ones.
func BenchmarkAuthorisation(b *testing.B) {
	grants := make([]string, 100)
	for i := range grants {
		grants[i] = fmt.Sprintf("rw services/press%d/+/#", i)
	}
	p := start(b, Limits{}, identityOf("line1", grants...))
	for name, topics := range map[string][]string{"1,000 topics": plantTopics(1000), "200,000 topics": plantTopics(200_000)} {
		b.Run(name, func(b *testing.B) {
			reader := p.policy.Load().identities["line1"]
			b.ReportAllocs()
			for i := range b.N {
				topic := topics[i%len(topics)]
				if err := p.mayPublish("line1", topic); err != nil || !reader.may(spec.Read, topic) {
					b.Fatal(err)
				}
			}
		})
	}
}
