package engine

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// restoredMark is the file in control's volume that has it give its store a new name at the next
// start: what watched the instance before must not go on from a revision that is another now.
const restoredMark = "restored"

// clearTimeout bounds how long removing an instance may take that did not come up: each container
// has half a minute to end.
const clearTimeout = 5 * time.Minute

// RestoreOptions say as what a backup is restored.
type RestoreOptions struct {
	// Instance is what shall differ from what was applied when the backup was made: its name,
	// install path, ports, and, where the engine lacks the image, where to take that from.
	Instance spec.Instance
	Defaults spec.InstanceDefaults
	Replace  bool   // an instance that is there; a backup of it is kept
	Version  string // of this program
	Report   func(plan.Step)
}

// Restored is what became of a restore.
type Restored struct {
	Pass   *Pass     // the one that started the instance
	Plan   plan.Plan // of it, with the steps' results
	Before *Saved    // what was there; nil: nothing was
}

// Restore makes the volumes of an instance from a backup and starts the instance as it was
// applied then. One that is there is a conflict, unless it is to be replaced: then it is stopped
// and backed up first, and put back if restoring fails. What stands in the way (an image that
// cannot be had, a port that is taken) is found before anything is touched.
func (e *Engine) Restore(ctx context.Context, a *Archive, o RestoreOptions) (Restored, error) {
	r := restoration{Engine: e, options: o, archive: a}
	if r.options.Instance.Name == "" {
		r.options.Instance.Name = a.Instance
	}
	r.options.Instance.State, r.options.Instance.AllowDowngrade = spec.Started, true
	p, err := r.plan(ctx, a.Spec)
	if err != nil {
		return Restored{}, err
	}
	if err := refuse(p.Plan.Diagnostics); err != nil {
		return Restored{}, err
	}
	occupied := p.actual.Exists() || len(p.actual.Volumes) > 0 || p.actual.restoring != ""
	if occupied && !o.Replace {
		return Restored{}, spec.Errorf(spec.Conflict, "cannot restore instance %q: there is one, or volumes of one, on this engine", p.Instance.Name).
			WithHint("--replace puts the backup in its place, and keeps a backup of what is there; or give another name by --instance")
	}
	if p.desired.Image.Missing || p.desired.Image.ID == "" {
		if err := e.fetchImage(ctx, p); err != nil {
			return Restored{}, err
		}
	}
	if !occupied {
		return r.fresh(ctx, p.desired.Image.ID)
	}
	return r.replace(ctx, p)
}

// restoration is one restore.
type restoration struct {
	*Engine
	options RestoreOptions
	archive *Archive
}

func (r *restoration) plan(ctx context.Context, recorded *spec.Instance) (*Pass, error) {
	p, err := r.planFrom(ctx, r.options.Instance, r.options.Defaults, recorded)
	if err == nil { // this is how it is brought to an end
		p.Plan.Diagnostics = slices.DeleteFunc(p.Plan.Diagnostics, func(d spec.Diagnostic) bool { return d.Code == codeRestore })
	}
	return p, err
}

// fresh fills volumes and starts the instance. If that fails nothing of it stays.
func (r *restoration) fresh(ctx context.Context, image string) (Restored, error) {
	done, err := r.fillAndStart(ctx, r.archive, image)
	if err == nil {
		return done, nil
	}
	failed := r.clear(ctx)
	if failed == nil {
		failed = r.unmark(ctx)
	}
	return done, errors.Join(err, failed)
}

// fillAndStart makes the instance out of an archive.
func (r *restoration) fillAndStart(ctx context.Context, a *Archive, image string) (Restored, error) {
	err := r.mark(ctx, image)
	if err == nil {
		err = r.fill(ctx, a, r.options.Instance.Name, image)
	}
	if err == nil {
		err = r.unmark(ctx)
	}
	if err != nil {
		return Restored{}, err
	}
	p, err := r.plan(ctx, a.Spec)
	if err != nil {
		return Restored{}, err
	}
	done, err := r.Apply(ctx, p, r.options.Report)
	return Restored{Pass: p, Plan: done}, err
}

// replace puts the backup in the place of what is there.
func (r *restoration) replace(ctx context.Context, p *Pass) (Restored, error) {
	before, err := r.setAside(ctx, p)
	if err != nil {
		return Restored{}, err
	}
	if err := r.mark(ctx, p.desired.Image.ID); err != nil {
		return Restored{Before: &before}, errors.Join(err, r.startAgain(ctx, runningOf(p)))
	}
	if err = r.clear(ctx); err == nil {
		var done Restored
		if done, err = r.fillAndStart(ctx, r.archive, p.desired.Image.ID); err == nil {
			done.Before = &before
			return done, nil
		}
		err = errors.Join(err, r.mark(context.WithoutCancel(ctx), p.desired.Image.ID), r.clear(ctx))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putBackTimeout+time.Duration(p.Instance.WaitTimeout)*time.Second)
	defer cancel()
	if failed := r.putBack(ctx, p, before); failed != nil {
		return Restored{Before: &before}, errors.Join(err, spec.Errorf(spec.Unavailable, "and cannot put back what was there: %w", failed).
			WithHint("it is in the backup %s: restore that", before.Where()))
	}
	return Restored{Before: &before}, spec.Errorf(spec.KindOf(err), "%w\nwhat was there was put back; its backup is %s", err, before.Where())
}

