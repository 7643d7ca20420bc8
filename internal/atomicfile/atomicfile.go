// Package atomicfile replaces files in one step, so that a reader, or a crash at any moment,
// finds the old content or the new, whole.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// suffix marks files that a crash may leave half written; RemoveLeftovers removes them.
const suffix = ".*.tmp"

// File is new content on its way to its path. Whoever creates it must Commit or Abort it.
type File struct {
	*os.File
	path string
}

// Create makes a file beside path, mode 0600, to be filled. A symbolic link at path stays
// one and its target is to be replaced.
func Create(path string) (*File, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+suffix)
	if err != nil {
		return nil, err
	}
	return &File{File: f, path: path}, nil
}

// Commit syncs and closes the file and puts it in its place. When it returns nil the content
// is on disk, the directory entry included; on an error the path is as it was.
func (f *File) Commit() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return errors.Join(err, f.remove())
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return errors.Join(err, f.remove())
	}
	return syncDir(filepath.Dir(f.path))
}

// Abort drops the file; the path is as it was.
func (f *File) Abort() error { return errors.Join(f.Close(), f.remove()) }

func (f *File) remove() error { return removed(f.Name()) }

// Write replaces the file at path by content. It means what Create and Commit mean.
func Write(path string, content []byte, mode os.FileMode) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.Commit()
}

// RemoveLeftovers removes what crashes have left half written in dir.
func RemoveLeftovers(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		err = errors.Join(err, removed(name))
	}
	return err
}

// IsLeftover reports whether a file of that name in a directory is one that RemoveLeftovers removes.
func IsLeftover(name string) bool {
	ok, err := filepath.Match("*"+suffix, name)
	return ok && err == nil
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
