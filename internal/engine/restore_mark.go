package engine

import (
	"cmp"
	"context"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// As long as the volumes of an instance do not hold what a backup held, a container that is never
// started says so. Where whoever restores it is killed it stays: the next pass must neither start
// the instance on half of its data nor make an empty one in its place.
const (
	roleRestore   = "restore"
	labelRestored = "io.millwright.restored" // which backup
)

// codeRestore is the code of the diagnostic that a restore was broken off.
const codeRestore = "restore"

func markName(instance string) string { return instance + "-restore" }

// mark says that the volumes are not whole from here on. One that a restore left which was broken
// off counts for this one too; one of a process that is at work is a conflict.
func (r *restoration) mark(ctx context.Context, image string) error {
	name := markName(r.options.Instance.Name)
	config := &container.Config{Image: image, Cmd: []string{"version"}, Labels: map[string]string{
		render.LabelInstance: r.options.Instance.Name, labelRole: roleRestore, labelMaker: r.by, labelRestored: r.archive.name,
	}}
	for range 2 {
		_, err := r.api.ContainerCreate(ctx, config, &container.HostConfig{NetworkMode: "none"}, nil, nil, name)
		if err == nil {
			return nil
		}
		if !errdefs.IsConflict(err) {
			return r.failed("make container "+name, err)
		}
		if done, err := r.takeMark(ctx, name); done || err != nil {
			return err
		}
	}
	return underWay(r.options.Instance.Name, "")
}

// takeMark removes the mark of a process that is not known to be at work; done where it is ours.
func (r *restoration) takeMark(ctx context.Context, name string) (done bool, err error) {
	have, err := r.api.ContainerInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, r.failed("look at container "+name, err)
	}
	switch by := have.Config.Labels[labelMaker]; {
	case by == r.by:
		return true, nil
	case own(by) && !ended(by):
		return false, underWay(r.options.Instance.Name, by)
	}
	return false, r.removeContainer(ctx, have.ID)
}

// unmark says that the volumes are whole, or that there are none.
func (r *restoration) unmark(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return r.removeContainer(ctx, markName(r.options.Instance.Name))
}

// meetMark notes what a restore says of itself; self is this process. Only state absent, with the volumes, removes it.
func (o *observation) meetMark(id, name, self string, labels map[string]string) {
	if by := labels[labelMaker]; by != self && own(by) && !ended(by) {
		o.backup.busy = by
	}
	o.restoring = cmp.Or(labels[labelRestored], "-")
	o.Leftovers = append(o.Leftovers, plan.Leftover{ID: id, Name: name, Cause: "a restore that has not ended left it behind", Held: true})
}

// brokenOff refuses to start an instance whose volumes a restore has left half filled, or empty.
func (o *observation) brokenOff(state spec.State) []spec.Diagnostic {
	if o.restoring == "" || o.backup.busy != "" || state == spec.Absent {
		return nil
	}
	return []spec.Diagnostic{failure(codeRestore, "the backup "+o.restoring+" was being restored, and that was broken off: the instance's data are not whole",
		"restore it once more: millwright restore --replace; `millwright backup --list` shows what was there before. Or remove the instance: state absent, with delete_volumes")}
}
