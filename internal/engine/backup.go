package engine

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// BackupOptions say what is backed up, and where to: Writer, File or Dir, or, with none of them,
// where the instance keeps its backups: backup_path, or a volume. In a directory and in the
// volume the newest three are kept.
type BackupOptions struct {
	Instance string // empty: spec.DefaultInstance
	Version  string // of this program
	Writer   io.Writer
	File     string
	Dir      string

	keepAll bool // in Dir or in the volume
}

// Saved is a backup that was made. What does not apply is empty.
type Saved struct {
	Instance string    `json:"instance"`
	Version  string    `json:"version"` // of the instance
	Time     time.Time `json:"time"`
	Name     string    `json:"name,omitempty"`   // the file's
	File     string    `json:"file,omitempty"`   // its path on this host
	Volume   string    `json:"volume,omitempty"` // the engine's that holds it
	Size     int64     `json:"size"`
	Held     float64   `json:"held_seconds,omitempty"` // how long the instance stood still

	slot  int    // in the volume
	image string // that the volume can be reached with
}

// Where is the file's path, or VOLUME:NAME in a volume of the engine.
func (s Saved) Where() string {
	if s.Volume != "" {
		return s.Volume + ":" + s.Name
	}
	return s.File
}

// Backup writes a copy of all volumes of an instance, its secrets among them, and of what was
// applied. Its containers are paused meanwhile, so that the copy is of one moment; they go on
// whatever becomes of the backup. The backup is there whole or not at all. An instance that is
// not there is of kind not_found; one that somebody else backs up or changes, conflict.
func (e *Engine) Backup(ctx context.Context, o BackupOptions) (Saved, error) {
	if o.Instance == "" {
		o.Instance = spec.DefaultInstance
	}
	now, err := e.observe(ctx, o.Instance)
	if err != nil {
		return Saved{}, err
	}
	if err := backable(now); err != nil {
		return Saved{}, err
	}
	if o.Writer == nil && o.File == "" && o.Dir == "" {
		o.Dir = backupDir(now.Spec)
	}
	image, err := e.imageOf(ctx, now)
	if err != nil {
		return Saved{}, err
	}
	return e.backUp(ctx, o, now, image)
}

// backable refuses what could not be restored.
func backable(now *observation) error {
	if !now.Exists() {
		return spec.Errorf(spec.NotFound, "cannot back up instance %q: there is none on this engine", now.Name).
			WithHint("an instance of another name is named by --instance; one that is absent, but left its volumes, must be started first")
	}
	if now.Spec == nil {
		return spec.Errorf(spec.Conflict, "cannot back up instance %q: nothing says what was applied", now.Name).
			WithHint("apply it again")
	}
	for _, v := range neededVolumes(*now.Spec) {
		if !slices.Contains(now.Volumes, v) {
			return spec.Errorf(spec.Conflict, "cannot back up instance %q: its volume %s is gone", now.Name, v).
				WithHint("apply the instance: it makes a new one; or restore an older backup")
		}
	}
	return nil
}

// neededVolumes are the names of those without which an instance is not whole.
func neededVolumes(i spec.Instance) []string {
	var names []string
	for _, part := range i.Parts() {
		names = append(names, i.Name+"_"+part)
	}
	return append(names, render.SecretsVolume(i.Name))
}

