package journal

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

const (
	tendEvery      = time.Second
	fewSegments    = 4 // not compacted unless the disk is full
	moveAtOnce     = 1 << 20
	unmovableAgain = time.Minute // after an attempt to compact a segment that left something in it
)

// tend deletes and compacts segments until ctx ends.
func (j *Journal) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-j.dead:
		}
		for ctx.Err() == nil && (j.deleteOne() || j.compactOne(ctx)) {
			continue
		}
		j.refill()
		if err := j.prepare(ctx); err != nil && ctx.Err() == nil {
			j.report(err)
		}
	}
}

// deleteOne deletes a segment without records, or the oldest one if none of its records is
// referred to, and reports whether it did.
func (j *Journal) deleteOne() bool {
	j.mu.Lock()
	seg := j.deletable()
	j.mu.Unlock()
	if seg == nil {
		return false
	}
	if !j.recycled(seg) {
		if err := j.remove(seg); err != nil {
			j.report(err)
			return false
		}
	}
	j.mu.Lock()
	for i, s := range j.segments {
		if s == seg {
			j.segments = append(j.segments[:i:i], j.segments[i+1:]...)
			break
		}
	}
	j.stats.Deleted++
	j.mu.Unlock()
	return true
}

// deletable returns a segment that may be deleted. Why nothing in it is referred to must be
// on disk. There must be a segment that is in use: without one, what earlier ones hold
// beyond their end would be taken for records again. The caller has the lock.
func (j *Journal) deletable() *segment {
	if j.active == nil || !j.active.begun {
		return nil
	}
	for _, seg := range j.segments {
		if seg != j.active && seg.end == seg.base {
			return seg
		}
	}
	if seg := j.segments[0]; j.isDead(seg) {
		return seg
	}
	return nil
}

// isDead reports whether nothing refers to the segment's records, and why is on disk. The caller has the lock.
func (j *Journal) isDead(seg *segment) bool {
	return seg != j.active && seg.live == 0 && uint64(seg.touched) <= j.durable.Load()
}

// remove removes the segment's file for good: the next one is deleted only after that.
func (j *Journal) remove(seg *segment) error {
	j.mu.Lock()
	seg.broken = true // its name may be gone already when this is tried again
	j.mu.Unlock()
	if err := seg.close(); err != nil { // some systems cannot remove an open file
		return err
	}
	if err := j.o.FS.Remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return faulty("remove", seg.name, err)
	}
	return faulty("sync", j.o.Dir, j.o.FS.SyncDir(j.o.Dir))
}

// compactOne moves what is live out of the oldest segment, if that is worth it, and reports
// whether the segment can be deleted then.
func (j *Journal) compactOne(ctx context.Context) bool {
	j.mu.Lock()
	seg := j.compactable()
	j.mu.Unlock()
	if seg == nil {
		return false
	}
	err := j.move(ctx, seg)
	if err != nil && ctx.Err() == nil {
		j.report(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil || seg.live > 0 {
		seg.retry = time.Now().Add(unmovableAgain)
		return false
	}
	j.stats.Compacted++
	return true
}

// compactable returns the oldest segment if compacting it makes room: less than half of all
// is live, or the disk is full and what is live in it fits in half of the reserve. The
// caller has the lock.
func (j *Journal) compactable() *segment {
	if j.o.Move == nil || j.failure != nil || len(j.segments) < 2 || j.active == nil {
		return nil
	}
	oldest := j.segments[0]
	if oldest.live == 0 || time.Now().Before(oldest.retry) {
		return nil
	}
	var all, live int64
	for _, seg := range j.segments {
		all += int64(seg.end - seg.base)
		live += seg.weight()
	}
	if live >= all/2 {
		return nil
	}
	if len(j.segments) > fewSegments || j.full != nil && oldest.weight() <= j.o.ReserveBytes/2 {
		return oldest
	}
	return nil
}

// move has the owner move each record of the segment, in portions that are made durable one by one.
func (j *Journal) move(ctx context.Context, seg *segment) error {
	buf := make([]byte, seg.end-seg.base)
	n, _, err := seg.readAt(buf, seg.base)
	if err != nil {
		return faulty("read", seg.name, err)
	}
	buf = buf[:n] // Open has said so if that is less
	moved := 0
	err = j.walk(seg, buf, func(at Position, body []byte) error {
		j.o.Move(at, body)
		if moved += len(body); moved < moveAtOnce {
			return nil
		}
		moved = 0
		return j.barrier(ctx)
	})
	if err != nil {
		return err
	}
	return j.barrier(ctx)
}

// barrier waits until what is appended so far is durable.
func (j *Journal) barrier(ctx context.Context) error {
	j.mu.Lock()
	next := j.next
	j.mu.Unlock()
	if next == j.Durable() {
		return nil
	}
	return j.Await(ctx, next-1)
}

// refill takes up the reserve again when there is room, and lets Room go on.
func (j *Journal) refill() {
	j.mu.Lock()
	full := j.full != nil && j.failure == nil
	j.mu.Unlock()
	if !full {
		return
	}
	if err := j.reserve.regain(j.o.FS, j.o.Dir, j.o.ReserveBytes/4); err != nil {
		if !isFull(err) {
			j.report(err)
		}
		return
	}
	j.mu.Lock()
	j.full = nil
	j.gate()
	j.mu.Unlock()
	j.log.Info("the disk has room again: the journal takes in more", "dir", j.o.Dir)
}
