package journal_test

import (
	"math/rand/v2"
	"testing"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/journal/journaltest"
	"github.com/millwright/millwright/internal/spec"
)

// The disk fails now and then, in every way, and at last the power does.
func TestWhatWasDurableSurvivesAFaultyDisk(t *testing.T) {
	failed := map[journaltest.Op]int{}
	tried := eachSeed(t, 150, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		disk := journaltest.NewForgetful()
		l := &ledger{t: t}
		for range 3 {
			faulty := journaltest.NewFaulty(disk, r.Uint64())
			ops := []journaltest.Op{journaltest.Create, journaltest.Write, journaltest.Sync, journaltest.SyncDir, journaltest.Rename, journaltest.Remove}
			for _, op := range ops {
				if r.IntN(2) == 0 {
					faulty.Rate(op, []float64{0.02, 0.1, 0.3}[r.IntN(3)])
				}
			}
			l.reopen(journal.Options{FS: faulty, Dir: "/journal", SegmentBytes: 2048 << r.IntN(3), ReserveBytes: 1 << 10, Log: logging(t)})
			disk.CrashAt(1 + r.IntN(400))
			err := l.run(func() {
				l.work(r, 200, disk.Crashed())
				l.verify()
			})
			if err != nil && spec.KindOf(err) != spec.Unavailable {
				t.Error(err)
			}
			for _, op := range ops {
				failed[op] += faulty.Failed(op)
			}
			if r.IntN(3) == 0 {
				disk = disk.Restart()
			} else {
				disk = disk.Crash(r.Uint64())
			}
		}
		l.reopen(journal.Options{FS: disk, Dir: "/journal", Log: logging(t)})
	})
	for op, n := range failed {
		if n == 0 && tried > 100 {
			t.Errorf("operation %d never failed: nothing was tested", op)
		}
	}
}
