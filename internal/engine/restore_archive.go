package engine

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"

	"github.com/millwright/millwright/internal/spec"
)

// Archive is a backup that was read to its end and is whole. Close it.
type Archive struct {
	BackupHeader
	Bytes   int64    // of its files, unpacked
	Volumes []string // by their names without the instance's

	sums   []volumeSum
	name   string
	file   *os.File
	closed func() error
}

// Close releases what the archive is read from.
func (a *Archive) Close() error { return a.closed() }

// OpenBackup reads a backup from a file of this host. One that is damaged, cut off, foreign or of
// a newer format is of kind invalid.
func OpenBackup(file string) (*Archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the backup %q: %w", file, err)
	}
	return openBackup(f, file, f.Close)
}

// ReadBackup reads a backup from a stream. It is kept in a temporary file until it is closed.
func ReadBackup(r io.Reader) (*Archive, error) {
	s, err := openSpool()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(s, r); err != nil {
		return nil, errors.Join(spec.Errorf(spec.Unavailable, "cannot read the backup: %w", err), s.drop())
	}
	return openBackup(s.File, "-", s.drop)
}

func openBackup(f *os.File, name string, closed func() error) (*Archive, error) {
	a := &Archive{name: name, file: f, closed: closed}
	if err := a.verify(); err != nil {
		return nil, errors.Join(err, closed())
	}
	return a, nil
}

// LatestBackup is the name of the newest backup for StoredBackup.
const LatestBackup = "latest"

// StoredBackup reads one of the backups that are kept of an instance (see Backups), by its name.
func (e *Engine) StoredBackup(ctx context.Context, instance, name string) (*Archive, error) {
	have, err := e.Backups(ctx, instance)
	if err != nil {
		return nil, err
	}
	for i, b := range have {
		if b.Name == name || name == LatestBackup && i == len(have)-1 {
			return e.openSaved(ctx, b)
		}
	}
	return nil, spec.Errorf(spec.NotFound, "cannot find the backup %q of instance %q: there are %d others", name, instance, len(have)).
		WithHint("millwright backup --list shows them")
}

func (e *Engine) openSaved(ctx context.Context, b Saved) (*Archive, error) {
	if b.File != "" {
		return OpenBackup(b.File)
	}
	return e.openStored(ctx, b)
}

// openStored takes the backup out of the volume, which may change while it is restored.
func (e *Engine) openStored(ctx context.Context, b Saved) (*Archive, error) {
	helper, err := e.storeHelper(ctx, b.Instance, b.image)
	if err != nil {
		return nil, err
	}
	s, err := openSpool()
	if err == nil {
		err = e.readSlot(ctx, helper, b.slot, s)
	}
	if err = errors.Join(err, e.dropHelper(ctx, helper)); err != nil {
		if s != nil {
			err = errors.Join(err, s.drop())
		}
		return nil, err
	}
	return openBackup(s.File, b.Where(), s.drop)
}

// readSlot copies one file of the volume as it lies there.
func (e *Engine) readSlot(ctx context.Context, helper string, n int, to io.Writer) error {
	stream, _, err := e.api.CopyFromContainer(ctx, helper, path.Join(mountsDir, slotFile(n)))
	if err != nil {
		return e.failed("read the backup", err)
	}
	files := tar.NewReader(stream)
	if _, err = files.Next(); err == nil {
		_, err = io.Copy(to, files)
	}
	if err = errors.Join(err, stream.Close()); err != nil {
		return e.failed("read the backup", err)
	}
	return nil
}

// verify reads the whole backup once.
func (a *Archive) verify() error {
	err := a.read(func(_, _ string, _ *tar.Header, content io.Reader) error {
		_, err := io.Copy(io.Discard, content)
		return err
	})
	if err != nil {
		var known *spec.Error
		e := spec.Errorf(spec.KindOf(err), "cannot use the backup %q: %w", a.name, err)
		if errors.As(err, &known) {
			e.Hint = known.Hint
		}
		return e
	}
	for _, v := range a.sums {
		a.Bytes += v.Bytes
		a.Volumes = append(a.Volumes, v.Name)
	}
	return nil
}

// read goes through the backup. What it holds must be what it held the first time.
func (a *Archive) read(entry backupEntry) error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read it: %w", err)
	}
	header, sums, err := readBackup(a.file, entry)
	if err != nil {
		return err
	}
	if a.sums != nil && !slices.Equal(a.sums, sums) {
		return spec.Errorf(spec.Conflict, "it was changed while it was read")
	}
	a.BackupHeader, a.sums = header, sums
	return nil
}
