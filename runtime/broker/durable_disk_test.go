package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal/journaltest"
	"github.com/millwright/millwright/internal/testneed"
)

// diary is a log that a test reads while it is written.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *diary) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// lines returns the lines that hold all the words.
func (r *diary) lines(words ...string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			out = append(out, line)
		}
	}
	return out
}

func (r *diary) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// A disk that an offline session fills: nothing more is acknowledged and the broker says
// why; QoS 0 and other clients go on, nobody is disconnected, nothing acknowledged is lost,
// and when the session has been emptied, all goes on by itself.
func TestForeignFullDisk(t *testing.T) {
	t.Parallel()
	mount := testneed.Tmpfs(t, 24<<20)
	said := &diary{}
	m, err := boot(t, Options{Dir: filepath.Join(mount, "broker"), Log: said.log()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.off(t); err != nil {
			t.Error(err)
		}
	})
	d := newDrive(t, 1)
	d.lead = 1 << 40
	d.to(m.addr, m.b)
	sleeper := &receiver{name: "sleeper", qos: 2, version: 5, asleep: make(chan struct{})}
	d.receive(sleeper)
	d.publish(&publisher{id: heavy, qos: 1, version: 5, window: 20})
	d.publish(&publisher{id: heavy + 1, qos: 2, version: 5, window: 20})
	d.publish(&publisher{id: 3, qos: 1, version: 5, window: 5, retain: true})
	eventually(t, "the disk to be full", func() bool { return m.b.Stats().StorageError != "" })
	echo := newEcho(t, d)
	full, since := int64(-1), time.Time{}
	eventually(t, "the publishers to stand still", func() bool { // longer than the journal's pauses between attempts
		echo.trips(20)
		if now := d.ledger.acked.Load(); now != full {
			full, since = now, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond
	})
	connections := d.reconnects.Load()
	echo.trips(200)
	if got := d.ledger.acked.Load(); got != full {
		t.Errorf("the disk is full, and %d messages were acknowledged", got-full)
	}
	t.Logf("full after %d acknowledged messages: %s", full, m.b.Stats().StorageError)
	if why := m.b.Stats().StorageError; !strings.Contains(why, "no space left") {
		t.Errorf("the broker says %q", why)
	}
	if len(said.lines("free space on")) == 0 {
		t.Errorf("the log does not say what to do: %s", said.text.String())
	}
	close(sleeper.asleep)
	eventually(t, "acknowledgements to go on", func() bool { return d.ledger.acked.Load() > full+500 })
	if why := m.b.Stats().StorageError; why != "" {
		t.Errorf("the broker still says %q", why)
	}
	if got := d.reconnects.Load(); got != connections+1 {
		t.Errorf("%d connections, want the sleeper's only", got-connections)
	}
	d.drain()
	d.probe("probe")
	if f := d.failed(); f != "" {
		t.Error(f)
	}
	t.Log(d.summary())
}

// echo publishes to itself at QoS 0, in a session that ends with its connection.
type echo struct {
	t testing.TB
	d *drive
	l *link
	n int
}

func newEcho(t testing.TB, d *drive) *echo {
	t.Helper()
	l, done, ok := d.connect(greeting{client: "echo", version: 5, clean: true}, 1)
	if !ok {
		t.Fatal("the echo cannot connect")
	}
	t.Cleanup(done)
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1}
	pk.Filters = packets.Subscriptions{{Filter: "w/echo"}}
	l.put(pk)
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.await(packets.Suback); err != nil {
		t.Fatal(err)
	}
	return &echo{t: t, d: d, l: l}
}

// trips sends messages, each after the one before has come.
func (e *echo) trips(n int) {
	e.t.Helper()
	for range n {
		e.n++
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "w/echo"}
		pk.Payload = fmt.Append(nil, e.n)
		e.l.put(pk)
		if err := e.l.flush(); err != nil {
			e.t.Fatal(err)
		}
		got, err := e.l.await(packets.Publish)
		if err != nil || !bytes.Equal(got.Payload, pk.Payload) {
			e.t.Fatalf("the echo got %q: %v", got.Payload, err)
		}
	}
}

// A disk whose writes, syncs and new files fail now and then, and whose power fails too:
// nothing acknowledged is lost, and once the disk is well all goes on.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	seeds := fromEnv(t, "MILLWRIGHT_TEST_FAULTS", 2)
	first := rand.Uint64N(1 << 32)
	if s := fromEnv(t, "MILLWRIGHT_TEST_SEED", 0); s > 0 {
		first, seeds = s, 1
	}
	dir := filepath.Join(t.TempDir(), "broker")
	var acked int64
	failed := map[journaltest.Op]int{}
	for n := range seeds {
		d := newDrive(t, first+n)
		d.failingDisk(dir, failed)
		if f := d.failed(); f != "" {
			t.Fatalf("MILLWRIGHT_TEST_SEED=%d: %s\n%s", first+n, f, d.summary())
		}
		acked += d.ledger.acked.Load()
	}
	t.Logf("%d seeds, %d messages acknowledged; failed: %d writes, %d syncs, %d of a directory, %d new files",
		seeds, acked, failed[journaltest.Write], failed[journaltest.Sync], failed[journaltest.SyncDir], failed[journaltest.Create])
}

// failingDisk is the run of one seed: the disk fails now and then until the power does, and
// once more, and then is well.
func (d *drive) failingDisk(dir string, failed map[journaltest.Op]int) {
	random := d.random("disk")
	d.clients(random)
	disk := newDisk(d.t, filepath.Dir(dir))
	for range 2 {
		faulty := journaltest.NewFaulty(disk, random.Uint64())
		m, err := boot(d.t, Options{Dir: dir, Storage: faulty, segmentBytes: 16 << 10})
		if err != nil {
			d.fault("the broker does not start: %v", err)
			d.cancel()
			return
		}
		ops := []journaltest.Op{journaltest.Write, journaltest.Sync, journaltest.SyncDir, journaltest.Create}
		for _, op := range ops {
			faulty.Rate(op, 0.05*random.Float64()) // each failure costs the broker a pause of 100 ms and more
		}
		d.to(m.addr, m.b)
		until := d.ledger.acked.Load() + 100 + random.Int64N(100)
		on := d.await(func() bool { return d.ledger.acked.Load() > until })
		for _, op := range ops {
			failed[op] += faulty.Failed(op)
		}
		disk = disk.Crash(random.Uint64())
		d.to("", nil)
		_ = m.off(d.t) // with an error, for its disk is gone
		if !on {
			d.fault("everybody stands still")
			d.cancel()
			return
		}
	}
	d.last(Options{Dir: dir, Storage: disk})
}
