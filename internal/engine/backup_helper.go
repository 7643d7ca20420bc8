package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// Volumes are read and written through a container that mounts them and is never started. Its
// label says which process made it; the container of that name is also what keeps two from
// backing up, or restoring, one instance at the same time.
const (
	roleBackup = "backup"
	labelMaker = "io.millwright.maker"
	mountsDir  = "/volumes"
)

// lockName is the container whose maker alone may hold or fill the instance.
func lockName(instance string) string { return instance + "-backup" }

// maker names this process, for others that meet what it has made.
func maker() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return strconv.Itoa(os.Getpid()) + "@" + host
}

// own reports whether a maker is of this host.
func own(maker string) bool {
	_, host, _ := strings.Cut(maker, "@")
	name, err := os.Hostname()
	return err == nil && host == name
}

// ended reports whether the process that a maker names is known to have ended: one of another
// host is not.
func ended(maker string) bool {
	pid, _, _ := strings.Cut(maker, "@")
	number, err := strconv.Atoi(pid)
	if err != nil || !own(maker) {
		return false
	}
	process, err := os.FindProcess(number)
	if err != nil {
		return true
	}
	defer process.Release() //nolint:errcheck // it holds nothing that matters
	if runtime.GOOS == "windows" {
		return false
	}
	err = process.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}

// backupSigns are what backing up, or restoring, an instance shows of itself.
type backupSigns struct {
	busy      string // who does so now, on this host; empty: nobody
	abandoned string // whose helper is left behind, half-way
}

// met notes a helper's maker; false: the helper is one that is left over.
func (s *backupSigns) met(maker string) bool {
	if own(maker) && !ended(maker) {
		s.busy = maker
		return true
	}
	s.abandoned = maker
	return false
}

// statusPaused is the status of a container that was paused.
const statusPaused = "paused"

// explainBackup has what a backup has paused, and what it has left behind, say so.
func (o *observation) explainBackup() {
	by := cmp.Or(o.backup.busy, o.backup.abandoned)
	if by == "" {
		return
	}
	for i := range o.Containers {
		if o.Containers[i].Status == statusPaused {
			o.Containers[i].Status = statusPaused + " by a backup that has not ended (process " + by + ")"
		}
	}
	for i := range o.Leftovers {
		if strings.HasPrefix(o.Leftovers[i].Name, lockName(o.Name)) {
			o.Leftovers[i].Cause = "a backup that has not ended left it behind (process " + by + ")"
		}
	}
}

// underWay refuses to change what is being backed up or restored.
func (s *backupSigns) underWay(p *Pass) []spec.Diagnostic {
	if s.busy == "" || p.Plan.Empty() {
		return nil
	}
	return []spec.Diagnostic{failure("backup", "process "+s.busy+" is backing the instance up, or restoring it", "wait for it")}
}

// lock makes the instance's own helper, which mounts the volumes below mountsDir by their names
// without the instance's. Old is true where it takes the place of one whose process has ended.
func (e *Engine) lock(ctx context.Context, instance, image string, volumes []string, write bool) (id string, old bool, err error) {
	name := lockName(instance)
	for range 2 {
		id, err = e.makeHelper(ctx, instance, name, image, mountsOf(instance, volumes, write))
		if !errdefs.IsConflict(err) {
			return id, old, err
		}
		have, inspectErr := e.api.ContainerInspect(ctx, name)
		switch {
		case errdefs.IsNotFound(inspectErr):
			continue
		case inspectErr != nil:
			return "", false, e.failed("look at container "+name, inspectErr)
		case !ended(have.Config.Labels[labelMaker]):
			return "", false, underWay(instance, have.Config.Labels[labelMaker])
		}
		old = true
		if err := e.removeContainer(ctx, have.ID); err != nil {
			return "", false, err
		}
	}
	return "", false, underWay(instance, "somebody")
}

func underWay(instance, maker string) error {
	return spec.Errorf(spec.Conflict, "cannot touch the volumes of instance %q: process %s is backing it up or restoring it", instance, cmp.Or(maker, "?")).
		WithHint("wait for it; if it has ended, remove what it left: docker rm %s", lockName(instance))
}

func mountsOf(instance string, volumes []string, write bool) []mount.Mount {
	var mounts []mount.Mount
	for _, v := range volumes {
		mounts = append(mounts, mount.Mount{
			Type: mount.TypeVolume, Source: v, Target: mountsDir + "/" + shortVolume(instance, v), ReadOnly: !write,
		})
	}
	return mounts
}

// shortVolume is a volume's name without the instance's.
func shortVolume(instance, volume string) string { return strings.TrimPrefix(volume, instance+"_") }

// storeHelper makes a helper that mounts the volume of the backups. Several may be.
func (e *Engine) storeHelper(ctx context.Context, instance, image string) (string, error) {
	name := fmt.Sprintf("%s-%s", lockName(instance), strings.ToLower(rand.Text()[:8]))
	return e.makeHelper(ctx, instance, name, image, []mount.Mount{
		{Type: mount.TypeVolume, Source: backupVolume(instance), Target: mountsDir},
	})
}

// makeHelper returns the engine's own error where the name is taken.
func (e *Engine) makeHelper(ctx context.Context, instance, name, image string, mounts []mount.Mount) (string, error) {
	config := &container.Config{Image: image, Cmd: []string{"version"}, Labels: map[string]string{
		render.LabelInstance: instance, labelRole: roleBackup, labelMaker: e.by,
	}}
	made, err := e.api.ContainerCreate(ctx, config, &container.HostConfig{NetworkMode: "none", Mounts: mounts}, nil, nil, name)
	if errdefs.IsConflict(err) {
		return "", err
	}
	if err != nil {
		return "", e.failed("make container "+name, err)
	}
	return made.ID, nil
}

// dropHelper removes a helper, whatever became of ctx.
func (e *Engine) dropHelper(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return e.removeContainer(ctx, id)
}
