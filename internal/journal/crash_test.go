package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/journal/journaltest"
	"github.com/millwright/millwright/internal/spec"
)

// ledger is an owner of a journal: it keeps values by their keys, as a broker keeps messages
// until they are acknowledged. A record is 'p', key, value or 'a', key.
type ledger struct {
	t *testing.T
	j *journal.Journal

	mu      sync.Mutex
	history []entry // everything appended, in order of the positions
	at      map[uint32]journal.Position
	shown   journal.Position // the last position that replay has shown
	told    journal.Position // all below was reported durable to a waiter
	floor   journal.Position // all below was used before the power failed
	moved   int
}

type entry struct {
	at     journal.Position
	record []byte
}

func put(key uint32, value []byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{'p'}, key), value...)
}

func ack(key uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{'a'}, key) }

func keyOf(record []byte) uint32 { return binary.LittleEndian.Uint32(record[1:]) }

// apply takes a record into the state and returns the position that it releases.
func apply(at map[uint32]journal.Position, e entry) journal.Position {
	key := keyOf(e.record)
	old := at[key]
	if e.record[0] == 'p' {
		at[key] = e.at
	} else {
		delete(at, key)
	}
	return old
}

func (l *ledger) replay(j *journal.Journal, at journal.Position, record []byte) (int, error) {
	if at <= l.shown {
		l.t.Errorf("position %d is shown after %d", at, l.shown)
	}
	l.shown = at
	i, ok := slices.BinarySearchFunc(l.history, at, func(e entry, at journal.Position) int { return int(int64(e.at) - int64(at)) })
	if !ok || !bytes.Equal(l.history[i].record, record) {
		l.t.Errorf("at %d: a record of %d bytes that was never appended there", at, len(record))
		return 0, nil
	}
	if old := apply(l.at, entry{at, record}); old != 0 {
		j.Release(old)
	}
	if record[0] == 'p' {
		return 1, nil
	}
	return 0, nil
}

// write appends a record and releases what it replaces.
func (l *ledger) write(record []byte) journal.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writeLocked(record)
}

func (l *ledger) writeLocked(record []byte) journal.Position {
	live := 0
	if record[0] == 'p' {
		live = 1
	}
	e := entry{l.j.Append(live, record), bytes.Clone(record)}
	if e.at < l.floor {
		l.t.Errorf("position %d is given again: to %d all was durable", e.at, l.floor)
	}
	l.history = append(l.history, e)
	if old := apply(l.at, e); old != 0 {
		l.j.Release(old)
	}
	return e.at
}

func (l *ledger) move(at journal.Position, record []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if record[0] == 'p' && l.at[keyOf(record)] == at {
		l.moved++
		l.writeLocked(record)
	}
}

func (l *ledger) keys() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.at))
}

// Committed is for the waiter below.
type promise struct {
	l    *ledger
	upTo journal.Position
}

func (p promise) Committed() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.l.told = max(p.l.told, p.upTo)
}

// work changes the ledger by chance until it has done enough or the power fails.
func (l *ledger) work(r *rand.Rand, steps int, crashed <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-crashed:
			cancel()
		case <-ctx.Done():
		}
	}()
	last := journal.Position(0)
	for range steps {
		keys := l.keys()
		switch what := r.IntN(20); {
		case ctx.Err() != nil:
			return
		case what < 10-len(keys)/10:
			size := r.IntN(200)
			if r.IntN(50) == 0 {
				size = r.IntN(8 << 10)
			}
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(r.Uint32())
			}
			last = l.write(put(uint32(r.IntN(1000)), value))
		case what < 17 && len(keys) > 0:
			last = l.write(ack(keys[r.IntN(len(keys))]))
		case what == 17:
			if err := l.j.Await(ctx, last); err == nil {
				promise{l, last + 1}.Committed()
			}
		case what == 18:
			l.j.Notify(promise{l, last + 1})
		default:
			time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond) // of the bubble
		}
	}
}

