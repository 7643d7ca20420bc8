package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// releaseTimeout bounds how long letting an instance go on may take after its backup failed, or
// was broken off.
const releaseTimeout = 2 * time.Minute

// hold keeps the containers of an instance from writing while its volumes are copied. What they
// have written until then is what a loss of power would leave, which every part starts from.
type hold struct {
	*Engine
	since time.Time
	held  []heldContainer // in the order in which they were held
}

// heldContainer is a container as it stands during the hold.
type heldContainer struct {
	plan.Container
	paused, stopped bool // by the hold, which puts that right again
	started         string
}

// hold pauses what runs: those that hear from others first, so that nobody has taken in what its
// sender's copy does not have. Where the engine cannot pause a container it is stopped. With
// takenOver those that are paused already are let go too at the end: a backup that ended half-way
// left them so. Call release, also after an error.
func (e *Engine) hold(ctx context.Context, containers []plan.Container, takenOver bool) (*hold, error) {
	h := &hold{Engine: e, since: time.Now()}
	for _, c := range slices.Backward(containers) { // control is the first
		if err := h.take(ctx, c, takenOver); err != nil {
			return h, err
		}
	}
	return h, nil
}

func (h *hold) take(ctx context.Context, c plan.Container, takenOver bool) error {
	now, err := h.api.ContainerInspect(ctx, c.ID)
	if err != nil {
		return h.failed("look at container "+c.Name, err)
	}
	x := heldContainer{Container: c, started: now.State.StartedAt}
	switch {
	case now.State.Paused:
		x.paused = takenOver
	case now.State.Running || now.State.Restarting:
		err := h.api.ContainerPause(ctx, c.ID)
		if err == nil {
			x.paused = true
			break
		}
		if ctx.Err() != nil { // it may have been paused all the same
			x.paused = true
			h.held = append(h.held, x)
			return h.failed("pause container "+c.Name, err)
		}
		h.log.Warn("cannot pause a container: it is stopped while it is backed up", "container", c.Name, "error", err)
		x.stopped = true
		if err := h.stop(ctx, c); err != nil { // it may have stopped all the same
			h.held = append(h.held, x)
			return err
		}
	}
	h.held = append(h.held, x)
	return nil
}

// still fails if anybody has let a container go on meanwhile: its files are then not of one moment.
func (h *hold) still(ctx context.Context) error {
	for _, c := range h.held {
		now, err := h.api.ContainerInspect(ctx, c.ID)
		if err != nil {
			return h.failed("look at container "+c.Name, err)
		}
		runs := now.State.Running && !now.State.Paused
		if runs || now.State.StartedAt != c.started {
			return spec.Errorf(spec.Conflict, "cannot use this backup: container %s was started or continued while it was made", c.Name).
				WithHint("make it again, while nothing else changes the instance")
		}
	}
	return nil
}

// release lets go on what the hold has halted, whatever became of ctx.
func (h *hold) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var failed error
	var names []string
	for _, c := range slices.Backward(h.held) {
		if err := h.letGo(ctx, c); err != nil {
			failed, names = errors.Join(failed, err), append(names, c.Name)
		}
	}
	h.held = nil
	if failed == nil {
		return nil
	}
	return spec.Errorf(spec.Unavailable, "cannot let the instance go on after its backup: %w", failed).
		WithHint("apply the instance, or: docker unpause %s", strings.Join(names, " "))
}

func (h *hold) letGo(ctx context.Context, c heldContainer) error {
	switch {
	case c.stopped:
		if err := h.api.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
			return h.failed("start container "+c.Name, err)
		}
	case c.paused:
		now, err := h.api.ContainerInspect(ctx, c.ID)
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err == nil && !now.State.Paused {
			return nil
		}
		if err == nil {
			err = h.api.ContainerUnpause(ctx, c.ID)
		}
		if err != nil {
			return h.failed("continue container "+c.Name, err)
		}
	}
	return nil
}
