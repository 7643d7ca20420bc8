package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	chunkBytes  = 1 << 20 // what is written with one call, at most, but for a record that is larger
	commitBytes = 1 << 20 // so much pending is committed at once
	commitAfter = 100 * time.Millisecond
	keepChunks  = 16 // empty ones kept for later
)

// usage counts who refers to the records of a chunk or segment.
type usage struct {
	live    int64    // references now
	refs    int64    // references there have been
	bytes   int64    // of the frames that had any
	touched Position // end of the journal when the last one was released
}

func (u *usage) add(live, size int) {
	if live > 0 {
		u.live += int64(live)
		u.refs += int64(live)
		u.bytes += int64(size)
	}
}

func (u *usage) merge(o usage) {
	u.live += o.live
	u.refs += o.refs
	u.bytes += o.bytes
	u.touched = max(u.touched, o.touched)
}

// weight estimates how many bytes are still referred to.
func (u *usage) weight() int64 {
	if u.refs == 0 {
		return 0
	}
	return int64(float64(u.bytes) * float64(u.live) / float64(u.refs))
}

// chunk is frames on their way to the disk. Its buffer has room for endBytes more.
type chunk struct {
	usage
	base   Position
	buf    []byte
	sealed bool // the checksums are filled in
}

func (c *chunk) end() Position { return c.base + Position(len(c.buf)) }

// batch is what is made durable together. It begins with a marker.
type batch struct {
	chunks  []*chunk // none of them empty
	bytes   int
	waiters []Waiter
}

// Waiter is told when a batch is durable.
type Waiter interface {
	// Committed is called from the committing goroutine and must not block.
	Committed()
}

// Append adds a copy of the record to those on their way to the disk and returns its
// position. live is how many references to it there are, 0 for a record that only matters
// together with earlier ones. It never waits for the disk, and must not be called once Run has
// returned. A record longer than MaxRecord panics.
func (j *Journal) Append(live int, record []byte) Position {
	size := frameBytes + len(record)
	j.mu.Lock()
	c := j.room(size)
	at, n := j.next, len(c.buf)
	c.buf = c.buf[:n+size]
	binary.LittleEndian.PutUint32(c.buf[n+4:], uint32(len(record)+1))
	copy(c.buf[n+frameBytes:], record)
	c.add(live, size)
	j.next += Position(size)
	before := j.pending.bytes
	j.pending.bytes += size
	j.undone += int64(size)
	if j.pending.bytes >= commitBytes && before < commitBytes {
		signal(j.wake)
	}
	if j.undone > int64(j.o.MaxPending) {
		j.gate()
	}
	j.mu.Unlock()
	return at
}

// room returns the chunk that the next size bytes go to, after the marker if they begin the
// batch. The caller has the lock.
func (j *Journal) room(size int) *chunk {
	if n := len(j.pending.chunks); n > 0 {
		c := j.pending.chunks[n-1]
		if cap(c.buf)-len(c.buf) >= size+endBytes {
			return c
		}
		return j.newChunk(size)
	}
	c := j.newChunk(size + markerBytes)
	c.buf = c.buf[:markerBytes]
	binary.LittleEndian.PutUint32(c.buf[4:], markerWord)
	binary.LittleEndian.PutUint64(c.buf[frameBytes:], j.codec.nonce(j.next))
	j.next += markerBytes
	j.pending.bytes += markerBytes
	j.undone += markerBytes
	j.lazy.Reset(commitAfter)
	return c
}

func (j *Journal) newChunk(size int) *chunk {
	if size > MaxRecord+frameBytes+markerBytes {
		panic(fmt.Sprintf("journal: a record of %d bytes", size))
	}
	room := j.chunkBytes()
	var c *chunk
	if n := len(j.free); n > 0 && size <= room {
		c, j.free = j.free[n-1], j.free[:n-1]
	} else {
		c = &chunk{buf: make([]byte, 0, max(size, room)+endBytes)}
	}
	c.base = j.next
	j.pending.chunks = append(j.pending.chunks, c)
	return c
}

// chunkBytes is the size of a chunk: a segment holds one at least.
func (j *Journal) chunkBytes() int { return int(min(chunkBytes, j.o.SegmentBytes)) }

// recycle keeps the chunk for later, unless it is an odd one or there are enough. The caller has the lock.
func (j *Journal) recycle(c *chunk) {
	if len(j.free) < keepChunks && cap(c.buf) == j.chunkBytes()+endBytes {
		*c = chunk{buf: c.buf[:0]}
		j.free = append(j.free, c)
	}
}

// Notify has w told, once, from the committing goroutine, when all that was appended so far
// is on disk, and makes that happen soon. After Run has returned nobody is told.
func (j *Journal) Notify(w Waiter) {
	j.mu.Lock()
	j.pending.waiters = append(j.pending.waiters, w)
	if len(j.pending.waiters) == 1 {
		signal(j.wake)
	}
	j.mu.Unlock()
}

// Await returns when the record at that position is durable. If ctx ends before, the error names what is wrong with the
// disk, if anything is.
func (j *Journal) Await(ctx context.Context, at Position) error {
	if at < j.Durable() {
		return nil
	}
	w := waiting{make(chan struct{})}
	j.Notify(w)
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return errWaiting("the journal has not written it", j.Err(), ctx.Err())
	case <-j.ended:
	}
	if at < j.Durable() {
		return nil
	}
	return errClosed()
}

type waiting struct{ done chan struct{} }

func (w waiting) Committed() { close(w.done) }

// signal leaves a message in a channel with one element, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
