package broker

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/errgroup"
)

// startRecorded runs a broker whose log the test reads.
func startRecorded(t *testing.T, dir string, limits Limits) (*plant, *diary) {
	t.Helper()
	said := &diary{}
	return startOptions(t, Options{Dir: dir, Limits: limits, Log: said.log()}, newControl(identityOf("line1", "rw #"))), said
}

// session connects a client whose session stays.
func (p *plant) session(t testing.TB, client string) *link {
	t.Helper()
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	l, err := greeting{client: client, version: 5, expiry: 3600}.open(nc, 1)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// leaves makes a session that subscribes and goes offline.
func (p *plant) leaves(t testing.TB, client, filter string) {
	t.Helper()
	l := p.session(t, client)
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1}
	pk.Filters = packets.Subscriptions{{Filter: filter, Qos: 1}}
	l.put(pk)
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.await(packets.Suback); err != nil {
		t.Fatal(err)
	}
	l.leave()
	eventually(t, "the client to be offline", func() bool { return p.Stats().Clients == 0 })
}

// returns connects the session again and reads until the last payload has come, acknowledging all.
func (p *plant) returns(t testing.TB, client, last string) (payloads []string) {
	t.Helper()
	l := p.session(t, client)
	if !l.present {
		t.Errorf("the session of %q is gone", client)
	}
	for len(payloads) == 0 || payloads[len(payloads)-1] != last {
		pk, err := l.await(packets.Publish)
		if err != nil {
			t.Fatalf("after %d messages: %v", len(payloads), err)
		}
		payloads = append(payloads, string(pk.Payload))
		l.putAck(packets.Puback, pk.PacketID)
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
	}
	l.leave()
	eventually(t, "the client to be offline", func() bool { return p.Stats().Clients == 0 })
	return payloads
}

// numbered is a message whose payload begins with its number.
func numbered(topic string, n, size int) Message {
	payload := fmt.Appendf(nil, "message %06d ", n)
	return Message{Topic: topic, QoS: 1, Payload: append(payload, bytes.Repeat([]byte{'x'}, size-len(payload))...)}
}

