package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	retryFirst = 100 * time.Millisecond // after a failed commit; doubled with each
	retryLast  = time.Second
)

// Run commits what is appended, and compacts, until ctx ends; then it commits what pends and
// closes the files. It is called once. A disk that fails while it runs is tried again and again; it is an error
// only at the end, when records are left that could not be written.
func (j *Journal) Run(ctx context.Context) error {
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		j.tend(ctx)
	}()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-j.wake:
			j.commit(ctx)
		case <-j.lazy.C:
			j.commit(ctx)
		}
	}
	<-tended
	err := j.finish()
	close(j.ended)
	return err
}

// commit makes durable what is in flight and what pends, however long that takes, or until ctx ends.
func (j *Journal) commit(ctx context.Context) {
	if len(j.flight.chunks) > 0 && !j.persist(ctx) { // Open could not write
		return
	}
	j.take()
	j.persist(ctx)
}

// persist flushes until that succeeds; it reports false when ctx ended before.
func (j *Journal) persist(ctx context.Context) bool {
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		err := j.flush()
		if err == nil {
			return true
		}
		if j.failed(err) {
			continue
		}
		retry := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			retry.Stop()
			return false
		case <-retry.C:
		}
	}
}

// finish commits the rest with one attempt for each batch, and closes the files.
func (j *Journal) finish() error {
	j.lazy.Stop()
	err := j.flush()
	if err == nil {
		j.take()
		err = j.flush()
	}
	if err != nil {
		j.failed(err)
		j.mu.Lock()
		err = spec.Errorf(spec.Unavailable, "cannot write the last %d bytes of the journal: %w", j.undone, err)
		j.mu.Unlock()
	}
	return errors.Join(err, j.closeFiles())
}

func (j *Journal) closeFiles() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var err error
	for _, seg := range j.segments {
		err = errors.Join(err, seg.close())
	}
	return err
}

// take makes what pends the batch in flight, which is empty.
func (j *Journal) take() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flight, j.pending = j.pending, j.flight
}

// flush makes the batch in flight durable and tells those who wait. On an error some of it
// may be durable already; what is not stays in flight.
func (j *Journal) flush() error {
	written := 0 // chunks that the active segment has, but is not synced for
	if j.active == nil && j.first {
		if err := j.begin(j.flight.chunks); err != nil {
			return err
		}
	}
	for written < len(j.flight.chunks) {
		c := j.flight.chunks[written]
		if j.active == nil || !j.active.fits(c, j.o.SegmentBytes) {
			if err := j.sync(written); err != nil {
				return err
			}
			written = 0
			if err := j.begin(nil); err != nil {
				return err
			}
		}
		if err := j.write(c); err != nil {
			return err
		}
		written++
	}
	if err := j.sync(written); err != nil {
		return err
	}
	j.flown()
	return nil
}

// fits reports whether the chunk may be written behind what the segment has.
func (s *segment) fits(c *chunk, limit int64) bool {
	return c.base == s.base || int64(c.end()-s.base) <= limit
}

// write writes the chunk to the active segment, with the mark that nothing follows.
func (j *Journal) write(c *chunk) error {
	at := j.active.offset(c.base)
	if err := writeFull(j.active.file, j.sealed(c), at); err != nil {
		return faulty("write", j.active.name, err)
	}
	j.mu.Lock()
	j.active.size = max(j.active.size, at+int64(len(c.buf)+endBytes))
	j.mu.Unlock()
	return nil
}

// sealed returns the chunk's bytes as they are written.
func (j *Journal) sealed(c *chunk) []byte {
	n := len(c.buf)
	whole := c.buf[:n+endBytes]
	if !c.sealed {
		j.codec.seal(c.base, c.buf)
		clear(whole[n:])
		c.sealed = true
	}
	return whole
}

// sync makes the first n chunks in flight, which the active segment has, durable.
func (j *Journal) sync(n int) error {
	if n == 0 {
		return nil
	}
	if err := j.active.file.Sync(); err != nil {
		return faulty("sync", j.active.name, err)
	}
	j.settle(n)
	return nil
}

