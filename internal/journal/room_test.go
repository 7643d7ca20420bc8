package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/journal/journaltest"
	"github.com/millwright/millwright/internal/spec"
)

// within returns a context that ends after d of the bubble's time.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// slow is a file system whose syncs each wait for the gate.
type slow struct {
	journal.FS
	gate gate
}

// gate holds one element while it is open.
type gate chan struct{}

func newGate() gate {
	g := make(gate, 1)
	g.open()
	return g
}

func (g gate) open() { g <- struct{}{} }

func (g gate) shut() { <-g }

type slowFile struct {
	journal.File
	gate gate
}

func (s slow) Create(name string) (journal.File, error) {
	f, err := s.FS.Create(name)
	return slowFile{f, s.gate}, err
}

func (s slow) Open(name string) (journal.File, error) {
	f, err := s.FS.Open(name)
	return slowFile{f, s.gate}, err
}

func (f slowFile) Sync() error {
	f.gate.shut()
	defer f.gate.open()
	return f.File.Sync()
}

// While the segment in use is not on disk, the last one that is must not be deleted: the
// journal would begin at its first position again.
func TestTheLastSegmentOnDiskIsNotDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, g := journaltest.NewForgetful(), newGate()
		j, stop := running(t, journal.Options{FS: slow{disk, g}, Dir: "/j", SegmentBytes: 8 << 10}, nil)
		for range 30 {
			at := j.Append(1, make([]byte, 200))
			j.Release(at)
			if err := j.Await(t.Context(), at); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) // of the bubble: a spare is made
		before := j.Durable()
		g.shut()
		j.Append(1, make([]byte, 200))
		time.Sleep(5 * time.Second) // and begun, and not synced
		if s := j.Stats(); s.Segments != 2 || j.Durable() != before {
			t.Errorf("%+v, durable to %d, was %d", s, j.Durable(), before)
		}
		left := disk.Crash(0)
		g.open()
		if err := stop(); !errors.Is(err, journaltest.ErrCrashed) {
			t.Errorf("%v", err)
		}
		after, _ := running(t, journal.Options{FS: left, Dir: "/j"}, newKept().replay)
		if at := after.Append(1, nil); at < before {
			t.Errorf("position %d is given again: to %d all was durable", at, before)
		}
	})
}

func TestRoomWaitsForASlowDisk(t *testing.T) {
	g := newGate()
	j, _ := running(t, journal.Options{FS: slow{journaltest.NewForgetful(), g}, Dir: "/j", MaxPending: 1000}, nil)
	g.shut()
	at := j.Append(1, make([]byte, 900))
	if err := j.Room(t.Context()); err != nil {
		t.Fatal(err)
	}
	at = max(at, j.Append(1, make([]byte, 900)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Room(ctx); spec.KindOf(err) != spec.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got, err := j.Read(at); err != nil || len(got) != 900 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	g.open()
	if err := j.Room(t.Context()); err != nil {
		t.Error(err)
	}
	if err := j.Await(t.Context(), at); err != nil {
		t.Error(err)
	}
}

// A full disk: nothing more is let in, acknowledgements are still written, and what they
// make superfluous, or a person deletes, makes room again.
func TestAFullDisk(t *testing.T) {
	for _, who := range []string{"acknowledgements", "a person"} {
		t.Run(who, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { fullDisk(t, who == "a person") }) })
	}
}

