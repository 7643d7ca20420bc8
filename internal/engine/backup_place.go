package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
)

// keptBackups is how many of an instance are kept in a directory and in its volume.
const keptBackups = 3

// backupName is the file name of a backup, which begins with the instance's and sorts by time.
func backupName(instance string, at time.Time) string {
	return instance + "_" + at.UTC().Format("20060102T150405.000Z") + backupExtension
}

const backupExtension = ".tar.gz"

// backupNames is a pattern of the names that backupName gives.
func backupNames(instance string) string {
	return regexp.QuoteMeta(instance) + `_\d{8}T\d{6}\.\d{3}Z` + regexp.QuoteMeta(backupExtension)
}

// place is where a backup is written to. Whoever opens it must commit or abort it; neither
// happens while the instance is held.
type place interface {
	io.Writer
	// commit puts what was written where it shall be, and says of saved where that is.
	commit(ctx context.Context, saved *Saved) error
	abort() error
}

func (e *Engine) openPlace(o BackupOptions, at time.Time, image string) (place, error) {
	switch {
	case o.Writer != nil:
		return writerPlace{o.Writer}, nil
	case o.File != "":
		return openFile(o.File, regexp.QuoteMeta(filepath.Base(o.File)))
	case o.Dir != "":
		return openDir(o, at)
	}
	return e.openVolume(o, image)
}

// writerPlace is somebody else's.
type writerPlace struct{ io.Writer }

func (writerPlace) commit(context.Context, *Saved) error { return nil }
func (writerPlace) abort() error                         { return nil }

// filePlace is one file, which is there whole or not at all.
type filePlace struct {
	*atomicfile.File
	path string
}

// openFile first removes what a backup that was killed has left of files whose names match the
// pattern. The caller has the instance's lock, so that nobody writes them now.
func openFile(path, pattern string) (*filePlace, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot write %q: %w", path, err)
	}
	if err := removeParts(filepath.Dir(path), pattern); err != nil {
		return nil, notBackedUp(path, err)
	}
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, notBackedUp(path, err)
	}
	return &filePlace{file, path}, nil
}

func removeParts(dir, pattern string) error {
	left, err := regexp.Compile(`^` + pattern + `\.\d+\.tmp$`) // of package atomicfile
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if left.MatchString(entry.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}

// Write names the file in its errors.
func (p *filePlace) Write(content []byte) (int, error) {
	n, err := p.File.Write(content)
	if err != nil {
		err = notBackedUp(p.path, err)
	}
	return n, err
}

func (p *filePlace) commit(_ context.Context, saved *Saved) error {
	if err := p.Commit(); err != nil {
		return notBackedUp(p.path, err)
	}
	saved.Name, saved.File = filepath.Base(p.path), p.path
	return nil
}

func (p *filePlace) abort() error {
	if err := p.Abort(); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot remove what was written of %q: %w", p.path, err)
	}
	return nil
}

func notBackedUp(path string, err error) error {
	var known *spec.Error
	if errors.As(err, &known) {
		return err
	}
	return spec.Errorf(spec.Unavailable, "cannot write the backup %q: %w", path, err).
		WithHint("free space or rights there, or choose another place; nothing was changed, and nothing is left there")
}

// dirPlace is a directory in which the newest are kept.
type dirPlace struct {
	*filePlace
	options BackupOptions
}

func openDir(o BackupOptions, at time.Time) (place, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, notBackedUp(o.Dir, err)
	}
	file, err := openFile(filepath.Join(o.Dir, backupName(o.Instance, at)), backupNames(o.Instance))
	if err != nil {
		return nil, err
	}
	return &dirPlace{file, o}, nil
}

func (p *dirPlace) commit(ctx context.Context, saved *Saved) error {
	if err := p.filePlace.commit(ctx, saved); err != nil || p.options.keepAll {
		return err
	}
	names, err := backupsIn(p.options.Dir, p.options.Instance)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot remove the oldest backups in %q: %w", p.options.Dir, err)
	}
	// the new one stays, also where the clock has gone back and the others look newer
	others := slices.DeleteFunc(names, func(name string) bool { return name == saved.Name })
	for _, name := range others[:max(0, len(others)-keptBackups+1)] {
		if err := removeFile(filepath.Join(p.options.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// backupsIn lists the file names of an instance's backups in a directory, the oldest first.
func backupsIn(dir, instance string) ([]string, error) {
	pattern, err := regexp.Compile(`^` + backupNames(instance) + `$`)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if pattern.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// spool is a file of this host that has no name, so that it goes with the process: the engine
// wants to know how long a file is before it takes it.
type spool struct {
	*os.File
	name string // where a file that is open cannot be removed
}

func openSpool() (*spool, error) {
	file, err := os.CreateTemp("", "millwright-backup-*")
	if err != nil {
		return nil, notSpooled(err)
	}
	s := &spool{File: file}
	if err := os.Remove(file.Name()); err != nil {
		s.name = file.Name()
	}
	return s, nil
}

func notSpooled(err error) error {
	return spec.Errorf(spec.Unavailable, "cannot write to the directory for temporary files %q: %w", os.TempDir(), err).
		WithHint("free space there, name another directory by TMPDIR, or write the backup to a file or to backup_path")
}

// Write says where there is no room.
func (s *spool) Write(content []byte) (int, error) {
	n, err := s.File.Write(content)
	if err != nil {
		err = notSpooled(err)
	}
	return n, err
}

// rewind returns how much was written.
func (s *spool) rewind() (int64, error) {
	size, err := s.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = s.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, notSpooled(err)
	}
	return size, nil
}

func (s *spool) drop() error {
	err := s.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	if err != nil {
		return fmt.Errorf("cannot remove a temporary file: %w", err)
	}
	return nil
}
