package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/errgroup"

	"github.com/millwright/millwright/internal/spec"
)

// storm is what one kind of hostile client does to a broker, while two others, the witnesses,
// go on. Everybody's memory counts: the test's clients are in the same process.
type storm struct {
	name   string
	limits Limits
	login  bool            // with the real package credential, and identities below
	ids    []spec.Identity // beside "attacker", who may read and write attack/#, and the witnesses
	run    func(t testing.TB, s *site)
}

// site is where a storm happens.
type site struct {
	*plant
	before  uint64            // heap in use, before the storm
	secrets map[string]string // by identity, where the storm has a login of its own
	dialled []net.Conn
	mu      sync.Mutex
}

// hold fails if the storm, at its worst, has made the process keep more than limit bytes.
func (s *site) hold(t testing.TB, limit int, why string) {
	t.Helper()
	grown := int64(heap()) - int64(s.before)
	t.Logf("heap grew by %.1f MiB, allowed are %.1f", float64(grown)/(1<<20), float64(limit)/(1<<20))
	if grown > int64(limit) {
		t.Errorf("the heap grew by %d bytes: more than %d, which is %s", grown, limit, why)
	}
}

func storms() []storm {
	return slices.Concat(connectionStorms(), subscriptionStorms(), trafficStorms(), memoryStorms())
}

// TestStorm runs every storm beside witnesses whose messages must all arrive, in order. Their
// latency is printed; it depends on the machine.
func TestStorm(t *testing.T) {
	for _, s := range storms() {
		t.Run(s.name, func(t *testing.T) { t.Logf("witnesses: %v", s.weather(t)) })
	}
}

// BenchmarkStorm gives the witnesses' latency in each storm.
func BenchmarkStorm(b *testing.B) {
	for _, s := range storms() {
		b.Run(s.name, func(b *testing.B) {
			var all latencies
			for range b.N {
				all = append(all, s.weather(b)...)
			}
			slices.Sort(all)
			b.ReportMetric(float64(all.at(0.99))/1e6, "p99-ms")
			b.ReportMetric(float64(all.at(1))/1e6, "max-ms")
		})
	}
}

// weather lets the storm run over a new broker and returns what the witnesses saw.
func (st *storm) weather(t testing.TB) latencies {
	ids := append([]spec.Identity{identityOf("witness", "rw witness"), identityOf("attacker", "rw attack/#")}, st.ids...)
	panicked := panics{new(atomic.Pointer[string])}
	opts := Options{Dir: t.TempDir(), Limits: st.limits, Log: slog.New(panicked)}
	s := &site{}
	if st.login {
		opts.Login = s.realLogin(t, ids)
	}
	s.plant = startOptions(t, opts, newControl(ids...))
	goroutines := runtime.NumGoroutine()
	w := s.witness(t)
	s.before = heap()
	st.run(t, s)
	for _, nc := range s.dialled {
		_ = nc.Close() // many are closed by the broker
	}
	l := w.finish(t)
	eventually(t, "nothing to be left of anybody", func() bool {
		return s.Stats().Clients == 0 && runtime.NumGoroutine() <= goroutines+ownGoroutines
	})
	s.stop()
	if stack := panicked.stack.Load(); stack != nil {
		t.Errorf("a panic: %s", *stack)
	}
	return l
}

// ownGoroutines are the most that the broker may start for itself after its first sign of life.
const ownGoroutines = 10

// latencies are sorted.
type latencies []time.Duration

func (l latencies) at(quantile float64) time.Duration {
	return l[min(len(l)-1, int(quantile*float64(len(l))))]
}

func (l latencies) String() string {
	return fmt.Sprintf("%d messages, p50 %v, p99 %v, max %v", len(l), l.at(0.5), l.at(0.99), l.at(1))
}

// witnessPace is between two messages of the witness.
const witnessPace = time.Millisecond

// witness is a pair of clients with a modest stream at QoS 1 from one to the other. What one
// sends late, because it was held up, counts from when it should have been sent.
type witness struct {
	stop     chan struct{}
	ended    chan struct{} // closed when nothing more is published
	sent     atomic.Int64
	received atomic.Int64
	g        errgroup.Group
	seen     latencies
	sub, pub *wire
}

func (s *site) witness(t testing.TB) *witness {
	t.Helper()
	w := &witness{stop: make(chan struct{}), ended: make(chan struct{}), sub: s.login(t, "witness", "subscriber"), pub: s.login(t, "witness", "publisher")}
	w.sub.subscribe(1, "witness")
	w.g.Go(func() error {
		defer close(w.ended)
		return w.publish()
	})
	w.g.Go(func() error { return w.receive() })
	w.g.Go(func() error {
		_, _ = io.Copy(io.Discard, w.pub.nc) // PUBACKs, until finish closes
		return nil
	})
	return w
}

// login connects with the identity's secret.
func (s *site) login(t testing.TB, user, client string) *wire {
	t.Helper()
	w := s.dial(t)
	w.raw(encoded(t, s.connectPacket(user, client)))
	if ack := w.expect(packets.Connack); ack.ReasonCode != 0 {
		t.Fatalf("%s is refused with %#x", user, ack.ReasonCode)
	}
	return w
}

