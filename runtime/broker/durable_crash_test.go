package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/journal/journaltest"
)

// machine is what a broker runs on until it is switched off.
type machine struct {
	b      *Broker
	addr   string
	cancel context.CancelFunc
	ran    chan error
}

// boot starts a broker; an error of New may be the power's failure.
func boot(t testing.TB, opts Options) (*machine, error) {
	t.Helper()
	opts.Login, opts.Watch = loginPlain, newControl(identityOf("line1", "rw #"))
	b, err := New(opts)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{b: b, addr: l.Addr().String(), ran: make(chan error, 1)}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	go func() { m.ran <- b.Run(ctx, l) }()
	<-b.Synced()
	return m, nil
}

// off ends the broker, which must end whatever its disk does, and returns what Run did.
func (m *machine) off(t testing.TB) error {
	t.Helper()
	m.cancel()
	select {
	case err := <-m.ran:
		return err
	case <-time.After(stuckAfter):
		t.Fatal("the broker does not end")
		return nil
	}
}

// TestPowerFailure runs the whole broker on a file system that forgets what was not synced,
// lets the power fail at an operation of the disk that the seed chooses, and goes on with what is left;
// now and then the process only is killed, so that what was not synced is still to be
// seen, until the power fails. The number of seeds is MILLWRIGHT_TEST_CRASHES.
func TestPowerFailure(t *testing.T) {
	t.Parallel()
	seeds := fromEnv(t, "MILLWRIGHT_TEST_CRASHES", 60)
	first := rand.Uint64N(1 << 32)
	if s := fromEnv(t, "MILLWRIGHT_TEST_SEED", 0); s > 0 {
		first, seeds = s, 1
	}
	dir := filepath.Join(t.TempDir(), "broker") // which the broker makes, also on the file system that forgets
	var acked, delivered, crashes int64
	var compacted uint64
	for n := range seeds {
		seed := first + n
		d := newDrive(t, seed)
		crashes += d.powerFailures(dir)
		if f := d.failed(); f != "" {
			t.Fatalf("MILLWRIGHT_TEST_SEED=%d: %s\n%s", seed, f, d.summary())
		}
		compacted += d.compacted
		acked += d.ledger.acked.Load() + d.kept.acked.Load()
		for _, in := range d.inboxes {
			delivered += in.first.Load()
		}
	}
	t.Logf("%d seeds, %d crashes, %d messages acknowledged, %d delivered, %d segments compacted", seeds, crashes, acked, delivered, compacted)
}

// fromEnv returns a number that the environment may change.
func fromEnv(t testing.TB, name string, number uint64) uint64 {
	t.Helper()
	if s := os.Getenv(name); s != "" {
		var err error
		if number, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return number
}

// newDisk is a file system on which the directory is, and so are those above it.
func newDisk(t testing.TB, dir string) *journaltest.Forgetful {
	t.Helper()
	disk := journaltest.NewForgetful()
	err := disk.MkdirAll(dir)
	for at := dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		err = errors.Join(err, disk.SyncDir(filepath.Dir(at)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// clients starts those that a failing disk has.
func (d *drive) clients(random *rand.Rand) {
	d.crashes, d.lead = true, 300
	d.receive(&receiver{name: "online", qos: 2, version: 5, receiveMax: uint16(1 + random.IntN(20)), cuts: 500})
	d.receive(&receiver{name: "away", qos: 2, version: 5, cuts: 60, away: 100})
	d.receive(&receiver{name: "old", qos: 1, version: 4, cuts: 100, away: 50})
	d.publish(&publisher{id: 1, qos: 1, version: 5, window: 1 + random.IntN(8), cuts: 100})
	d.publish(&publisher{id: 2, qos: 2, version: 5, window: 1 + random.IntN(8), cuts: 100})
	d.publish(&publisher{id: 3, qos: byte(1 + random.IntN(2)), version: 5, window: 3, cuts: 50, retain: true})
	d.publishLocally(&localPublisher{d: d, id: 4, qos: 1 + random.IntN(2), fast: random.IntN(2) == 0})
	d.churn(1, 0, true)
}

// powerFailures is the run of one seed. It returns the number of crashes.
func (d *drive) powerFailures(dir string) (crashes int64) {
	random := d.random("power")
	d.clients(random)
	disk := newDisk(d.t, filepath.Dir(dir))
	opts := Options{Dir: dir, segmentBytes: 4 << 10 << random.IntN(14)} // small ones are compacted and deleted
	for most := 1 + random.Int64N(4); crashes < most; crashes++ {
		opts.Storage = disk
		disk.CrashAt(1 + random.IntN(20<<random.IntN(6)))
		if !d.untilCrash(opts, disk) {
			return crashes
		}
		if random.IntN(4) == 0 {
			disk = disk.Restart()
		} else {
			disk = disk.Crash(random.Uint64())
		}
	}
	opts.Storage = disk
	d.last(opts)
	return crashes
}

// untilCrash runs a broker until its disk is gone. It reports false when there is a fault first.
func (d *drive) untilCrash(opts Options, disk *journaltest.Forgetful) bool {
	m, err := boot(d.t, opts)
	if err != nil {
		if closed(disk.Crashed()) {
			return true
		}
		d.fault("the broker does not start: %v", err)
		d.cancel()
		return false
	}
	d.to(m.addr, m.b)
	on := d.await(func() bool { return closed(disk.Crashed()) })
	d.to("", nil)
	_ = m.off(d.t) // with an error, for its disk is gone
	d.compacted += m.b.journal.Stats().Compacted
	if !on {
		d.fault("everybody stands still")
		d.cancel()
	}
	return on
}

// last starts the broker without any more crash, lets all clients end, and looks what is retained.
func (d *drive) last(opts Options) {
	m, err := boot(d.t, opts)
	if err != nil {
		d.fault("the broker does not start after the crashes: %v", err)
		return
	}
	d.to(m.addr, m.b)
	d.probe("probe-first")
	d.drain()
	d.probe("probe-last")
	if !d.await(func() bool { return m.b.needed() == m.b.referred(d.ctx) }) {
		d.fault("%d references to the journal, %d are needed", m.b.referred(d.ctx), m.b.needed())
	}
	if got := m.b.Stats().StorageError; got != "" {
		d.fault("the disk is well, but the broker says %q", got)
	}
	d.to("", nil)
	d.compacted += m.b.journal.Stats().Compacted
	if err := m.off(d.t); err != nil {
		d.fault("the broker ended with %v", err)
	}
}
