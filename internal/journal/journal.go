// Package journal is a durable log of records that any number of goroutines append to at
// once: segmented, checksummed, committed in groups, and compacted. It knows nothing of what
// the records mean.
//
// A record is durable when its position is below Durable, and not before the disk said so. What was durable is
// there after a failure of power, in the order of appending; of what was not, some may be.
// Records are counted references: the owner says at Append how many it holds, releases them
// one by one, and a segment whose records have none left is deleted, oldest first.
//
// After a failed write or sync the segment in use is given up at the last position that is
// durable, and what follows is written to another one: the operating system may have
// forgotten that it did not write, so that a second sync proves nothing.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Position names a record. It is a logical address in bytes: positions ascend in the order
// of appending, over restarts too, and a segment file holds those from its base on. 0 is none.
type Position uint64

// Options say where a journal lies and within which bounds.
type Options struct {
	FS           FS     // nil: the operating system's
	Dir          string // made if it does not exist; nothing else may lie there
	SegmentBytes int64  // default 32 MiB, at most 1 GiB; a larger record gets a segment of its own
	// ReserveBytes is the size of a file that is given up when the disk is full, so that
	// acknowledgements and compaction can still be written. Default 8 MiB; negative: none.
	ReserveBytes int64
	// MaxPending is how many bytes may be appended and not durable before Room blocks. Default:
	// half of ReserveBytes, so that what was let in when the disk becomes full can still be
	// written, and acknowledgements after it; 32 MiB without a reserve.
	MaxPending int
	Log        *slog.Logger
	// Move is called for each record of the segment that is being compacted, in order, from
	// one goroutine of Run's and without a lock of the journal. The owner appends anew what of it is
	// still referred to, and then releases the old position. record is valid during the call only.
	// nil: segments are deleted when nothing in them is referred to, and never compacted.
	Move func(at Position, record []byte)
}

const (
	defaultSegmentBytes = 32 << 20
	maxSegmentBytes     = 1 << 30
	defaultReserveBytes = 8 << 20
	noReserveMaxPending = 32 << 20
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = OS()
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = min(o.SegmentBytes, maxSegmentBytes)
	if o.ReserveBytes == 0 {
		o.ReserveBytes = defaultReserveBytes
	}
	if o.MaxPending <= 0 && o.ReserveBytes > 0 {
		o.MaxPending = int(o.ReserveBytes / 2)
	} else if o.MaxPending <= 0 {
		o.MaxPending = noReserveMaxPending
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Journal is an open journal. Its methods may be called concurrently; Run must be running
// for anything to become durable.
type Journal struct {
	o     Options
	codec codec
	log   *slog.Logger
	lazy  *time.Timer   // the oldest of what pends has waited long enough
	wake  chan struct{} // somebody waits, or enough pends; one element
	dead  chan struct{} // a segment may be deleted; one element
	ended chan struct{} // closed when Run has returned

	durable atomic.Uint64
	blocked atomic.Bool // Room must look closer
	small   sync.Pool   // of *[smallRead]byte

	mu       sync.Mutex
	next     Position // of the next frame
	pending  batch    // is being filled
	flight   batch    // is being made durable; changed by the committer only
	undone   int64    // bytes of both
	free     []*chunk
	segments []*segment    // ascending; the last one is the active one, if there is one
	active   *segment      // changed by the committer only
	failure  error         // why the last commit failed; nil when it did not
	full     error         // the disk is full: the reserve was given up
	spare    *spare        // for the next segment; nil: none
	names    uint64        // of files, given so far
	roomy    chan struct{} // closed when blocked becomes false, or Run ends
	stats    Stats

	// The committer's own.
	begun    time.Time // when the last commit began
	number   uint64    // of the last segment begun
	first    bool      // no segment has been begun since Open
	reserve  reserve
	reported map[string]time.Time

	noSpare time.Time // when making a spare last failed; of the goroutine that tends
}

// Stats are figures of a journal. The counters begin at 0 with each Open.
type Stats struct {
	Bytes     int64  // size of the segment files
	Segments  int    // how many files these are
	LiveRefs  int64  // references to durable records
	Pending   int64  // bytes that are not durable yet
	Commits   uint64 // batches made durable
	Syncs     uint64 // of segment files
	Failures  uint64 // writes, syncs and the like that failed
	Compacted uint64 // segments whose records were moved
	Deleted   uint64 // segments deleted, compacted ones included
	Lost      int64  // bytes of records that were once durable and were found damaged
	Torn      int64  // bytes at the end cut off by Open, that were never reported durable
	Full      bool   // the disk is full
}

// Stats returns the figures of now.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	for _, seg := range j.segments {
		s.Bytes += seg.size
		s.LiveRefs += seg.live
	}
	s.Segments, s.Pending, s.Full = len(j.segments), j.undone, j.full != nil
	return s
}

// Durable returns the position below which every record is on disk.
func (j *Journal) Durable() Position { return Position(j.durable.Load()) }

// Err returns why nothing is being made durable now, or nothing may be added; nil when all is well.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err()
}

func (j *Journal) err() error {
	if j.failure != nil {
		return j.failure
	}
	return j.full
}

// Room returns at once unless more than MaxPending bytes pend or the disk is full or
// fails: then it waits until that is over. Whoever takes in what others send calls it before. It
// fails when ctx ends, naming what is in the way, and when the journal is closed.
func (j *Journal) Room(ctx context.Context) error {
	for j.blocked.Load() {
		j.mu.Lock()
		roomy, blocked, why := j.roomy, j.blocked.Load(), j.err()
		j.mu.Unlock()
		if !blocked {
			return nil
		}
		select {
		case <-j.ended:
			return errClosed()
		case <-ctx.Done():
			return errWaiting("there is no room in the journal", why, ctx.Err())
		case <-roomy:
		}
	}
	return nil
}

// HasRoom reports whether Room would return at once.
func (j *Journal) HasRoom() bool { return !j.blocked.Load() }

// gate sets blocked to what holds now. The caller has the lock.
func (j *Journal) gate() {
	blocked := j.failure != nil || j.full != nil || j.undone > int64(j.o.MaxPending)
	if j.blocked.Swap(blocked) && !blocked {
		close(j.roomy)
		j.roomy = make(chan struct{})
	}
}

// newSalt returns random bits, so that nobody who chooses what a record holds can make it look like frames.
func newSalt() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