// setAside stops the instance and backs it up; what ran goes on if that fails.
func (r *restoration) setAside(ctx context.Context, p *Pass) (Saved, error) {
	var err error
	ran := runningOf(p)
	for _, c := range slices.Backward(ran) {
		if err = r.stop(ctx, c); err != nil {
			break
		}
	}
	var saved Saved
	if err == nil {
		saved, err = r.backUp(ctx, BackupOptions{Instance: p.Instance.Name, Version: r.options.Version, Dir: backupDir(p.actual.Spec), keepAll: true}, p.actual, p.desired.Image.ID)
	}
	if err == nil {
		return saved, nil
	}
	return saved, errors.Join(err, r.startAgain(ctx, ran))
}

func runningOf(p *Pass) []plan.Container {
	return slices.DeleteFunc(slices.Clone(p.actual.Containers), func(c plan.Container) bool { return !c.Running })
}

// startAgain starts what ran, whatever became of ctx. One that runs still is no error.
func (r *restoration) startAgain(ctx context.Context, ran []plan.Container) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var failed error
	for _, c := range ran {
		if err := r.api.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
			failed = errors.Join(failed, r.failed("start container "+c.Name, err))
		}
	}
	return failed
}

// clear removes everything of the instance but its backups.
func (r *restoration) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout)
	defer cancel()
	p, err := r.planFrom(ctx, spec.Instance{Name: r.options.Instance.Name, State: spec.Absent, DeleteVolumes: true}, r.options.Defaults, nil)
	if err != nil {
		return err
	}
	kept := []string{
		plan.InstanceAddress(p.Instance.Name) + "/" + plan.KindVolume + "/" + backupVolume(p.Instance.Name),
		plan.InstanceAddress(p.Instance.Name) + "/" + plan.KindLeftover + "/" + markName(p.Instance.Name),
	}
	p.Plan.Steps = slices.DeleteFunc(p.Plan.Steps, func(s plan.Step) bool { return slices.Contains(kept, s.Address) })
	_, err = r.Apply(ctx, p, nil)
	return err
}

// putBack restores what was set aside.
func (r *restoration) putBack(ctx context.Context, p *Pass, before Saved) error {
	a, err := r.openSaved(ctx, before)
	if err != nil {
		return err
	}
	was := restoration{Engine: r.Engine, archive: a, options: RestoreOptions{
		Instance: spec.Instance{Name: before.Instance}, Defaults: r.options.Defaults, Version: r.options.Version,
	}}
	_, err = was.fillAndStart(ctx, a, p.desired.Image.ID)
	return errors.Join(err, a.Close())
}

// fill makes the volumes and unpacks the archive into them.
func (e *Engine) fill(ctx context.Context, a *Archive, instance, image string) error {
	var volumes []string
	for _, v := range a.Volumes {
		name := instance + "_" + v
		if err := e.createVolume(ctx, instance, name); err != nil {
			return err
		}
		volumes = append(volumes, name)
	}
	return e.unpack(ctx, a, instance, image, volumes)
}

func (e *Engine) unpack(ctx context.Context, a *Archive, instance, image string, volumes []string) (err error) {
	helper, _, err := e.lock(ctx, instance, image, volumes, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.dropHelper(ctx, helper)) }()
	err = e.upload(ctx, helper, mountsDir, func(w *tar.Writer) error {
		err := a.read(func(volume, name string, h *tar.Header, content io.Reader) error {
			if err := w.WriteHeader(unpacked(volume, name, h)); err != nil {
				return err
			}
			_, err := io.Copy(w, content)
			return err
		})
		if err != nil || !slices.Contains(a.Volumes, spec.PartControl) {
			return err
		}
		return w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(spec.PartControl, restoredMark), Mode: 0o600,
			Uid: render.UserID, Gid: render.UserID, ModTime: a.Time, Format: tar.FormatPAX,
		})
	})
	if err != nil {
		return spec.Errorf(spec.KindOf(err), "cannot fill the volumes from the backup: %w", err)
	}
	return nil
}

// unpacked is an entry of a backup as the engine unpacks it: with what a backup says of its own
// entries, and with nothing else that a foreign one may hold, such as extended attributes.
func unpacked(volume, name string, h *tar.Header) *tar.Header {
	to := &tar.Header{
		Typeflag: h.Typeflag, Name: path.Join(volume, name), Mode: h.Mode,
		Uid: h.Uid, Gid: h.Gid, Size: h.Size, ModTime: h.ModTime, Format: tar.FormatPAX,
	}
	if h.Typeflag == tar.TypeDir {
		to.Name += "/"
	}
	return to
}
