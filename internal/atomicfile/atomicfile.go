// Package atomicfile replaces files in one step, so that a reader, or a crash at any moment,
// finds the old content or the new, whole.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write puts content into a new file beside path, syncs it, and renames it to path. A
// symbolic link at path stays one and its target is replaced. When Write returns nil the
// content is on disk, the directory entry included; on an error path is as it was.
func Write(path string, content []byte, mode os.FileMode) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if err := fill(tmp, content, mode); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func fill(f *os.File, content []byte, mode os.FileMode) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
