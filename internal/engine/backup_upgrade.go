package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// NeedsBackup reports whether applying the pass begins with a backup: the image of an instance
// with data changes.
func (p *Pass) NeedsBackup() bool {
	return slices.ContainsFunc(p.Plan.Steps, func(s plan.Step) bool {
		kind, _ := childOf(s.Address)
		return kind == plan.KindBackup
	})
}

// BackupFile is where applying the pass has written a backup (see Saved.Where); empty: it made none.
func (p *Pass) BackupFile() string {
	if p.saved == nil {
		return ""
	}
	return p.saved.Where()
}

// backupTo is where the instance wants backups; empty: nowhere.
func (p *Pass) backupTo() string {
	switch {
	case !p.Instance.BacksUp():
		return ""
	case p.Instance.BackupPath != "":
		return p.Instance.BackupPath
	}
	return "volume " + backupVolume(p.Instance.Name)
}

func formatOf(i image.InspectResponse) string {
	if i.Config == nil {
		return ""
	}
	return i.Config.Labels[render.LabelDataFormat]
}

// formats is what the parts' images say of the data that they keep.
type formats struct {
	old   string // image of a part that keeps the data otherwise than the new image; empty: none does
	begun bool   // another part has the new image's format already: an upgrade was broken off
}

func (e *Engine) formatsNow(ctx context.Context, p *Pass) (formats, error) {
	var f formats
	seen := map[string]string{}
	for _, c := range slices.Concat(p.actual.Containers, slices.Collect(maps.Values(p.actual.setAside))) {
		format, ok := seen[c.ImageID]
		if !ok {
			i, err := e.api.ImageInspect(ctx, c.ImageID)
			if err != nil && !errdefs.IsNotFound(err) { // one that is not there says nothing
				return f, e.failed("look at image "+c.Image, err)
			}
			format = formatOf(i)
			seen[c.ImageID] = format
		}
		switch {
		case format != p.desired.Image.Format:
			f.old = c.ImageID
		case c.ImageID == p.desired.Image.ID:
			f.begun = true
		}
	}
	return f, nil
}

// otherFormat warns of an upgrade that cannot go part by part.
func (e *Engine) otherFormat(ctx context.Context, p *Pass) []spec.Diagnostic {
	want := p.desired.Image
	if want.Format == "" {
		return nil
	}
	f, err := e.formatsNow(ctx, p)
	if err != nil {
		e.log.Warn("cannot see in which format the instance keeps its data", "error", err)
	}
	if f.old == "" || err != nil {
		return nil
	}
	message := fmt.Sprintf("%s keeps the data in another format (%s): ", want.Reference, want.Format)
	if p.Instance.BacksUp() {
		return []spec.Diagnostic{warning("data-format", message+"all parts are stopped together until all are exchanged; if that fails the data of before is put back", "")}
	}
	return []spec.Diagnostic{warning("data-format", message+"if the upgrade fails the version of before may refuse the data", "set backup: true, so that the data of before is put back")}
}

// doBackup backs the instance up before its image changes. If the new image keeps its data in
// another format the instance stays stopped from here on until all of it is exchanged: what it
// took in meanwhile would be lost if the data of before had to be put back.
func (a *application) doBackup(ctx context.Context) error {
	p := a.pass
	f, err := a.formatsNow(ctx, p)
	if err != nil {
		return err
	}
	if f.old != "" {
		a.migratesFrom = f.old
		for _, c := range slices.Backward(p.actual.Containers) {
			if !a.leavesLater(c.Part) {
				continue
			}
			if err := a.clear(ctx, c); err != nil {
				return err
			}
		}
	}
	if f.old != "" && f.begun { // the data are no longer all of before
		if p.saved, err = a.begunWith(ctx); p.saved != nil || err != nil {
			return err
		}
	}
	saved, err := a.backUp(ctx, BackupOptions{Instance: p.Instance.Name, Version: p.program, Dir: p.Instance.BackupPath}, p.actual, p.desired.Image.ID)
	if err != nil {
		return err
	}
	p.saved = &saved
	return nil
}

// begunWith is the backup that an upgrade began with which was broken off: the newest of the
// version that was last applied; nil: there is none.
func (a *application) begunWith(ctx context.Context) (*Saved, error) {
	p := a.pass
	list, err := a.backupsInVolume(ctx, p.actual)
	if err != nil {
		return nil, err
	}
	files, err := a.backupsInDir(p.Instance.BackupPath, p.Instance.Name)
	if err != nil {
		return nil, err
	}
	var newest *Saved
	for _, b := range append(list, files...) {
		ofBefore := p.actual.Spec != nil && b.Version == p.actual.Spec.Version
		if ofBefore && (newest == nil || b.Time.After(newest.Time)) {
			newest = &b
		}
	}
	return newest, nil
}

