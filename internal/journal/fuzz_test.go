package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/journal/journaltest"
	"github.com/millwright/millwright/internal/spec"
)

// FuzzReplay overwrites a part of one of a journal's files, or cuts it off: what is shown was
// there, in order, and a second look shows the same.
func FuzzReplay(f *testing.F) {
	names, files, original := sample(f)
	f.Add(uint8(0), uint32(0), []byte("garbage"), uint32(0))
	f.Add(uint8(1), uint32(64), bytes.Repeat([]byte{0xff}, 300), uint32(0))
	f.Add(uint8(2), uint32(900), make([]byte, 64), uint32(0))
	f.Add(uint8(3), uint32(100), []byte{}, uint32(500))
	f.Add(uint8(1), uint32(0), []byte{}, uint32(10))
	f.Add(uint8(1), uint32(500), files[0][64:min(900, len(files[0]))], uint32(0))
	f.Fuzz(func(t *testing.T, which uint8, at uint32, data []byte, cut uint32) {
		n := int(which) % len(names)
		content := bytes.Clone(files[n])
		if len(data) > 1<<16 {
			return
		}
		from := int(at) % (len(content) + 1)
		content = append(content[:from], append(bytes.Clone(data), content[min(len(content), from+len(data)):]...)...)
		content = content[:len(content)-int(cut)%(len(content)+1)]
		disk := journaltest.NewForgetful()
		put := func(name string, content []byte) {
			file, err := disk.Create(name)
			if err == nil {
				_, err = file.WriteAt(content, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := disk.MkdirAll("/j"); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			if i == n {
				put(name, content)
			} else {
				put(name, files[i])
			}
		}
		first := shown(t, disk, original)
		if second := shown(t, disk, original); first != nil && !maps.Equal(first, second) {
			t.Errorf("%d records, then %d", len(first), len(second))
		}
	})
}

// shown opens the journal and returns the records, nil if it is refused.
func shown(t *testing.T, disk journal.FS, original map[journal.Position]string) map[journal.Position]string {
	seen := map[journal.Position]string{}
	var last journal.Position
	j, err := journal.Open(journal.Options{FS: disk, Dir: "/j", SegmentBytes: 2 << 10, ReserveBytes: -1},
		func(_ *journal.Journal, at journal.Position, record []byte) (int, error) {
			if at <= last || original[at] != string(record) {
				t.Errorf("at %d after %d: %q, was %q", at, last, record, original[at])
			}
			last = at
			seen[at] = string(record)
			return 1, nil
		})
	if err != nil {
		if spec.KindOf(err) != spec.Invalid {
			t.Error(err)
		}
		return nil
	}
	for at, record := range seen {
		if got, err := j.Read(at); err != nil || string(got) != record {
			t.Fatalf("Read(%d): %q, %v", at, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Run(ctx); err != nil {
		t.Error(err)
	}
	return seen
}

// sample returns the files of a journal, and its records.
func sample(f *testing.F) (names []string, files [][]byte, records map[journal.Position]string) {
	f.Helper()
	disk := journaltest.NewForgetful()
	j, stop := running(f, journal.Options{FS: disk, Dir: "/j", SegmentBytes: 2 << 10, ReserveBytes: -1}, nil)
	records = map[journal.Position]string{}
	for i := range 100 {
		record := fmt.Sprintf("record %d %s", i, bytes.Repeat([]byte{byte(i)}, i))
		at := j.Append(1, []byte(record))
		records[at] = record
		if i%3 > 0 {
			if err := j.Await(f.Context(), at); err != nil {
				f.Fatal(err)
			}
		}
	}
	if err := stop(); err != nil {
		f.Fatal(err)
	}
	disk = disk.Restart()
	found, err := disk.List("/j")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range found {
		file, err := disk.Open("/j/" + name)
		if err != nil {
			f.Fatal(err)
		}
		size, err := file.Size()
		content := make([]byte, size)
		if err == nil {
			_, err = file.ReadAt(content, 0)
		}
		if err != nil {
			f.Fatal(err)
		}
		names, files = append(names, "/j/"+name), append(files, content)
	}
	if len(names) < 4 {
		f.Fatalf("%d files", len(names))
	}
	return names, files, records
}
