package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

const (
	lastLines      = 20
	healthPause    = 200 * time.Millisecond // between two questions
	crashes        = 3                      // restarts after which a container is given up
	putBackTimeout = 2 * time.Minute        // for each container
	stopSlack      = 5 * time.Second        // that the engine takes to kill one that does not end in time
)

func (e *Engine) removeContainer(ctx context.Context, id string) error {
	err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return e.failed("remove container "+id, err)
	}
	return nil
}

// stop lets a container finish what it does. If ctx ends meanwhile it returns when the container
// has ended all the same: the engine does not give up, and one that is started again before would
// be stopped by that.
func (e *Engine) stop(ctx context.Context, c plan.Container) error {
	if err := e.unpause(ctx, c.ID); err != nil { // else it could not end by itself
		return err
	}
	if err := ctx.Err(); err != nil {
		return e.failed("stop container "+c.Name, err)
	}
	err := e.api.ContainerStop(ctx, c.ID, container.StopOptions{})
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, e.awaitEnd(ctx, c))
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return e.failed("stop container "+c.Name, err)
	}
	return nil
}

// awaitEnd waits until a container that is being stopped does not run any more, whatever became
// of ctx. One that goes on running was not told to stop.
func (e *Engine) awaitEnd(ctx context.Context, c plan.Container) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(c.StopSeconds)*time.Second+stopSlack)
	defer cancel()
	ended, failed := e.api.ContainerWait(ctx, c.ID, container.WaitConditionNotRunning)
	select {
	case <-ended:
		return nil
	case err := <-failed:
		return err
	}
}

// restart does not leave a container stopped where it is broken off.
func (a *application) restart(ctx context.Context, c plan.Container) error {
	err := a.stop(ctx, c)
	if err == nil {
		err = a.startAndWait(ctx, c.ID, c.Name)
	}
	if ctx.Err() == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putBackTimeout)
	defer cancel()
	if failed := a.api.ContainerStart(ctx, c.ID, container.StartOptions{}); failed != nil { // one that runs is none
		err = errors.Join(err, a.failed("start container "+c.Name, failed))
	}
	return err
}

func endpoint(c plan.Container) *network.EndpointSettings {
	return &network.EndpointSettings{Aliases: aliases(c)}
}

// startAndWait starts a container and, unless waiting was not wanted, returns when it is healthy. The
// error of one that does not become so ends with its last lines.
func (a *application) startAndWait(ctx context.Context, id, name string) error {
	if err := a.unpause(ctx, id); err != nil {
		return err
	}
	if err := a.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return a.failed("start container "+name, err)
	}
	if w := a.pass.Instance.Wait; w != nil && !*w {
		return nil
	}
	patience := time.Duration(a.pass.Instance.WaitTimeout) * time.Second
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(healthPause)
	defer tick.Stop()
	for {
		healthy, err := a.healthy(ctx, id, name)
		if healthy || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			if err := whole.Err(); err != nil {
				return a.unhealthy(ctx, id, name, "waiting for it was broken off")
			}
			return a.unhealthy(ctx, id, name, "it is not healthy after "+patience.String())
		case <-tick.C:
		}
	}
}

// unpause continues a container that is paused; one that is not there is no error.
func (e *Engine) unpause(ctx context.Context, id string) error {
	c, err := e.api.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return e.failed("look at container "+id, err)
	}
	if !c.State.Paused {
		return nil
	}
	if err := e.api.ContainerUnpause(ctx, id); err != nil {
		return e.failed("continue the paused container "+c.Name, err)
	}
	return nil
}

// healthy asks the container by its own health check, sooner than the engine does.
func (a *application) healthy(ctx context.Context, id, name string) (bool, error) {
	c, err := a.api.ContainerInspect(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, a.failed("look at container "+name, err)
	}
	s := c.State
	switch {
	case c.RestartCount >= crashes && s.Restarting || s.Status == "exited" || s.Status == "dead":
		return false, a.unhealthy(ctx, id, name, "it ended with exit code "+strconv.Itoa(s.ExitCode))
	case !s.Running || s.Restarting:
		return false, nil
	case s.Health == nil || s.Health.Status == container.Healthy:
		return true, nil
	}
	if c.Config.Healthcheck != nil && len(c.Config.Healthcheck.Test) > 1 && a.ask(ctx, id, c.Config.Healthcheck.Test[1:]) {
		return true, nil
	}
	if unwell(s) { // and what it was asked just now says so too
		return false, a.unhealthy(ctx, id, name, "it says that it is not healthy")
	}
	return false, nil
}

// ask runs the health check in the container. What goes wrong with asking is no answer yet.
func (a *application) ask(ctx context.Context, id string, command []string) bool {
	made, err := a.api.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		a.log.Debug("cannot ask a container for its health", "container", id, "error", err)
		return false
	}
	stream, err := a.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		a.log.Debug("cannot ask a container for its health", "container", id, "error", err)
		return false
	}
	end := context.AfterFunc(ctx, stream.Close)
	defer end()
	defer stream.Close()
	answer, err := io.ReadAll(io.LimitReader(stream.Reader, 1<<16)) // until it ends
	if err != nil {
		return false
	}
	result, err := a.api.ContainerExecInspect(ctx, made.ID)
	if err != nil || result.Running || result.ExitCode != 0 {
		a.log.Debug("a container is not healthy yet", "container", id, "answer", string(answer))
		return false
	}
	return true
}

// unhealthy is the error of a container that does not run as it should, with its last lines.
func (a *application) unhealthy(ctx context.Context, id, name, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	e := spec.Errorf(spec.Unavailable, "cannot bring up container %s: %s", name, why)
	lines, err := a.tail(ctx, id)
	switch {
	case err != nil:
		e.Message += fmt.Sprintf("; and its log cannot be read: %s", err)
	case len(lines) > 0:
		e.Message += fmt.Sprintf("; its last lines:\n  %s", strings.Join(lines, "\n  "))
	default:
		e.Message += "; it has logged nothing"
	}
	return e
}

// tail reads the last lines of a container's log.
func (e *Engine) tail(ctx context.Context, id string) ([]string, error) {
	log, err := e.api.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lastLines)})
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // it was only read
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, io.LimitReader(log, 1<<20)); err != nil {
		return nil, err
	}
	var lines []string
	for s := bufio.NewScanner(&text); s.Scan(); {
		lines = append(lines, s.Text())
	}
	if len(lines) > lastLines {
		lines = lines[len(lines)-lastLines:]
	}
	return lines, nil
}

// failed gives the engine's errors a kind and says what was being done.
func (e *Engine) failed(what string, err error) error {
	kind := spec.Unavailable
	switch {
	case errdefs.IsConflict(err):
		kind = spec.Conflict
	case errdefs.IsNotFound(err):
		kind = spec.NotFound
	case errdefs.IsInvalidArgument(err):
		kind = spec.Invalid
	}
	return spec.Errorf(kind, "cannot %s: %w", what, err)
}