// isolate keeps a broker of another data format from everybody but control until all parts are
// exchanged: what it would acknowledge before could not be kept if they are put back.
func (a *application) isolate(ctx context.Context, want plan.Container, id string) error {
	a.touched = a.migratesFrom != ""
	if !a.touched || want.Part != spec.PartBroker {
		return nil
	}
	name := isolatedNetwork(a.pass.Instance.Name)
	if err := a.removeIsolated(ctx); err != nil {
		return err
	}
	options := network.CreateOptions{Driver: "bridge", Internal: true, Labels: map[string]string{render.LabelInstance: a.pass.Instance.Name}}
	if _, err := a.api.NetworkCreate(ctx, name, options); err != nil {
		return a.failed("make network "+name, err)
	}
	own := want
	own.ID = id
	if err := errors.Join(a.leave(ctx, want.Network, own), a.enter(ctx, name, id, want)); err != nil {
		return err
	}
	for _, x := range a.open {
		if x.part == spec.PartControl {
			return a.enter(ctx, name, x.id, plan.Container{Part: x.part, Name: x.name})
		}
	}
	return nil
}

func isolatedNetwork(instance string) string { return instance + "_upgrade" }

// staysIsolated reports whether a container is the broker of an upgrade that is gone on with: it
// is admitted when all parts are exchanged.
func (a *application) staysIsolated(want plan.Container) bool {
	return a.migratesFrom != "" && want.Part == spec.PartBroker
}

// admit lets everybody reach the broker that was isolated.
func (a *application) admit(ctx context.Context) error {
	i := slices.IndexFunc(a.pass.desired.Containers, func(c plan.Container) bool { return c.Part == spec.PartBroker })
	if a.migratesFrom == "" || i < 0 {
		return nil
	}
	want := a.pass.desired.Containers[i]
	now, err := a.api.ContainerInspect(ctx, want.Name)
	if err != nil {
		return a.failed("look at container "+want.Name, err)
	}
	if _, in := now.NetworkSettings.Networks[want.Network]; !in {
		if err := a.enter(ctx, want.Network, now.ID, want); err != nil {
			return err
		}
	}
	return a.removeIsolated(ctx)
}

// removeIsolated removes the network of an upgrade, also one that a pass left which was broken off.
func (a *application) removeIsolated(ctx context.Context) error {
	name := isolatedNetwork(a.pass.Instance.Name)
	n, err := a.api.NetworkInspect(ctx, name, network.InspectOptions{})
	if errdefs.IsNotFound(err) || err == nil && (n.Name != name || n.Labels[render.LabelInstance] != a.pass.Instance.Name) {
		return nil
	}
	if err != nil {
		return a.failed("look at network "+name, err)
	}
	for id, c := range n.Containers {
		if err := a.api.NetworkDisconnect(ctx, name, id, true); err != nil && !errdefs.IsNotFound(err) {
			return a.failed("take container "+c.Name+" out of network "+name, err)
		}
	}
	return a.removeNetwork(ctx, name)
}

// putBackData undoes an upgrade to another data format: everything is removed and made anew from
// the backup that the upgrade began with.
func (a *application) putBackData(ctx context.Context, why error) (parts []string, err error) {
	ctx = context.WithoutCancel(ctx)
	for _, x := range a.open {
		parts = append(parts, x.part)
	}
	a.open, a.cleared = nil, nil
	if err := errors.Join(a.removeIsolated(ctx), a.restoreSaved(ctx)); err != nil {
		return parts, errors.Join(why, spec.Errorf(spec.Unavailable, "and cannot put back what was there: %w", err).
			WithHint("it is in the backup %s: millwright restore", a.pass.saved.Where()))
	}
	e := spec.Errorf(spec.KindOf(why), "%w\nwhat was there was put back, with its data", why)
	var cause *spec.Error
	if errors.As(why, &cause) {
		e.Hint = cause.Hint
	}
	return parts, e
}

func (a *application) restoreSaved(ctx context.Context) error {
	p := a.pass
	if err := a.tagBack(ctx, p.actual.Spec, a.migratesFrom); err != nil {
		return err
	}
	archive, err := a.openSaved(ctx, *p.saved)
	if err != nil {
		return err
	}
	r := restoration{Engine: a.Engine, archive: archive, options: RestoreOptions{
		Instance: spec.Instance{Name: p.Instance.Name, AllowDowngrade: true}, Version: p.program,
		Defaults: spec.InstanceDefaults{Version: p.program, Timezone: p.Instance.Timezone},
	}}
	if err = r.mark(ctx, a.migratesFrom); err == nil {
		err = r.clear(ctx)
	}
	if err == nil {
		_, err = r.fillAndStart(ctx, archive, a.migratesFrom)
	}
	return errors.Join(err, archive.Close())
}

// tagBack gives the image that ran its name back where another one has it now.
func (e *Engine) tagBack(ctx context.Context, ran *spec.Instance, id string) error {
	if ran == nil {
		return nil
	}
	reference := ran.ImageReference()
	if err := e.api.ImageTag(ctx, id, reference); err != nil {
		return e.failed("give the image that ran its name "+reference+" back", err)
	}
	return nil
}