// settle notes that the first n chunks in flight are durable in the active segment.
func (j *Journal) settle(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.flight.chunks[:n] {
		j.active.end = c.end()
		j.active.merge(c.usage)
		j.undone -= int64(len(c.buf))
		j.recycle(c)
	}
	rest := copy(j.flight.chunks, j.flight.chunks[n:])
	clear(j.flight.chunks[rest:])
	j.flight.chunks = j.flight.chunks[:rest]
	j.durable.Store(uint64(j.active.end))
	j.stats.Syncs++
	j.gate()
}

// flown ends a batch.
func (j *Journal) flown() {
	j.mu.Lock()
	if j.flight.bytes > 0 {
		j.flight.bytes = 0
		j.stats.Commits++
	}
	again := j.failure != nil
	if again {
		j.failure = nil
		j.gate()
	}
	j.mu.Unlock()
	if again {
		j.log.Info("the journal is written again", "dir", j.o.Dir)
	}
	for i, w := range j.flight.waiters {
		w.Committed()
		j.flight.waiters[i] = nil
	}
	j.flight.waiters = j.flight.waiters[:0]
}

// failed gives up the active segment at what is durable, and says so. It reports whether
// room was made, so that another attempt may succeed at once.
func (j *Journal) failed(err error) bool {
	j.report(err)
	j.mu.Lock()
	broken := j.active
	if broken != nil {
		broken.broken = true
		j.active = nil
	}
	j.failure = j.unwritable(err)
	if isFull(err) {
		j.full = j.failure
	}
	j.gate()
	j.mu.Unlock()
	if !isFull(err) {
		return false
	}
	if broken != nil {
		j.cut(broken)
	}
	given, err := j.reserve.giveUp(j.o.FS)
	if err != nil {
		j.report(err)
	}
	return given
}

// cut frees the room that the part of a segment takes which is not durable.
func (j *Journal) cut(seg *segment) {
	seg.open.RLock()
	defer seg.open.RUnlock()
	if seg.file == nil {
		return
	}
	size := seg.offset(seg.end)
	if err := seg.file.Truncate(size); err != nil {
		j.report(faulty("truncate", seg.name, err))
		return
	}
	j.mu.Lock()
	seg.size = size
	j.mu.Unlock()
}

// begin ends the active segment, if there is one, and begins another one where what is
// durable ends. What chunks are given are in it, durable, or it does not exist.
func (j *Journal) begin(chunks []*chunk) error {
	base := j.Durable()
	if len(j.flight.chunks) > 0 {
		base = j.flight.chunks[0].base
	}
	j.mu.Lock()
	j.active = nil
	j.number++
	name := j.path(fmt.Sprintf(segmentPattern, j.number))
	seg := &segment{header: header{version, j.number, base, j.codec.salt}, name: name, end: base}
	j.mu.Unlock()
	there, err := j.create(seg, chunks)
	j.mu.Lock()
	if there {
		j.segments = append(j.segments, seg)
	}
	if err == nil {
		j.active = seg
		j.first = false
	}
	j.mu.Unlock()
	signal(j.dead)
	if err != nil {
		return err
	}
	if len(chunks) > 0 {
		j.settle(len(chunks))
	}
	return nil
}

// create makes the segment's file; it is there whole or, after a failure, not at all. there
// reports whether there is a file that must be removed some day.
func (j *Journal) create(seg *segment, chunks []*chunk) (there bool, err error) {
	fs, temp := j.o.FS, seg.name+newSuffix
	seg.file, err = fs.Create(temp)
	if err != nil {
		return false, faulty("create", temp, err)
	}
	err = j.fill(seg, chunks)
	if err == nil {
		err = faulty("rename", temp, fs.Rename(temp, seg.name))
	}
	if err != nil {
		return false, errors.Join(err, seg.close(), faulty("remove", temp, fs.Remove(temp)))
	}
	return true, faulty("sync", j.o.Dir, fs.SyncDir(j.o.Dir))
}

func (j *Journal) fill(seg *segment, chunks []*chunk) error {
	if err := writeFull(seg.file, seg.encode(), 0); err != nil {
		return faulty("write", seg.name, err)
	}
	seg.size = headerBytes
	for _, c := range chunks {
		if err := writeFull(seg.file, j.sealed(c), seg.offset(c.base)); err != nil {
			return faulty("write", seg.name, err)
		}
		seg.size = seg.offset(c.end()) + endBytes
	}
	return faulty("sync", seg.name, seg.file.Sync())
}
