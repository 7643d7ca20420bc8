package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pieces is a connection that gives its data 7 bytes at a time.
type pieces struct {
	net.Conn
	data []byte
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(buf, p.data[:min(7, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

// fakeNATS is a server in the test's memory that stops reading for a while, once.
type fakeNATS struct {
	mu      sync.Mutex
	topics  map[string]net.Conn
	after   int // messages until the stall
	stall   time.Duration
	cut     bool // instead of a stall, the subscriber is cut off
	serving sync.WaitGroup
}

func (s *fakeNATS) dial(context.Context, string) (net.Conn, error) {
	client, server := net.Pipe()
	s.serving.Go(func() { s.serve(server) })
	return client, nil
}

// serve answers one client until it leaves.
func (s *fakeNATS) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch fields := strings.Fields(line); fields[0] {
		case "PING":
			fmt.Fprint(c, "PONG\r\n")
		case "SUB":
			s.mu.Lock()
			s.topics[fields[1]] = c
			s.mu.Unlock()
		case "PUB":
			size, err := strconv.Atoi(fields[2])
			payload := make([]byte, size+2)
			if err != nil {
				return
			}
			if _, err := io.ReadFull(in, payload); err != nil {
				return
			}
			s.deliver(fields[1], payload)
		}
	}
}

func (s *fakeNATS) deliver(topic string, payload []byte) {
	s.mu.Lock()
	to := s.topics[topic]
	s.after--
	stall := s.after == 0
	s.mu.Unlock()
	if stall && s.cut {
		to.Close()
		return
	}
	if stall {
		<-time.NewTimer(s.stall).C
	}
	fmt.Fprintf(to, "MSG %s 1 %d\r\n%s", topic, len(payload)-2, payload)
}

// A server that stalls for half a second makes a quarter of the messages of two seconds late.
// Measured from the moment at which each was sent it would be one message, which p99 hides.
func TestStallShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeNATS{topics: map[string]net.Conn{}, after: 100, stall: 500 * time.Millisecond}
		res, err := Run(t.Context(), Scenario{
			Server: Server{Protocol: NATS}, Rate: 1000, Duration: 2 * time.Second,
			environment: environment{dial: s.dial, pulse: func(d time.Duration) (pulse, error) { return newTickerPulse(d), nil }},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.serving.Wait()
		if l := res.Latency; l.P50 > 2 || l.P90 < 290 || l.P90 > 310 || l.P99 < 475 || l.Max < 499 || l.Max > 505 {
			t.Errorf("latencies %+v", l)
		}
		if res.Sent < 1999 || res.Sent > 2001 || res.Delivered != res.Sent || res.Missing != 0 {
			t.Errorf("%+v", res)
		}
	})
}

// A subscriber that the server cuts off comes back; what it missed is missing.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeNATS{topics: map[string]net.Conn{}, after: 100, cut: true}
		res, err := Run(t.Context(), Scenario{
			Server: Server{Protocol: NATS}, Rate: 100, Count: 200,
			environment: environment{dial: s.dial, pulse: func(d time.Duration) (pulse, error) { return newTickerPulse(d), nil }},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.serving.Wait()
		if res.Reconnects != 1 || res.CutOff == "" || res.Sent != 200 || res.Delivered != 199 || res.Missing != 1 {
			t.Errorf("%+v", res)
		}
	})
}

// A count of messages ends by itself, many to many, in order.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeNATS{topics: map[string]net.Conn{}}
		res, err := Run(t.Context(), Scenario{
			Server: Server{Protocol: NATS}, Publishers: 3, Subscribers: 3, Pairs: true, Topics: 4, Count: 1001,
			environment: environment{dial: s.dial},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.serving.Wait()
		if res.Sent != 3003 || res.Delivered != 3003 || res.Missing+res.Duplicates+res.Disorder+res.Foreign != 0 || len(res.Broken()) > 0 {
			t.Errorf("%+v", res)
		}
	})
}