func (w *witness) publish() error {
	packet := append([]byte{0x32, 2 + 7 + 2 + 1 + 16, 0, 7}, "witness\x00\x00\x00"...)
	packet = append(packet, make([]byte, 16)...)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := int64(0); ; n++ {
		due := start.Add(time.Duration(n) * witnessPace)
		timer.Reset(time.Until(due))
		select {
		case <-w.stop:
			return nil
		case <-timer.C:
		}
		binary.BigEndian.PutUint16(packet[11:], uint16(n%65535)+1)
		binary.BigEndian.PutUint64(packet[14:], uint64(n))
		binary.BigEndian.PutUint64(packet[22:], uint64(due.UnixNano()))
		if _, err := w.pub.nc.Write(packet); err != nil {
			return fmt.Errorf("the witness cannot publish: %w", err)
		}
		w.sent.Add(1)
	}
}

func (w *witness) receive() error {
	for n := uint64(0); ; n++ {
		pk, err := w.sub.receive()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("the witness cannot receive: %w", err)
		case pk.FixedHeader.Type != packets.Publish || len(pk.Payload) != 16:
			return fmt.Errorf("the witness got %s with reason %#x", packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode)
		case binary.BigEndian.Uint64(pk.Payload) != n:
			return fmt.Errorf("the witness got message %d, want %d", binary.BigEndian.Uint64(pk.Payload), n)
		}
		w.seen = append(w.seen, time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(pk.Payload[8:])))))
		w.received.Add(1)
		if _, err := w.sub.nc.Write([]byte{0x40, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)}); err != nil {
			return fmt.Errorf("the witness cannot acknowledge: %w", err)
		}
	}
}

// finish waits until all that was sent has come.
func (w *witness) finish(t testing.TB) latencies {
	t.Helper()
	close(w.stop)
	<-w.ended
	eventually(t, "the witness's messages", func() bool { return w.received.Load() == w.sent.Load() })
	for _, c := range []*wire{w.sub, w.pub} {
		if err := c.nc.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.g.Wait(); err != nil {
		t.Error(err)
	}
	slices.Sort(w.seen)
	return w.seen
}

// encoded is the packet as MQTT 5 has it.
func encoded(t testing.TB, pk packets.Packet) []byte {
	t.Helper()
	var buf bytes.Buffer
	var err error
	pk.ProtocolVersion = 5
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buf)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&buf)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&buf)
	case packets.Publish:
		err = pk.PublishEncode(&buf)
	default:
		t.Fatalf("no storm sends packets of type %d so", pk.FixedHeader.Type)
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// opened dials and keeps the connection for the storm's end.
func (s *site) opened() (net.Conn, error) {
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled = append(s.dialled, nc)
	return nc, nil
}

// attack runs n attackers, some at a time, and fails with the first error.
func (s *site) attack(t testing.TB, n, atATime int, one func(i int, nc net.Conn) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(atATime)
	for i := range n {
		g.Go(func() error {
			nc, err := s.opened()
			if err != nil {
				return err
			}
			if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil { // only a broken test waits for it
				return err
			}
			return one(i, nc)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// connected sends CONNECT and reads CONNACK; the reason is its code.
func connected(nc net.Conn, connect []byte) (reason byte, err error) {
	if _, err := nc.Write(connect); err != nil {
		return 0, err
	}
	kind, body, err := readRaw(nc)
	if err != nil {
		return 0, err
	}
	if kind != packets.Connack || len(body) < 2 {
		return 0, fmt.Errorf("%s in place of CONNACK", packets.PacketNames[kind])
	}
	return body[1], nil
}

// readRaw reads one packet without decoding it, and without reading on.
func readRaw(in io.Reader) (kind byte, body []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	length := int(head[1] & 0x7F)
	for shift, b := 7, head[1:]; b[0]&0x80 != 0; shift += 7 {
		if _, err := io.ReadFull(in, b); err != nil {
			return 0, nil, err
		}
		length |= int(b[0]&0x7F) << shift
	}
	body = make([]byte, length)
	_, err = io.ReadFull(in, body)
	return head[0] >> 4, body, err
}

// awaitAll reads until n packets of the kind have come, however many others come between.
func awaitAll(in io.Reader, kind byte, n int) error {
	for n > 0 {
		got, body, err := readRaw(in)
		switch {
		case err != nil:
			return fmt.Errorf("%d more %s: %w", n, packets.PacketNames[kind], err)
		case got == kind:
			n--
		case got == packets.Disconnect:
			return fmt.Errorf("%d more %s: DISCONNECT %x", n, packets.PacketNames[kind], body)
		}
	}
	return nil
}

// rest reads to the end of the connection and returns the reason of the DISCONNECT, if there is one.
func rest(in io.Reader) (reason byte) {
	for {
		kind, body, err := readRaw(in)
		if err != nil {
			return reason
		}
		if kind == packets.Disconnect && len(body) > 0 {
			reason = body[0]
		}
	}
}
