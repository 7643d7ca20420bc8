package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// The volume of an instance's backups has a fixed number of slots, each a file and a small one
// beside it that says what it is: through the engine's API a file can be written over, but not
// removed or renamed. A slot is good if its label agrees with the file's size; one more slot than
// backups are kept, so that the new one never takes the place of one that is to be kept.
const backupSlots = keptBackups + 1

func backupVolume(instance string) string { return instance + "_backup" }

func slotFile(n int) string  { return fmt.Sprintf("backup-%d%s", n, backupExtension) }
func slotLabel(n int) string { return fmt.Sprintf("backup-%d.json", n) }

// slot is one place in the volume. The zero of Label is that of an empty one.
type slot struct {
	number int
	size   int64 // of the file
	Label  slotText
}

// slotText is what the label says.
type slotText struct {
	Name    string    `json:"name"`
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	Size    int64     `json:"size"`
}

func (s slot) good() bool { return s.Label.Name != "" && s.Label.Size == s.size }

// volumePlace keeps a backup on this host until the instance goes on, and then gives it to the
// engine.
type volumePlace struct {
	*spool
	engine   *Engine
	instance string
	image    string
	keepAll  bool
}

func (e *Engine) openVolume(o BackupOptions, image string) (place, error) {
	s, err := openSpool()
	if err != nil {
		return nil, err
	}
	return &volumePlace{s, e, o.Instance, image, o.keepAll}, nil
}

func (p *volumePlace) abort() error { return p.drop() }

func (p *volumePlace) commit(ctx context.Context, saved *Saved) (err error) {
	defer func() { err = errors.Join(err, p.drop()) }()
	size, err := p.rewind()
	if err != nil {
		return err
	}
	if err := p.engine.createBackupVolume(ctx, p.instance); err != nil {
		return err
	}
	helper, err := p.engine.storeHelper(ctx, p.instance, p.image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.engine.dropHelper(ctx, helper)) }()
	slots, err := p.engine.slots(ctx, helper)
	if err != nil {
		return err
	}
	to := freeSlot(slots)
	saved.Name, saved.Volume = backupName(saved.Instance, saved.Time), backupVolume(p.instance)
	saved.slot, saved.image = to.number, p.image
	to.Label = slotText{saved.Name, saved.Time, saved.Version, size}
	if err := p.engine.fillSlot(ctx, helper, to, p.File); err != nil {
		empty := slot{number: to.number} // so that what is half there takes no room
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		return errors.Join(spec.Errorf(spec.KindOf(err), "cannot write the backup into the volume %q: %w", saved.Volume, err).
			WithHint("free space on the engine's host, or write the backup to a file or to backup_path"),
			p.engine.fillSlot(ctx, helper, empty, bytes.NewReader(nil)))
	}
	if p.keepAll {
		return nil
	}
	return p.engine.emptyOldest(ctx, helper, slots, to)
}

// freeSlot is one that holds no good backup, else the oldest.
func freeSlot(slots []slot) slot {
	for _, s := range slots {
		if !s.good() {
			return s
		}
	}
	return slices.MinFunc(slots, func(a, b slot) int { return a.Label.Time.Compare(b.Label.Time) })
}

// emptyOldest gives the room of what is not kept back: beside the new backup all but the newest.
func (e *Engine) emptyOldest(ctx context.Context, helper string, before []slot, filled slot) error {
	good := slices.DeleteFunc(slices.Clone(before), func(s slot) bool { return !s.good() || s.number == filled.number })
	slices.SortFunc(good, func(a, b slot) int { return a.Label.Time.Compare(b.Label.Time) })
	for _, s := range good[:max(0, len(good)+1-keptBackups)] {
		if err := e.fillSlot(ctx, helper, slot{number: s.number}, bytes.NewReader(nil)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) createBackupVolume(ctx context.Context, instance string) error {
	name := backupVolume(instance)
	v, err := e.api.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: map[string]string{render.LabelInstance: instance}})
	if err != nil {
		return e.failed("make volume "+name, err)
	}
	if v.Labels[render.LabelInstance] != instance {
		return spec.Errorf(spec.Conflict, "cannot use the volume %s: it is not this instance's", name).
			WithHint("remove it (docker volume rm %s), or set backup_path", name)
	}
	return nil
}

// slots reads all labels.
func (e *Engine) slots(ctx context.Context, helper string) ([]slot, error) {
	var all []slot
	for n := 1; n <= backupSlots; n++ {
		s := slot{number: n}
		stat, err := e.api.ContainerStatPath(ctx, helper, path.Join(mountsDir, slotFile(n)))
		switch {
		case err == nil:
			s.size = stat.Size
		case !errdefs.IsNotFound(err):
			return nil, e.failed("look at the backups", err)
		}
		text, err := e.readFile(ctx, helper, path.Join(mountsDir, slotLabel(n)))
		if err != nil && spec.KindOf(err) != spec.NotFound {
			return nil, err
		}
		if err == nil && json.Unmarshal([]byte(text), &s.Label) != nil {
			s.Label = slotText{} // a label that is half written is that of no backup
		}
		all = append(all, s)
	}
	return all, nil
}

// fillSlot writes a slot's file. Before and after it the label is written: what says that the
// file is good comes last.
func (e *Engine) fillSlot(ctx context.Context, helper string, s slot, content io.Reader) error {
	text, err := json.Marshal(s.Label)
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot write a backup's label: %w", err)
	}
	return e.upload(ctx, helper, mountsDir, func(w *tar.Writer) error {
		for _, f := range []struct {
			name    string
			size    int64
			content io.Reader
		}{
			{slotLabel(s.number), 2, bytes.NewReader([]byte("{}"))},
			{slotFile(s.number), s.Label.Size, content},
			{slotLabel(s.number), int64(len(text)), bytes.NewReader(text)},
		} {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o600, Size: f.size, ModTime: s.Label.Time, Format: tar.FormatPAX}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := io.Copy(w, f.content); err != nil {
				return err
			}
		}
		return nil
	})
}

// upload gives the engine an archive, as it is written, to unpack in a directory of a container.
func (e *Engine) upload(ctx context.Context, id, dir string, write func(*tar.Writer) error) error {
	reading, writing := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends when all is written or the engine takes no more
		w := tar.NewWriter(writing)
		err := write(w)
		if err == nil {
			err = w.Close()
		}
		writing.CloseWithError(err)
		done <- err
	}()
	err := e.api.CopyToContainer(ctx, id, dir, reading, container.CopyToContainerOptions{})
	reading.CloseWithError(errors.Join(errTaken, err))
	written := <-done
	switch {
	case written != nil && !errors.Is(written, errTaken): // the cause, of which the engine knows nothing
		return written
	case err != nil:
		return e.failed("write into the volumes", err)
	}
	return nil
}

// errTaken ends an archive that the engine does not read on.
var errTaken = errors.New("the engine takes no more")