// reopen opens the journal on what is left, and checks that it is what was durable and what
// came next, up to some point.
func (l *ledger) reopen(o journal.Options) {
	l.t.Helper()
	expected, durable := l.history, l.told
	if l.j != nil {
		durable = max(durable, l.j.Durable())
	}
	o.Move = l.move
	for attempt := 0; ; attempt++ {
		l.at, l.shown = map[uint32]journal.Position{}, 0
		var err error
		if l.j, err = journal.Open(o, l.replay); err == nil {
			break
		}
		if attempt > 50 || spec.KindOf(err) != spec.Unavailable {
			l.t.Fatal(err)
		}
	}
	l.floor = durable
	last := max(l.shown, durable-min(durable, 1))
	want := map[uint32]journal.Position{}
	l.history = nil
	for _, e := range expected {
		if e.at <= last {
			apply(want, e)
			l.history = append(l.history, e)
		}
	}
	if !maps.Equal(want, l.at) {
		l.t.Errorf("%d values, want %d; durable to %d, shown to %d\n%s", len(l.at), len(want), durable, l.shown, difference(l.at, want))
	}
	l.verify()
	if lost := l.j.Stats().Lost; lost > 0 {
		l.t.Errorf("%d bytes are called damaged: nothing was", lost)
	}
}

func difference(got, want map[uint32]journal.Position) string {
	var s strings.Builder
	for key, at := range want {
		if got[key] != at {
			fmt.Fprintf(&s, "key %d at %d, want %d\n", key, got[key], at)
		}
	}
	for key, at := range got {
		if want[key] == 0 {
			fmt.Fprintf(&s, "key %d at %d, want none\n", key, at)
		}
	}
	return s.String()
}

// verify reads every value.
func (l *ledger) verify() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.history {
		if e.record[0] != 'p' || l.at[keyOf(e.record)] != e.at {
			continue
		}
		got, err := l.j.Read(e.at)
		if errors.Is(err, journaltest.ErrCrashed) {
			return
		}
		if err != nil || !bytes.Equal(got, e.record) {
			l.t.Errorf("Read(%d): %d bytes, %v; want %d bytes", e.at, len(got), err, len(e.record))
		}
	}
	if refs := l.j.Stats().LiveRefs; refs > int64(len(l.at)) {
		l.t.Errorf("%d live references to %d values", refs, len(l.at))
	}
}

// run runs the journal while f does.
func (l *ledger) run(f func()) error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.j.Run(ctx) }()
	f()
	cancel()
	return <-ended
}

// logging shows what the journal logs if the test fails.
func logging(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// seeds returns how many seeds to try: JOURNAL_SEEDS or the default.
func seeds(t *testing.T, n int) int {
	if s := os.Getenv("JOURNAL_SEEDS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatalf("JOURNAL_SEEDS: %v", err)
		}
	}
	return n
}

// eachSeed runs f in a bubble for each seed, until one fails, and returns how many it ran.
func eachSeed(t *testing.T, n int, f func(t *testing.T, seed uint64)) (ran int) {
	for seed := range seeds(t, n) {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ran++
			synctest.Test(t, func(t *testing.T) { f(t, uint64(seed)) })
		}) {
			return ran
		}
	}
	return ran
}

func TestWhatWasDurableSurvivesACrash(t *testing.T) {
	var moved, deleted int
	tried := eachSeed(t, 150, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		disk := journaltest.NewForgetful()
		l := &ledger{t: t}
		for range 4 {
			l.reopen(journal.Options{FS: disk, Dir: "/journal", SegmentBytes: 2048 << r.IntN(3), ReserveBytes: 1 << 10, Log: logging(t)})
			disk.CrashAt(1 + r.IntN(200))
			err := l.run(func() { l.work(r, 300, disk.Crashed()) })
			if err != nil && !errors.Is(err, journaltest.ErrCrashed) {
				t.Error(err)
			}
			deleted += int(l.j.Stats().Deleted)
			if r.IntN(4) == 0 {
				disk = disk.Restart()
			} else {
				disk = disk.Crash(r.Uint64())
			}
		}
		l.reopen(journal.Options{FS: disk, Dir: "/journal", Log: logging(t)})
		moved += l.moved
	})
	if tried > 100 && (moved == 0 || deleted == 0) {
		t.Errorf("%d records moved, %d segments deleted: nothing was tested", moved, deleted)
	}
}
