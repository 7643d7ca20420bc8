package journal

import (
	"errors"
	"io/fs"
	"sync"
	"syscall"
)

// reserve is a file that takes up room until the disk is full.
type reserve struct {
	name string
	size int64 // not above 0: there is none

	mu   sync.Mutex
	held bool
}

// regain takes the room up again, if more bytes than that are free besides.
func (r *reserve) regain(sys FS, dir string, besides int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || r.size <= 0 {
		return nil
	}
	free, err := sys.Free(dir)
	if err != nil {
		return faulty("measure", dir, err)
	}
	if free < r.size+besides {
		return faulty("make", r.name, syscall.ENOSPC)
	}
	if err := r.take(sys); err != nil {
		return faulty("make", r.name, err)
	}
	r.held = true
	return nil
}

func (r *reserve) take(sys FS) error {
	if err := sys.Remove(r.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := sys.Create(r.name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Allocate(r.size), f.Close()); err != nil {
		return errors.Join(err, sys.Remove(r.name))
	}
	return nil
}

// giveUp makes the room free and reports whether there was any.
func (r *reserve) giveUp(sys FS) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		return false, nil
	}
	r.held = false
	if err := sys.Remove(r.name); err != nil {
		return false, faulty("remove", r.name, err)
	}
	return true, nil
}