// publishNumbered publishes the messages from first to last by many at once, as many as
// share a commit, and in any order.
func (p *plant) publishNumbered(t testing.TB, topic string, first, last, size int) {
	t.Helper()
	const publishers = 100
	var g errgroup.Group
	for k := range publishers {
		g.Go(func() error {
			for n := first + k; n <= last; n += publishers {
				if err := p.Publish(t.Context(), "line1", numbered(topic, n, size)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// The bounds of what waits on disk, for one client and for all: what is beyond them is
// dropped, counted, and logged with the client, before and after a restart.
func TestQueueBounds(t *testing.T) {
	cases := map[string]struct {
		limits    Limits
		low, high int64  // of the messages that wait, over both clients
		limit     string // that the log names
	}{
		"none is reached": {Limits{}, 600, 600, ""},
		"messages":        {Limits{QueueMessages: 100}, 200, 200, "queue-messages"},
		"bytes":           {Limits{QueueBytes: 100_000}, 140, 200, "queue-bytes"},
		"bytes of all":    {Limits{TotalQueueBytes: 200_000}, 140, 200, "total-queue-bytes"},
		"age":             {Limits{QueueAge: time.Nanosecond}, 0, 0, "queue-age"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, said := startRecorded(t, dir, c.limits)
			p.leaves(t, "one", "t/#")
			p.leaves(t, "two", "t/#")
			p.publishNumbered(t, "t/a", 1, 300, 1000)
			p.expireQueues(time.Now())
			s := p.Stats()
			checkBounds(t, s, 600, c.low, c.high)
			n, most := len(said.lines("message dropped", "client=", c.limit)), 2 // one a minute for each client
			if c.limit == "" {
				most = 0
			}
			if n > most || n == 0 && most > 0 {
				t.Errorf("%d lines in the log: %s", n, said.text.String())
			}
			p.stop()
			again, _ := startRecorded(t, dir, c.limits)
			if got := again.Stats(); got.MessagesQueued != s.MessagesQueued || got.BytesQueued < s.MessagesQueued*1000 {
				t.Errorf("%d messages in %d bytes wait after a restart, before it %d in %d",
					got.MessagesQueued, got.BytesQueued, s.MessagesQueued, s.BytesQueued)
			}
			again.publishNumbered(t, "t/a", 301, 310, 1000)
			again.expireQueues(time.Now())
			if most > 0 {
				checkBounds(t, again.Stats(), s.MessagesQueued+20, c.low, c.high)
			}
		})
	}
}

// checkBounds compares what waits and what was dropped of so many copies of 1,000 bytes.
func checkBounds(t *testing.T, s Stats, copies, low, high int64) {
	t.Helper()
	if s.MessagesQueued < low || s.MessagesQueued > high || s.BytesQueued < s.MessagesQueued*1000 {
		t.Errorf("%d messages in %d bytes wait, want %d to %d", s.MessagesQueued, s.BytesQueued, low, high)
	}
	if s.MessagesQueued+s.MessagesDropped != copies {
		t.Errorf("%d messages wait and %d were dropped, of %d", s.MessagesQueued, s.MessagesDropped, copies)
	}
}

// What waits for an offline client lies on disk, not in memory. It costs there its place and
// number, 32 bytes, in a slice that may have twice the room; the rest of the bound are
// buffers of the journal and of connections, which do not grow with the queue.
func TestQueueMemory(t *testing.T) {
	const messages, size = 200_000, 1024
	const bound = 64*messages + 24<<20
	dir := t.TempDir()
	p, _ := startRecorded(t, dir, Limits{})
	before := heapInUse()
	p.leaves(t, "away", "t/#")
	p.publishNumbered(t, "t/a", 1, messages, size)
	if s := p.Stats(); s.MessagesQueued != messages || s.MessagesDropped != 0 {
		t.Fatalf("%d messages wait, %d were dropped", s.MessagesQueued, s.MessagesDropped)
	}
	grown := heapInUse() - before
	p.stop()
	started := time.Now()
	q, _ := startRecorded(t, dir, Limits{})
	took := time.Since(started)
	if s := q.Stats(); s.MessagesQueued != messages {
		t.Errorf("%d messages wait after a restart", s.MessagesQueued)
	}
	restarted := heapInUse() - before
	t.Logf("%d messages of %d bytes wait: the heap has grown by %.1f MiB, after a restart of %v by %.1f MiB",
		messages, size, float64(grown)/(1<<20), took, float64(restarted)/(1<<20))
	if grown > bound || restarted > bound {
		t.Errorf("the heap may grow by %.1f MiB", float64(bound)/(1<<20))
	}
}

// heapInUse is what is in use after two collections, which also empty pools.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Damage of the files is found at the start and told; what is not damaged is there, and the broker works.
func TestDamagedFiles(t *testing.T) {
	const messages = 1000
	mark := func(n int) []byte { return fmt.Appendf(nil, "message %06d ", n) }
	cases := map[string]struct {
		damage func(data []byte) []byte
		least  int // the first so many messages are there
	}{
		"a flipped bit": {func(data []byte) []byte {
			data[bytes.Index(data, mark(500))+3] ^= 4
			return data
		}, 499},
		"a page of zeros": {func(data []byte) []byte {
			at := bytes.Index(data, mark(300))
			clear(data[at : at+4096])
			return data
		}, 299},
		"cut off": {func(data []byte) []byte {
			return data[:bytes.Index(data, mark(990))+10]
		}, 989},
		"a torn page": {func(data []byte) []byte {
			return append(data[:bytes.Index(data, mark(990))+10], bytes.Repeat([]byte("garbage"), 1000)...)
		}, 989},
		"garbage after the end": {func(data []byte) []byte {
			return append(data, bytes.Repeat([]byte("garbage"), 1000)...)
		}, messages},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, _ := startRecorded(t, dir, Limits{})
			p.leaves(t, "away", "t/#")
			for n := range messages {
				p.publishNumbered(t, "t/a", n+1, n+1, 100)
			}
			p.stop()
			damageFile(t, dir, mark(1), c.damage)
			q, said := startRecorded(t, dir, Limits{})
			if c.least < messages && len(said.lines("journal")) == 0 {
				t.Errorf("the log does not tell of the damage: %q", said.text.String())
			}
			last := numbered("t/a", messages+1, 100)
			if err := q.Publish(t.Context(), "line1", last); err != nil {
				t.Fatal(err)
			}
			got := q.returns(t, "away", string(last.Payload))
			n := 0
			for i, payload := range got {
				if i < c.least && !strings.HasPrefix(payload, string(mark(i+1))) {
					t.Fatalf("message %d is %q", i+1, payload)
				}
				if i > 0 && payload <= got[i-1] {
					t.Fatalf("%.15q comes after %.15q", payload, got[i-1])
				}
				n++
			}
			t.Logf("%d of %d messages are left; the log: %s", n-1, messages, said.text.String())
		})
	}
}

// damageFile changes the file that holds the text.
func damageFile(t *testing.T, dir string, text []byte, damage func([]byte) []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*"))
	for _, file := range files {
		data, readErr := os.ReadFile(file)
		if err = errors.Join(err, readErr); bytes.Contains(data, text) {
			if err := os.WriteFile(file, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no file holds the messages (%v)", err)
}