// backUp copies first and puts the copy in its place once the instance goes on. Nobody else backs
// the instance up until it is there. The image is any that the engine has.
func (e *Engine) backUp(ctx context.Context, o BackupOptions, now *observation, image string) (saved Saved, err error) {
	helper, old, err := e.lock(ctx, now.Name, image, now.Volumes, false)
	if err != nil {
		return saved, err
	}
	defer func() { err = errors.Join(err, e.dropHelper(ctx, helper)) }()
	saved = Saved{Instance: o.Instance, Time: time.Now().UTC().Truncate(time.Millisecond)}
	if now.Spec != nil {
		saved.Version = now.Spec.Version
	}
	to, err := e.openPlace(o, saved.Time, image)
	if err != nil {
		return saved, err
	}
	counted := &counter{to: to}
	header := BackupHeader{Version: o.Version, Instance: o.Instance, Time: saved.Time, Spec: now.Spec}
	held, err := e.copyHeld(ctx, counted, locked{helper, old}, header, now)
	saved.Held = held.Seconds()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return saved, errors.Join(asBroken(ctx, err), to.abort())
	}
	saved.Size = counted.bytes
	return saved, to.commit(ctx, &saved)
}

// asBroken says that a backup was broken off, in place of where that hit it.
func asBroken(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return spec.Errorf(spec.Unavailable, "cannot make the backup: it was broken off (%w)", ctx.Err())
}

// counter counts what is written.
type counter struct {
	to    io.Writer
	bytes int64
}

// Write passes content on.
func (c *counter) Write(content []byte) (int, error) {
	n, err := c.to.Write(content)
	c.bytes += int64(n)
	return n, err
}

// locked is an instance's own helper, see lock.
type locked struct {
	helper string
	old    bool
}

// copyHeld writes the backup while the instance stands still, and returns for how long it did.
func (e *Engine) copyHeld(ctx context.Context, w io.Writer, by locked, header BackupHeader, now *observation) (held time.Duration, err error) {
	h, err := e.hold(ctx, now.Containers, by.old)
	defer func() {
		err = errors.Join(err, h.release(ctx))
		held = time.Since(h.since)
	}()
	if err != nil {
		return 0, err
	}
	if err := e.copyVolumes(ctx, w, by.helper, header, now.Volumes); err != nil {
		return 0, err
	}
	return 0, h.still(ctx)
}

func (e *Engine) copyVolumes(ctx context.Context, w io.Writer, helper string, header BackupHeader, volumes []string) error {
	b, err := newBackupWriter(w, header)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if err := e.copyVolume(ctx, b, helper, shortVolume(header.Instance, v)); err != nil {
			return err
		}
	}
	return b.close()
}

func (e *Engine) copyVolume(ctx context.Context, b *backupWriter, helper, name string) error {
	stream, _, err := e.api.CopyFromContainer(ctx, helper, path.Join(mountsDir, name))
	if err != nil {
		return e.failed("read volume "+name, err)
	}
	left, err := b.addVolume(name, stream)
	if closeErr := stream.Close(); err == nil {
		err = closeErr
	}
	var known *spec.Error
	switch {
	case errors.As(err, &known): // the place's own
		return err
	case err != nil:
		return e.failed("copy volume "+name, err)
	case len(left) > 0:
		e.log.Warn("the backup leaves out what is neither a file nor a directory", "volume", name, "names", strings.Join(left, ", "))
	}
	return nil
}

// backupDir is where an instance keeps its backups; empty: in its volume.
func backupDir(i *spec.Instance) string {
	if i == nil {
		return ""
	}
	return i.BackupPath
}

// imageOf is an image that the engine has, for the instance's helpers: the instance's own, else
// any of Millwright.
func (e *Engine) imageOf(ctx context.Context, now *observation) (string, error) {
	if len(now.Containers) > 0 {
		return now.Containers[0].ImageID, nil
	}
	if now.recordID != "" {
		c, err := e.api.ContainerInspect(ctx, now.recordID)
		if err != nil {
			return "", e.failed("look at container "+recordName(now.Name), err)
		}
		return c.Image, nil
	}
	list, err := e.api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", render.LabelDataFormat))})
	if err != nil {
		return "", e.failed("list images", err)
	}
	if len(list) == 0 {
		return "", spec.Errorf(spec.NotFound, "cannot reach the volumes of instance %q: the engine has no image of Millwright", now.Name).
			WithHint("millwright image load FILE gives it one")
	}
	return list[0].ID, nil
}
