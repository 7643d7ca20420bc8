package engine

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/millwright/millwright/internal/spec"
)

// Backups lists what is kept of an instance, in its volume and in the directory that it keeps
// backups in now, the oldest first.
func (e *Engine) Backups(ctx context.Context, instance string) ([]Saved, error) {
	now, err := e.observe(ctx, instance)
	if err != nil {
		return nil, err
	}
	list, err := e.backupsInVolume(ctx, now)
	if err != nil {
		return nil, err
	}
	files, err := e.backupsInDir(backupDir(now.Spec), instance)
	list = append(list, files...)
	slices.SortFunc(list, func(a, b Saved) int { return a.Time.Compare(b.Time) })
	return list, err
}

func (e *Engine) backupsInVolume(ctx context.Context, now *observation) (list []Saved, err error) {
	if now.Backups == "" {
		return nil, nil
	}
	image, err := e.imageOf(ctx, now)
	if err != nil {
		return nil, err
	}
	helper, err := e.storeHelper(ctx, now.Name, image)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.dropHelper(ctx, helper)) }()
	slots, err := e.slots(ctx, helper)
	if err != nil {
		return nil, err
	}
	for _, s := range slots {
		if s.good() {
			list = append(list, Saved{
				Instance: now.Name, Version: s.Label.Version, Time: s.Label.Time, Name: s.Label.Name, Volume: now.Backups, Size: s.Label.Size,
				slot: s.number, image: image,
			})
		}
	}
	return list, nil
}

// backupsInDir leaves out, with a warning, what cannot be read.
func (e *Engine) backupsInDir(dir, instance string) ([]Saved, error) {
	if dir == "" {
		return nil, nil
	}
	names, err := backupsIn(dir, instance)
	if err != nil && !os.IsNotExist(err) {
		return nil, spec.Errorf(spec.Unavailable, "cannot list the backups in %q: %w", dir, err)
	}
	var list []Saved
	for _, name := range names {
		saved, err := describeFile(filepath.Join(dir, name))
		if err != nil {
			e.log.Warn("a backup cannot be read", "file", filepath.Join(dir, name), "error", err)
			continue
		}
		list = append(list, saved)
	}
	return list, nil
}

// describeFile reads what a backup says of itself, and not whether it is whole.
func describeFile(file string) (Saved, error) {
	f, err := os.Open(file)
	if err != nil {
		return Saved{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return Saved{}, err
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		return Saved{}, err
	}
	var b backupReader
	if err := b.readHeader(tar.NewReader(zip)); err != nil {
		return Saved{}, err
	}
	saved := Saved{Instance: b.header.Instance, Time: b.header.Time, Name: filepath.Base(file), File: file, Size: info.Size()}
	if b.header.Spec != nil {
		saved.Version = b.header.Spec.Version
	}
	return saved, nil
}
