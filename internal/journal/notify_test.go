package journal_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/journal/journaltest"
)

type told struct {
	j    *journal.Journal
	upTo journal.Position
	seen chan journal.Position
}

func (w told) Committed() {
	w.j.Release(w.upTo) // the journal can be called
	w.seen <- w.upTo
}

func TestWaitersAreToldOnceAndWhenItIsTrue(t *testing.T) {
	j, _ := running(t, journal.Options{Dir: t.TempDir()}, nil)
	const each, writers = 300, 4
	seen := make(chan journal.Position, each*writers*2)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				w := told{j, j.Append(1, make([]byte, 50)), seen}
				j.Notify(w)
				j.Notify(w)
			}
		})
	}
	wg.Wait()
	times := map[journal.Position]int{}
	for range each * writers * 2 {
		at := <-seen
		times[at]++
		if at >= j.Durable() {
			t.Errorf("told of %d, durable to %d", at, j.Durable())
		}
	}
	for at, n := range times {
		if n != 2 {
			t.Errorf("told of %d %d times", at, n)
		}
	}
	if len(seen) > 0 || len(times) != each*writers {
		t.Errorf("%d too many, %d told", len(seen), len(times))
	}
}

// Nobody waits, and yet it is written soon; many appended meanwhile cost one sync.
func TestWhatNobodyWaitsForIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := running(t, journal.Options{FS: journaltest.NewForgetful(), Dir: "/j"}, nil)
		before := j.Stats()
		var last journal.Position
		for range 100 {
			last = j.Append(1, []byte("x"))
		}
		synctest.Wait()
		if j.Durable() > last {
			t.Error("it was written at once")
		}
		time.Sleep(150 * time.Millisecond) // of the bubble
		if after := j.Stats(); j.Durable() <= last || after.Syncs != before.Syncs+1 || after.Pending != 0 {
			t.Errorf("durable to %d, %+v", j.Durable(), after)
		}
	})
}

func TestAppendAndNotifyDoNotAllocate(t *testing.T) {
	j, _ := running(t, journal.Options{Dir: t.TempDir()}, nil)
	record := make([]byte, 100)
	var wg sync.WaitGroup
	var w journal.Waiter = group{&wg}
	if n := testing.AllocsPerRun(1000, func() {
		for range 50 {
			j.Release(j.Append(1, record))
		}
		wg.Add(1)
		j.Notify(w)
		wg.Wait()
	}); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

// What is live is a little, whatever has been written: the disk's use stays small, and every
// live record can be read under its newest position.
func TestCompactionKeepsTheDiskSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		l := &ledger{t: t}
		l.reopen(journal.Options{FS: journaltest.NewForgetful(), Dir: "/j", SegmentBytes: 8 << 10, ReserveBytes: 8 << 10, Log: logging(t)})
		err := l.run(func() {
			for i := range 20_000 {
				key := uint32(r.IntN(50))
				if i%10 > 0 {
					key += 100 // and acknowledged at once
				}
				at := l.write(put(key, make([]byte, 100)))
				if key >= 100 {
					at = l.write(ack(key))
				}
				if i%20 == 0 {
					if err := l.j.Await(t.Context(), at); err != nil {
						t.Fatal(err)
					}
				}
				if i%1000 == 0 {
					time.Sleep(time.Second) // of the bubble
					if s := l.j.Stats(); s.Segments > 8 || s.Bytes > 80<<10 || s.LiveRefs > 60 {
						t.Errorf("after %d: %+v", i, s)
					}
				}
			}
			l.verify()
		})
		if s := l.j.Stats(); err != nil || s.Compacted == 0 || s.Deleted < 100 {
			t.Errorf("%v, %+v", err, s)
		}
	})
}

// counting counts the files that are created.
type counting struct {
	journal.FS
	created atomic.Int64
}

func (c *counting) Create(name string) (journal.File, error) {
	c.created.Add(1)
	return c.FS.Create(name)
}

// Where what is written is soon superfluous, the same few files are written over and over.
func TestDeletedSegmentsAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &counting{FS: journaltest.NewForgetful()}
		j, _ := running(t, journal.Options{FS: disk, Dir: "/j", SegmentBytes: 8 << 10, ReserveBytes: 8 << 10}, nil)
		for i := range 5000 {
			at := j.Append(1, make([]byte, 200))
			j.Release(at)
			if i%10 > 0 {
				continue
			}
			if err := j.Await(t.Context(), at); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // of the bubble
		}
		if s := j.Stats(); s.Deleted < 100 || disk.created.Load() > 30 {
			t.Errorf("%d segments deleted, %d files created", s.Deleted, disk.created.Load())
		}
	})
}