func fullDisk(t *testing.T, person bool) {
	var log bytes.Buffer
	disk := journaltest.NewForgetful()
	faulty := journaltest.NewFaulty(disk, 1)
	faulty.Capacity(100 << 10)
	o := journal.Options{
		FS: faulty, Dir: "/j", SegmentBytes: 16 << 10, ReserveBytes: 16 << 10, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	j, stop := running(t, o, nil)
	var all []journal.Position
	for j.Room(within(t, 5*time.Second)) == nil {
		all = append(all, j.Append(1, make([]byte, 500)))
		if len(all) > 1000 {
			t.Fatal("the disk is never full")
		}
		if err := j.Await(t.Context(), all[len(all)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 100 {
		t.Errorf("%d records on the disk", len(all))
	}
	var e *spec.Error
	if err := j.Err(); !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &e) || !strings.Contains(e.Hint, `free space on "/j"`) {
		t.Errorf("%v", err)
	}
	if err := j.Room(within(t, time.Second)); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
	for i := range 100 {
		at := j.Append(0, fmt.Append(nil, "acknowledged", i))
		if !person {
			j.Release(all[i])
		}
		if err := j.Await(within(t, 5*time.Second), at); err != nil {
			t.Fatal(err)
		}
	}
	if person {
		if err := j.Room(within(t, time.Minute)); err == nil {
			t.Error("there is room")
		}
		faulty.Capacity(200 << 10)
	}
	if err := j.Room(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
	if err := j.Err(); err != nil || j.Stats().Full {
		t.Errorf("%v, %+v", err, j.Stats())
	}
	synctest.Wait()
	if n := strings.Count(log.String(), "level=ERROR"); n == 0 || n > 3 {
		t.Errorf("%d errors logged: %s", n, log.String())
	}
	if err := j.Await(within(t, 5*time.Second), j.Append(1, make([]byte, 500))); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	want := len(all) + 101 // fewer where segments were deleted
	o.FS = disk.Crash(0)
	seen := newKept()
	if _, err := journal.Open(o, seen.replay); err != nil || person && len(seen.at) != want || !person && len(seen.at) >= want {
		t.Errorf("%d records, want %d; %v", len(seen.at), want, err)
	}
}

// A disk that is full from the start does not keep the journal from being opened and read.
func TestOpenOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := journaltest.NewFaulty(journaltest.NewForgetful(), 1)
		o := journal.Options{FS: faulty, Dir: "/j", ReserveBytes: 4 << 10}
		j, stop := running(t, o, nil)
		last := j.Append(1, []byte("a record"))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		faulty.Capacity(0)
		o.FS = faulty
		seen := newKept()
		j, _ = running(t, o, seen.replay)
		if got, err := j.Read(last); len(seen.at) != 1 || err != nil || string(got) != "a record" {
			t.Errorf("%d records; %q, %v", len(seen.at), got, err)
		}
		if err := j.Await(within(t, time.Minute), last); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it is on disk: %v", err)
		}
		if err := j.Room(within(t, time.Minute)); err == nil {
			t.Error("there is room")
		}
		faulty.Capacity(-1)
		if err := errors.Join(j.Room(within(t, time.Minute)), j.Await(within(t, time.Minute), last), j.Err()); err != nil {
			t.Error(err)
		}
	})
}

func TestAwaitNamesTheDisksFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		faulty := journaltest.NewFaulty(journaltest.NewForgetful(), 1)
		j, _ := running(t, journal.Options{FS: faulty, Dir: "/j", Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)
		faulty.Rate(journaltest.Sync, 1)
		at := j.Append(1, []byte("x"))
		err := j.Await(within(t, 10*time.Minute), at)
		if spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), journaltest.ErrIO.Error()) {
			t.Errorf("%v", err)
		}
		if j.Durable() > at || j.Err() == nil {
			t.Errorf("durable to %d, %v", j.Durable(), j.Err())
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "level=ERROR"); n < 5 || n > 25 {
			t.Errorf("%d errors logged in ten minutes: %s", n, log.String())
		}
		faulty.Rate(journaltest.Sync, 0)
		if err := j.Await(within(t, 10*time.Second), at); err != nil || j.Err() != nil {
			t.Errorf("%v, %v", err, j.Err())
		}
		synctest.Wait()
		if !strings.Contains(log.String(), "written again") {
			t.Error(log.String())
		}
	})
}

func TestRunSaysWhatItCouldNotWrite(t *testing.T) {
	faulty := journaltest.NewFaulty(journaltest.NewForgetful(), 1)
	j, err := journal.Open(journal.Options{FS: faulty, Dir: "/j"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	faulty.Rate(journaltest.Write, 1)
	at := j.Append(1, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Run(ctx); spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), "the last 25 bytes") {
		t.Errorf("%v", err)
	}
	if err := j.Await(t.Context(), at); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("%v", err)
	}
}