// What a subscriber notes: each fault is counted once, and as what it is.
func TestNotes(t *testing.T) {
	n := newNotes(2, 2)
	take := func(publisher int, number uint64, again bool) {
		t.Helper()
		f := frame{kind: kindMessage, again: again, payload: make([]byte, stampBytes)}
		stamp(f.payload, publisher, number, 0)
		if err := n.take(&f, 1000); err != nil {
			t.Fatal(err)
		}
	}
	for _, number := range []uint64{0, 1, 4, 3, 2} { // 2 after 4, both on topic 0; 3 is topic 1's
		take(0, number, false)
	}
	take(0, 3, true)
	take(0, 1, false)
	take(1, 0, false)
	take(7, 0, false)
	if n.received != 8 || n.duplicates != 2 || n.unmarked != 1 || n.disorder != 1 || n.foreign != 1 {
		t.Errorf("%+v", n)
	}
}

// A message that was acknowledged and did not come is lost, and said so loudly; one that was
// only sent is missing.
func TestLost(t *testing.T) {
	r := &run{scenario: Scenario{QoS: 1}}
	p := &publisher{}
	p.sent.Store(200)
	s := &subscriber{notes: newNotes(1, 1)}
	for n := range uint64(200) {
		if n < 190 {
			p.confirm.add(n)
		}
		if n%64 != 5 { // 5, 69, 133 and 197
			s.notes.seen[0].add(n)
			s.notes.received++
		}
	}
	r.publishers, r.subscribers = []*publisher{p}, []*subscriber{s}
	res := r.result(snapshot{}, snapshot{at: time.Now()})
	if res.Missing != 4 || res.Lost != 3 || res.Delivered != 196 {
		t.Errorf("missing %d, lost %d, delivered %d", res.Missing, res.Lost, res.Delivered)
	}
	var out strings.Builder
	if res.Print(&out); !strings.HasPrefix(out.String(), "!!! LOST: 3 messages were acknowledged") {
		t.Errorf("printed:\n%s", out.String())
	}
}

// An acknowledgement is that of the message in flight with its packet id, round after round.
func TestNumberOf(t *testing.T) {
	for _, begun := range []uint64{1, 100, 65_534, 65_535, 65_536, 65_537, 1_000_000} {
		for back := range min(begun, 1000) {
			n := begun - 1 - back
			if got, ok := numberOf(packetID(n), begun); !ok || got != n {
				t.Fatalf("of %d, packet id %d: message %d (%v), want %d", begun, packetID(n), got, ok, n)
			}
		}
	}
	for id, begun := range map[uint16]uint64{0: 10, 11: 10, 1: 0} {
		if n, ok := numberOf(id, begun); ok {
			t.Errorf("of %d, packet id %d is message %d", begun, id, n)
		}
	}
}

// The publishers of a schedule take turns, and none sends before its time.
func TestSchedule(t *testing.T) {
	r := &run{scenario: Scenario{Publishers: 4}, interval: 1000}
	for i := range 4 {
		for n := range uint64(5) {
			at := r.intended(i, n)
			if want := int64(250*i) + 1000*int64(n); at != want {
				t.Errorf("publisher %d, message %d at %d, want %d", i, n, at, want)
			}
			if r.scheduled(i, at) != n+1 || r.scheduled(i, at-1) != n {
				t.Errorf("publisher %d: at %d %d are due", i, at, r.scheduled(i, at))
			}
		}
	}
}

// A scenario that contradicts itself is refused before anything is connected.
func TestRefused(t *testing.T) {
	for name, s := range map[string]Scenario{
		"size":     {Server: Server{Protocol: MQTT5}, Size: 8},
		"pairs":    {Server: Server{Protocol: MQTT5}, Pairs: true, Publishers: 2},
		"QoS":      {Server: Server{Protocol: NATS}, QoS: 1},
		"protocol": {Server: Server{Protocol: "amqp"}},
		"window":   {Server: Server{Protocol: MQTT5}, Window: 40_000},
		"negative": {Server: Server{Protocol: MQTT5}, Rate: -1},
	} {
		if _, err := Run(t.Context(), s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
