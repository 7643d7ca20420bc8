package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// written makes a journal of so many records, each durable before the next, in segments
// of 4 KiB, and returns its files, in order.
func written(t *testing.T, o journal.Options, records int) []string {
	t.Helper()
	j, stop := running(t, o, nil)
	for i := range records {
		if err := j.Await(t.Context(), j.Append(1, fmt.Appendf(nil, "record %d of a journal that will be damaged", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(o.Dir, "*.segment"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d segments, %v", len(files), err)
	}
	slices.Sort(files)
	return files
}

func edit(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, f(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reread opens the journal and returns the records' numbers, its figures and what it logged.
func reread(t *testing.T, o journal.Options) (numbers []int, s journal.Stats, log string) {
	t.Helper()
	var out bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&out, nil))
	j, stop := running(t, o, func(_ *journal.Journal, _ journal.Position, record []byte) (int, error) {
		n := 0
		_, err := fmt.Sscanf(string(record), "record %d of", &n)
		numbers = append(numbers, n)
		return 1, err
	})
	s = j.Stats()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return numbers, s, out.String()
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func options(t *testing.T) journal.Options {
	return journal.Options{Dir: t.TempDir(), SegmentBytes: 4 << 10, ReserveBytes: 4 << 10}
}

const records = 300

func TestUndamagedIsNotReported(t *testing.T) {
	o := options(t)
	written(t, o, records)
	for range 3 {
		numbers, s, log := reread(t, o)
		if !slices.Equal(numbers, upTo(records)) || s.Lost != 0 || s.Torn != 0 || log != "" {
			t.Errorf("%d records, lost %d, torn %d, log %q", len(numbers), s.Lost, s.Torn, log)
		}
	}
}

// A frame of the last batch that is cut short, or not what it was, ends the journal.
func TestATornTailIsCutOffAndSaid(t *testing.T) {
	for what, tear := range map[string]func([]byte) []byte{
		"cut short": func(b []byte) []byte { return b[:len(b)-12] },
		"flipped":   func(b []byte) []byte { b[len(b)-20] ^= 1; return b },
	} {
		t.Run(what, func(t *testing.T) {
			o := options(t)
			files := written(t, o, records)
			edit(t, files[len(files)-1], tear)
			numbers, s, log := reread(t, o)
			if !slices.Equal(numbers, upTo(records-1)) || s.Torn == 0 || s.Lost != 0 {
				t.Errorf("%d records, lost %d, torn %d", len(numbers), s.Lost, s.Torn)
			}
			if !strings.Contains(log, "WARN") || !strings.Contains(log, files[len(files)-1]) || !strings.Contains(log, "offset=") {
				t.Errorf("log: %s", log)
			}
			if again, s, log := reread(t, o); !slices.Equal(again, numbers) || s.Torn != 0 || log != "" {
				t.Errorf("again: %d records, torn %d, log %q", len(again), s.Torn, log)
			}
		})
	}
}

// What is damaged elsewhere is left out and reported, and what follows is replayed.
func TestDamageIsReportedAndTheRestReplayed(t *testing.T) {
	for what, where := range map[string]func(files []string) (string, int64){
		"first segment": func(files []string) (string, int64) { return files[0], 1000 },
		"later segment": func(files []string) (string, int64) { return files[2], 2000 },
		"last segment":  func(files []string) (string, int64) { return files[len(files)-1], 200 },
		"first record":  func(files []string) (string, int64) { return files[1], 70 },
	} {
		for _, with := range []byte{0, 0xff, 'x'} {
			t.Run(fmt.Sprintf("%s with %#x", what, with), func(t *testing.T) {
				o := options(t)
				name, at := where(written(t, o, records))
				edit(t, name, func(b []byte) []byte {
					copy(b[at:], bytes.Repeat([]byte{with}, 100))
					return b
				})
				numbers, s, log := reread(t, o)
				if len(numbers) < records-4 || len(numbers) == records || !slices.IsSorted(numbers) || s.Lost < 50 || s.Lost > 400 {
					t.Errorf("%d records, lost %d, torn %d", len(numbers), s.Lost, s.Torn)
				}
				if !strings.Contains(log, "ERROR") || !strings.Contains(log, name) || !strings.Contains(log, "offset=") {
					t.Errorf("log: %s", log)
				}
			})
		}
	}
}

func TestAMissingSegmentIsReported(t *testing.T) {
	o := options(t)
	files := written(t, o, records)
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	numbers, s, log := reread(t, o)
	if len(numbers) >= records || len(numbers) < records-100 || !slices.IsSorted(numbers) || s.Lost < 3000 || !strings.Contains(log, "ERROR") {
		t.Errorf("%d records, lost %d, log %s", len(numbers), s.Lost, log)
	}
}

func TestASegmentCutOffIsReported(t *testing.T) {
	o := options(t)
	files := written(t, o, records)
	edit(t, files[1], func(b []byte) []byte { return b[:1000] })
	numbers, s, log := reread(t, o)
	if len(numbers) >= records || s.Lost < 2000 || !strings.Contains(log, files[1]) {
		t.Errorf("%d records, lost %d, log %s", len(numbers), s.Lost, log)
	}
}

// A file whose header cannot be read is kept for people, and once.
func TestASegmentWithoutHeaderIsSetAside(t *testing.T) {
	o := options(t)
	files := written(t, o, records)
	edit(t, files[1], func(b []byte) []byte { b[3] ^= 0x40; return b })
	numbers, s, log := reread(t, o)
	if len(numbers) >= records || s.Lost < 3000 || !strings.Contains(log, files[1]+".damaged") {
		t.Errorf("%d records, lost %d, log %s", len(numbers), s.Lost, log)
	}
	if _, err := os.Stat(files[1] + ".damaged"); err != nil {
		t.Error(err)
	}
	if again, _, _ := reread(t, o); !slices.Equal(again, numbers) {
		t.Errorf("again: %d records, first %d", len(again), len(numbers))
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	o := options(t)
	files := written(t, o, records)
	edit(t, files[2], func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[8:], 2)
		journal.SumHeader(b)
		return b
	})
	_, err := journal.Open(o, nil)
	var e *spec.Error
	if spec.KindOf(err) != spec.Invalid || !errors.As(err, &e) || e.Hint != "start the newer release that wrote it" {
		t.Errorf("%v", err)
	}
}

// A record holds what a client chose. Where a record is damaged, bytes within it
// that look like frames, of the same journal but of another position, are none.
func TestARecordWithinARecordIsNotShown(t *testing.T) {
	o := options(t)
	files := written(t, o, records)
	var inner []byte
	edit(t, files[1], func(b []byte) []byte { inner = bytes.Clone(b[64:1064]); return b })
	j, stop := running(t, o, func(*journal.Journal, journal.Position, []byte) (int, error) { return 1, nil })
	j.Append(1, append([]byte("record 300 of"), inner...))
	if err := j.Await(t.Context(), j.Append(1, []byte("record 301 of"))); err != nil {
		t.Fatal(err)
	}
	if err := j.Await(t.Context(), j.Append(1, []byte("record 302 of"))); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range files[:1] {
		newest, err := filepath.Glob(filepath.Join(filepath.Dir(name), "*.segment"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range newest {
			edit(t, name, func(b []byte) []byte {
				if i := bytes.Index(b, []byte("record 300 of")); i >= 0 {
					b[i+9]++
					damaged++
				}
				return b
			})
		}
	}
	numbers, _, log := reread(t, o)
	want := append(upTo(records), 301, 302)
	if damaged != 1 || !slices.Equal(numbers, want) || !strings.Contains(log, "ERROR") {
		t.Errorf("%d damaged; %d records, the last %v; %s", damaged, len(numbers), numbers[max(0, len(numbers)-3):], log)
	}
}
