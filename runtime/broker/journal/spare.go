package journal

import (
	"errors"
	"fmt"
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
	fillBytes  = 256 << 10
)

// fullSize is the size of a preallocated segment.
func (j *Journal) fullSize() int64 { return headerBytes + j.o.SegmentBytes + endBytes }

// busy reports whether so much is written that a spare is worth it. The caller has the lock.
func (j *Journal) busy() bool {
	return j.active != nil && int64(j.active.end-j.active.base) >= min(spareAfter, j.o.SegmentBytes/4)
}

// prepare makes a spare if one is wanted and there is plenty of room.
func (j *Journal) prepare() error {
	j.mu.Lock()
	wanted := j.spare == nil && j.err() == nil && j.busy()
	j.mu.Unlock()
	if !wanted {
		return nil
	}
	free, err := j.o.FS.Free(j.o.Dir)
	if err != nil {
		return faulty("measure", j.o.Dir, err)
	}
	if free < spareRoom*j.o.SegmentBytes {
		return nil
	}
	s := &spare{name: j.newName()}
	if s.file, err = j.newFile(s.name, j.zero); err != nil {
		if s.file != nil {
			err = errors.Join(err, j.discard(s))
		}
		return err
	}
	j.mu.Lock()
	j.spare = s
	j.mu.Unlock()
	return nil
}

// zero fills the file with zeros, bit by bit so that commits need not wait for long.
func (j *Journal) zero(f File) error {
	zeros := make([]byte, fillBytes)
	for at, size := int64(0), j.fullSize(); at < size; at += fillBytes {
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
	err := j.discard(s)
	return err == nil, err
}

func (j *Journal) discard(s *spare) error {
	return errors.Join(faulty("close", s.name, s.file.Close()), faulty("remove", s.name, j.o.FS.Remove(s.name)))
}

// newName returns a name that no file of the journal has had.
func (j *Journal) newName() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.names++
	return j.path(fmt.Sprintf(segmentPattern, j.names))
}

// newFile makes a file under another name, fills and syncs it, and gives it its name, so
// that it is there whole or not at all. With an error it may return the file: it has its name then, but perhaps
// not for good.
func (j *Journal) newFile(name string, fill func(File) error) (File, error) {
	fs, temp := j.o.FS, name+newSuffix
	f, err := fs.Create(temp)
	if err != nil {
		return nil, faulty("create", temp, err)
	}
	if err = faulty("write", temp, fill(f)); err == nil {
		err = faulty("sync", temp, f.Sync())
	}
	if err == nil {
		err = faulty("rename", temp, fs.Rename(temp, name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), faulty("remove", temp, fs.Remove(temp)))
	}
	return f, faulty("sync", j.o.Dir, fs.SyncDir(j.o.Dir))
}
