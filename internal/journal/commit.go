package journal

import (
	"context"
	"errors"
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
	j.gather()
	j.take()
	j.persist(ctx)
}

// Commits of little follow each other no sooner than breath: many clients that each wait for
// one record then share a sync, instead of keeping the disk and a processor busy.
const (
	breath = 500 * time.Microsecond
	little = 32 << 10 // bytes
)

// gather waits for more to come, unless there is much or the last commit began long ago.
func (j *Journal) gather() {
	j.mu.Lock()
	pending := j.pending.bytes
	j.mu.Unlock()
	if pause := breath - time.Since(j.begun); pause > 0 && pending < little {
		time.Sleep(pause)
	}
	j.begun = time.Now()
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
	if _, e := j.dropSpare(); e != nil {
		j.report(e)
	}
	if e := j.closeFiles(); e != nil {
		j.report(e)
	}
	return err
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
	if j.first {
		if err := j.begin(j.flight.chunks); err != nil {
			return err
		}
	}
	written := 0 // chunks that the active segment has, but is not synced for
	for written < len(j.flight.chunks) {
		c := j.flight.chunks[written]
		if j.active == nil || !j.active.fits(c, j.o.SegmentBytes) || written == 0 && j.upgradable() {
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

// upgradable reports whether the active segment is worth to be left for the spare.
func (j *Journal) upgradable() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.spare != nil && j.active.size < j.fullSize() && j.busy()
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
	j.active.begun = true
	j.durable.Store(uint64(j.active.end))
	j.stats.Syncs++
	j.gate()
	if j.isDead(j.segments[0]) {
		signal(j.dead)
	}
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
	dropped, err := j.dropSpare()
	given, e := j.reserve.giveUp(j.o.FS)
	if err = errors.Join(err, e); err != nil {
		j.report(err)
	}
	return dropped || given
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
	seg := &segment{header: header{version: version, base: j.Durable(), salt: j.codec.salt}}
	seg.end = seg.base
	j.mu.Lock()
	j.active = nil
	j.number++
	seg.number = j.number
	j.mu.Unlock()
	var err error
	if s := j.takeSpare(); s != nil && len(chunks) == 0 && !j.first {
		err = j.beginSpare(seg, s)
	} else {
		err = j.beginFile(seg, chunks)
	}
	signal(j.dead)
	if err == nil && len(chunks) > 0 {
		j.settle(len(chunks))
	}
	return err
}

// beginSpare writes the header to the spare. It is on disk when the first records are.
func (j *Journal) beginSpare(seg *segment, s *spare) error {
	seg.name, seg.file, seg.size = s.name, s.file, j.fullSize()
	j.mu.Lock()
	j.segments = append(j.segments, seg)
	j.active = seg
	j.mu.Unlock()
	return faulty("write", seg.name, writeFull(seg.file, seg.encode(), 0))
}

// beginFile makes a new file. It and its name are on disk when this returns nil. A file that may be there, but not for
// certain, is a segment without records, to be deleted before anything that it repeats.
func (j *Journal) beginFile(seg *segment, chunks []*chunk) error {
	seg.name = j.newName()
	f, there, err := j.newFile(seg.name, func(f File) error { return j.fill(f, seg, chunks) })
	j.mu.Lock()
	defer j.mu.Unlock()
	if there {
		j.segments = append(j.segments, seg)
	}
	if err != nil {
		seg.broken = true
		return err
	}
	seg.file, seg.begun = f, true
	j.active = seg
	j.first = false
	return nil
}

func (j *Journal) fill(f File, seg *segment, chunks []*chunk) error {
	if err := writeFull(f, seg.encode(), 0); err != nil {
		return err
	}
	seg.size = headerBytes
	for _, c := range chunks {
		if err := writeFull(f, j.sealed(c), seg.offset(c.base)); err != nil {
			return err
		}
		seg.size = seg.offset(c.end()) + endBytes
	}
	return nil
}
