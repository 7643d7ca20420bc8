package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/testneed"
)

// A disk that is really full: what was durable stays, acknowledgements are still written,
// and when a file of somebody else's is deleted everything goes on.
func TestForeignFullTmpfs(t *testing.T) {
	mount := testneed.Tmpfs(t, 24<<20)
	ballast := filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := journal.Options{Dir: filepath.Join(mount, "journal"), SegmentBytes: 2 << 20, ReserveBytes: 2 << 20, Log: logging(t)}
	j, stop := running(t, o, nil)
	kept := map[journal.Position]int{}
	var last journal.Position
	for n := 0; j.Err() == nil; n++ {
		size := 1000 + n%5000
		last = j.Append(1, make([]byte, size))
		kept[last] = size
		if n%100 > 0 {
			continue
		}
		if err := j.Await(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if n > 100_000 {
			t.Fatal("the disk is never full")
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := j.Room(ended); !errors.Is(j.Err(), syscall.ENOSPC) || err == nil {
		t.Errorf("%v; room: %v", j.Err(), err)
	}
	for range 100 {
		last = j.Append(0, []byte("acknowledged"))
	}
	if err := j.Await(t.Context(), last); err != nil {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Room(t.Context()), j.Err()); err != nil {
		t.Error(err)
	}
	last = j.Append(1, make([]byte, 1234))
	kept[last] = 1234
	if err := j.Await(t.Context(), last); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	running(t, o, func(_ *journal.Journal, at journal.Position, record []byte) (int, error) {
		if kept[at] == len(record) {
			delete(kept, at)
		}
		return 1, nil
	})
	if len(kept) > 0 {
		t.Errorf("%d records are missing", len(kept))
	}
}
