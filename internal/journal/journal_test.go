package journal_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/millwright/millwright/internal/journal"
)

// kept collects what replay shows.
type kept struct {
	at      []journal.Position
	records map[journal.Position]string
}

func newKept() *kept { return &kept{records: map[journal.Position]string{}} }

func (k *kept) replay(_ *journal.Journal, at journal.Position, record []byte) (int, error) {
	k.at = append(k.at, at)
	k.records[at] = string(record)
	return 1, nil
}

// running opens a journal and runs it until the test ends or stop is called.
func running(t testing.TB, o journal.Options, replay journal.Replay) (j *journal.Journal, stop func() error) {
	t.Helper()
	j, err := journal.Open(o, replay)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	var stopped bool
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return j, stop
}

func TestRecordsAreThereAfterARestart(t *testing.T) {
	o := journal.Options{Dir: t.TempDir(), SegmentBytes: 4 << 10}
	want := map[journal.Position]string{}
	for run := range 3 {
		seen := newKept()
		j, stop := running(t, o, seen.replay)
		if len(seen.records) != len(want) {
			t.Fatalf("run %d: %d records, want %d", run, len(seen.records), len(want))
		}
		for at, record := range want {
			if got := seen.records[at]; got != record {
				t.Errorf("run %d: at %d: %q, want %q", run, at, got, record)
			}
			if got, err := j.Read(at); err != nil || string(got) != record {
				t.Errorf("run %d: Read(%d): %q, %v", run, at, got, err)
			}
		}
		var last journal.Position
		for i := range 500 {
			record := fmt.Sprintf("run %d record %d", run, i)
			last = j.Append(1, []byte(record))
			want[last] = record
			if got, err := j.Read(last); err != nil || string(got) != record {
				t.Fatalf("run %d: Read(%d): %q, %v", run, last, got, err)
			}
			if i%7 == 0 {
				if err := j.Await(t.Context(), last); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}
