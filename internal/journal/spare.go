package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A spare is a file of a segment's full size, with an empty header, that the next segment
// is written to. Overwriting is twice as fast to sync as growing a file, and does not wait
// for the file system's own journal, and so not for what other processes write. It is a
// segment that was deleted, of whose records none can pass for one at a new position, or a file of zeros.
type spare struct {
	name string
	file File
}

const (
	spareAfter = 1 << 20 // bytes in the active segment, from which on a spare is worth its room
	spareRoom  = 4       // so many segments must fit on the disk besides
	spareAgain = time.Minute
	fillBytes  = 256 << 10
)

// fullSize is the size of a preallocated segment.
func (j *Journal) fullSize() int64 { return headerBytes + j.o.SegmentBytes + endBytes }

// busy reports whether so much is written that a spare is worth it. The caller has the lock.
func (j *Journal) busy() bool {
	return j.active != nil && int64(j.active.end-j.active.base) >= min(spareAfter, j.o.SegmentBytes/4)
}

// prepare makes a spare if one is wanted and there is plenty of room. After a failure it
// does nothing for a while.
func (j *Journal) prepare(ctx context.Context) error {
	j.mu.Lock()
	wanted := j.spare == nil && j.err() == nil && j.busy()
	j.mu.Unlock()
	if !wanted || time.Since(j.noSpare) < spareAgain {
		return nil
	}
	err := j.makeSpare(ctx)
	if err != nil {
		j.noSpare = time.Now()
	}
	return err
}

func (j *Journal) makeSpare(ctx context.Context) error {
	free, err := j.o.FS.Free(j.o.Dir)
	if err != nil {
		return faulty("measure", j.o.Dir, err)
	}
	if free < spareRoom*j.o.SegmentBytes {
		return nil
	}
	s := &spare{name: j.newName()}
	var there bool
	if s.file, there, err = j.newFile(s.name, func(f File) error { return j.zero(ctx, f) }); err != nil {
		if there {
			err = errors.Join(err, faulty("remove", s.name, j.o.FS.Remove(s.name)))
		}
		return err
	}
	j.mu.Lock()
	j.spare = s
	j.mu.Unlock()
	return nil
}

// zero fills the file with zeros, bit by bit so that commits need not wait for long.
func (j *Journal) zero(ctx context.Context, f File) error {
	zeros := make([]byte, fillBytes)
	for at, size := int64(0), j.fullSize(); at < size; at += fillBytes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeFull(f, zeros[:min(fillBytes, size-at)], at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// takeSpare returns the spare, if there is one, and leaves none.
func (j *Journal) takeSpare() *spare {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.spare
	j.spare = nil
	return s
}

// recycled makes a spare of a segment that is to be deleted, and reports whether it did. The
// segment is gone then as if it were removed: its header is, on disk.
func (j *Journal) recycled(seg *segment) bool {
	j.mu.Lock()
	wanted := j.spare == nil && j.err() == nil && !seg.broken && seg.size == j.fullSize()
	j.mu.Unlock()
	if !wanted {
		return false
	}
	seg.open.Lock()
	defer seg.open.Unlock()
	err := writeFull(seg.file, make([]byte, headerBytes), 0)
	if err == nil {
		err = seg.file.Sync()
	}
	if err != nil {
		j.report(faulty("recycle", seg.name, err))
		return false
	}
	s := &spare{name: seg.name, file: seg.file}
	seg.file = nil
	j.mu.Lock()
	j.spare = s
	j.mu.Unlock()
	return true
}

// dropSpare removes the spare and reports whether there was one.
func (j *Journal) dropSpare() (bool, error) {
	s := j.takeSpare()
	if s == nil {
		return false, nil
	}
	err := errors.Join(faulty("close", s.name, s.file.Close()), faulty("remove", s.name, j.o.FS.Remove(s.name)))
	return err == nil, err
}

// newName returns a name that no file of the journal has had.
func (j *Journal) newName() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.names++
	return j.path(fmt.Sprintf(segmentPattern, j.names))
}

// newFile makes a file under another name, fills and syncs it, and gives it its name, so
// that it is there whole or not at all. It is closed meanwhile: some systems cannot rename
// an open file. there reports, with an error, whether it has its name, and must be removed.
func (j *Journal) newFile(name string, fill func(File) error) (f File, there bool, err error) {
	fs, temp := j.o.FS, name+newSuffix
	if f, err = fs.Create(temp); err != nil {
		return nil, false, faulty("create", temp, err)
	}
	if err = faulty("write", temp, fill(f)); err == nil {
		err = faulty("sync", temp, f.Sync())
	}
	if err = errors.Join(err, faulty("close", temp, f.Close())); err == nil {
		err = faulty("rename", temp, fs.Rename(temp, name))
	}
	if err != nil {
		return nil, false, errors.Join(err, faulty("remove", temp, fs.Remove(temp)))
	}
	if err = faulty("sync", j.o.Dir, fs.SyncDir(j.o.Dir)); err != nil {
		return nil, true, err
	}
	f, err = fs.Open(name)
	return f, true, faulty("open", name, err)
}
