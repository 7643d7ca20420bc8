package journal_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/journal"
)

// BenchmarkAppend appends 100 bytes; the journal is committed beside it.
func BenchmarkAppend(b *testing.B) {
	j, _ := running(b, journal.Options{Dir: b.TempDir()}, nil)
	record := make([]byte, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		j.Append(0, record)
		if i%1000 == 0 {
			if err := j.Room(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

type group struct{ wg *sync.WaitGroup }

func (g group) Committed() { g.wg.Done() }

// BenchmarkCommit makes batches of so many records of 150 bytes durable, one after the other.
func BenchmarkCommit(b *testing.B) {
	for _, records := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			j, _ := running(b, journal.Options{Dir: b.TempDir()}, nil)
			record := make([]byte, 150)
			var wg sync.WaitGroup
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				for range records {
					j.Release(j.Append(1, record))
				}
				wg.Add(1)
				j.Notify(group{&wg})
				wg.Wait()
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(records*b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkReplay opens a journal of a million records of 150 bytes.
func BenchmarkReplay(b *testing.B) {
	const records = 1_000_000
	o := journal.Options{Dir: b.TempDir()}
	j, stop := running(b, o, nil)
	record := make([]byte, 150)
	for range records {
		j.Append(1, record)
		if err := j.Room(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		j, err := journal.Open(o, func(*journal.Journal, journal.Position, []byte) (int, error) { n++; return 1, nil })
		if err != nil || n != records {
			b.Fatalf("%d records, %v", n, err)
		}
		b.StopTimer()
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if err := j.Run(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkRead reads records of 150 bytes from a segment.
func BenchmarkRead(b *testing.B) {
	j, _ := running(b, journal.Options{Dir: b.TempDir()}, nil)
	at := make([]journal.Position, 100_000)
	for i := range at {
		at[i] = j.Append(1, make([]byte, 150))
	}
	if err := j.Await(b.Context(), at[len(at)-1]); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := j.Read(at[i%len(at)]); err != nil {
			b.Fatal(err)
		}
	}
}
