package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// Apply carries out the pass's plan, step by step, and stops at the first failure; what comes
// after it is skipped. The returned plan has each step's result, and report, if not nil, gets
// each as soon as it is known. The instance's own step is done last: it keeps what was applied,
// so that a pass that failed is not taken for one that was done. A plan with a diagnostic of
// severity error is refused before anything is touched.
func (e *Engine) Apply(ctx context.Context, p *Pass, report func(plan.Step)) (plan.Plan, error) {
	done := p.Plan
	done.Steps = slices.Clone(p.Plan.Steps)
	if err := refuse(p.Plan.Diagnostics); err != nil {
		return done, err
	}
	files, err := stage(p)
	if err != nil {
		return done, err
	}
	a := &application{Engine: e, pass: p, files: files, settled: map[string]bool{}}
	err = a.walk(ctx, done.Steps, report)
	if err == nil {
		err = a.removeIsolated(ctx)
	}
	done.Applied = err == nil
	return done, errors.Join(err, files.abort())
}

func refuse(found []spec.Diagnostic) error {
	for _, d := range found {
		if d.Severity == spec.SeverityError {
			e := spec.Errorf(spec.Conflict, "%s", d.Message)
			e.Hint = d.Hint
			return e
		}
	}
	return nil
}

// application is one walk over a plan.
type application struct {
	*Engine
	pass  *Pass
	files staged

	open    []exchange       // may yet have to be put back
	cleared []plan.Container // stopped before their turn
	settled map[string]bool  // the parts that are as they shall be

	migratesFrom string // the image before, where the new one keeps its data in another format
	touched      bool   // and that has been started on it
}

// walk does the steps in their order, but the instance's own, the first, last. Where one fails,
// what is not settled is put back; steps that this undoes are reported once more, as failed.
func (a *application) walk(ctx context.Context, steps []plan.Step, report func(plan.Step)) error {
	var failure error
	order := make([]*plan.Step, 0, len(steps))
	for i := range steps {
		order = append(order, &steps[i])
	}
	if len(order) > 0 && order[0].Address == plan.InstanceAddress(a.pass.Instance.Name) {
		order = append(order[1:], order[0])
	}
	for i, s := range order {
		s.Result = plan.Skipped
		if failure == nil {
			s.Result = plan.Done
			if failure = a.do(ctx, *s); failure != nil {
				failure = a.undo(ctx, failure, order[:i], report)
				s.Result, s.Error = plan.Failed, failure.Error()
			}
		}
		if report != nil {
			report(*s)
		}
	}
	return failure
}

// undo puts back what is not settled, and says so of the steps that were done.
func (a *application) undo(ctx context.Context, why error, done []*plan.Step, report func(plan.Step)) error {
	parts, err := a.putBack(ctx, why)
	for _, s := range done {
		kind, name := childOf(s.Address)
		if kind != plan.KindContainer || !slices.Contains(parts, name) {
			continue
		}
		s.Result, s.Error = plan.Failed, "it was put back: a later step failed that it hangs together with"
		if report != nil {
			report(*s)
		}
	}
	return err
}

// childOf splits "instance/millwright/container/broker" into the child's kind and name, empty
// for the instance itself.
func childOf(address string) (kind, name string) {
	parts := strings.SplitN(address, "/", 4)
	switch len(parts) {
	case 4:
		return parts[2], parts[3]
	case 3:
		return parts[2], ""
	}
	return "", ""
}

func (a *application) do(ctx context.Context, s plan.Step) error {
	if err := ctx.Err(); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot go on with %s: %w", s.Address, err).
			WithHint("what is marked done stays done; apply again to go on")
	}
	kind, name := childOf(s.Address)
	switch kind {
	case plan.KindLeftover:
		return a.removeLeftover(ctx, name)
	case plan.KindImage:
		return a.fetchImage(ctx, a.pass)
	case plan.KindBackup:
		return a.doBackup(ctx)
	case plan.KindNetwork:
		return a.doNetwork(ctx, s.Symbol, name)
	case plan.KindVolume:
		return a.doVolume(ctx, s.Symbol, name)
	case plan.KindSecrets:
		return a.fillSecrets(ctx, a.pass)
	case plan.KindFile:
		if s.Symbol == plan.Delete {
			return removeFile(pathOf(a.pass, name))
		}
		return a.files.commit(a.pass, name)
	case plan.KindContainer:
		return a.doContainer(ctx, s, name)
	}
	return a.doRecord(ctx, s.Symbol)
}

// removeLeftover removes the container that had the name when the pass looked: another pass may
// have given it to one that it needs.
func (a *application) removeLeftover(ctx context.Context, name string) error {
	for _, l := range a.pass.actual.Leftovers {
		if l.Name == name {
			return a.removeContainer(ctx, l.ID)
		}
	}
	return spec.Errorf(spec.Internal, "cannot remove the container %s, which was not there", name)
}

func (a *application) doNetwork(ctx context.Context, symbol plan.Symbol, name string) error {
	switch symbol {
	case plan.Create:
		return a.createNetwork(ctx, a.pass.Instance.Name, *a.pass.desired.Network)
	case plan.Replace:
		return a.replaceNetwork(ctx, *a.pass.desired.Network, *a.pass.actual.Network)
	}
	return a.removeNetwork(ctx, name)
}

func (e *Engine) removeNetwork(ctx context.Context, name string) error {
	if err := e.api.NetworkRemove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return e.failed("remove network "+name, err)
	}
	return nil
}

// replaceNetwork stops all containers, which are all replaced afterwards, and puts them into a
// network of another mask, so that they can be put back. If that cannot be had they are put
// back into one of the old mask.
func (a *application) replaceNetwork(ctx context.Context, want, have plan.Network) error {
	for _, c := range slices.Backward(a.pass.actual.Containers) {
		if c.Running {
			if err := a.clear(ctx, c); err != nil {
				return err
			}
		}
	}
	err := a.moveTo(ctx, want)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putBackTimeout)
	defer cancel()
	return errors.Join(err, a.moveTo(ctx, have))
}

// moveTo makes the network anew and puts all containers, which are stopped, into it.
func (a *application) moveTo(ctx context.Context, n plan.Network) error {
	for _, c := range a.pass.actual.Containers {
		if err := a.leave(ctx, n.Name, c); err != nil {
			return err
		}
	}
	if err := a.removeNetwork(ctx, n.Name); err != nil {
		return err
	}
	if err := a.createNetwork(ctx, a.pass.Instance.Name, n); err != nil {
		return err
	}
	for _, c := range a.pass.actual.Containers {
		if err := a.enter(ctx, n.Name, c.ID, c); err != nil {
			return err
		}
	}
	return nil
}

// leave takes a container out of a network; one that is not in it is no error.
func (a *application) leave(ctx context.Context, network string, c plan.Container) error {
	now, err := a.api.ContainerInspect(ctx, c.ID)
	if err != nil {
		return a.failed("look at container "+c.Name, err)
	}
	if _, in := now.NetworkSettings.Networks[network]; !in {
		return nil
	}
	if err := a.api.NetworkDisconnect(ctx, network, c.ID, true); err != nil && !errdefs.IsNotFound(err) {
		return a.failed("take container "+c.Name+" out of network "+network, err)
	}
	return nil
}

// enter puts the container of an id into a network, under the names of c.
func (a *application) enter(ctx context.Context, network, id string, c plan.Container) error {
	if err := a.api.NetworkConnect(ctx, network, id, endpoint(c)); err != nil {
		return a.failed("put container "+c.Name+" into network "+network, err)
	}
	return nil
}

func (a *application) doVolume(ctx context.Context, symbol plan.Symbol, name string) error {
	if symbol == plan.Create {
		return a.createVolume(ctx, a.pass.Instance.Name, name)
	}
	if name == render.SecretsVolume(a.pass.Instance.Name) {
		if err := a.removeContainer(ctx, recordName(a.pass.Instance.Name)); err != nil {
			return err
		}
	}
	if err := a.api.VolumeRemove(ctx, name, false); err != nil && !errdefs.IsNotFound(err) {
		return a.failed("remove volume "+name, err)
	}
	return nil
}

func (a *application) doRecord(ctx context.Context, symbol plan.Symbol) error {
	if symbol == plan.Delete {
		return a.removeContainer(ctx, recordName(a.pass.Instance.Name))
	}
	return a.keepRecord(ctx, a.pass)
}

// doContainer finds the part as it is and as it shall be.
func (a *application) doContainer(ctx context.Context, s plan.Step, part string) error {
	byPart := func(c plan.Container) bool { return c.Part == part }
	var want, have *plan.Container
	if i := slices.IndexFunc(a.pass.desired.Containers, byPart); i >= 0 {
		want = &a.pass.desired.Containers[i]
	}
	if i := slices.IndexFunc(a.pass.actual.Containers, byPart); i >= 0 {
		have = &a.pass.actual.Containers[i]
	}
	switch {
	case s.Symbol == plan.Create && want != nil:
		return a.create(ctx, *want)
	case s.Symbol == plan.Replace && want != nil && have != nil:
		return a.replace(ctx, *want, *have)
	case s.Symbol == plan.Delete && have != nil:
		if err := errors.Join(a.stop(ctx, *have), a.removeContainer(ctx, have.ID)); err != nil {
			return err
		}
		return a.arrived(ctx, part)
	case s.Symbol == plan.Update && have != nil:
		return a.update(ctx, s, want, *have)
	}
	return spec.Errorf(spec.Internal, "cannot do the step %s %s", s.Symbol, s.Address)
}

// update changes what a container can change without being replaced.
func (a *application) update(ctx context.Context, s plan.Step, want *plan.Container, have plan.Container) error {
	switch {
	case a.pass.Instance.State == spec.Stopped:
		return a.stop(ctx, have)
	case a.pass.Instance.State == spec.Restarted:
		return a.restart(ctx, have)
	case want == nil:
		return spec.Errorf(spec.Internal, "cannot do the step %s %s", s.Symbol, s.Address)
	}
	if err := a.adjust(ctx, s, *want, have); err != nil {
		return err
	}
	if have.Running && have.Interrupted == "" {
		return nil
	}
	return a.finish(ctx, *want, have)
}

// adjust changes what the step says of a container that stays.
func (a *application) adjust(ctx context.Context, s plan.Step, want, have plan.Container) error {
	changes := func(paths ...string) bool {
		return slices.ContainsFunc(s.Changes, func(c plan.Change) bool { return slices.Contains(paths, c.Path) })
	}
	if changes(plan.PathName) {
		if err := a.rename(ctx, have.ID, want.Name); err != nil {
			return err
		}
	}
	if changes(plan.PathNetwork) && !a.staysIsolated(want) {
		if err := errors.Join(a.leave(ctx, want.Network, have), a.enter(ctx, want.Network, have.ID, want)); err != nil {
			return err
		}
	}
	if !changes(plan.PathMemory, plan.PathSwap, plan.PathCPUs, plan.PathPids, plan.PathRestart) {
		return nil
	}
	bounds := container.UpdateConfig{
		Resources: resources(want), RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(want.Restart)},
	}
	answer, err := a.api.ContainerUpdate(ctx, have.ID, bounds)
	if err != nil {
		return a.failed("change the limits of container "+have.Name, err)
	}
	for _, w := range answer.Warnings {
		a.log.Warn("the engine warns of a container", "container", have.Name, "warning", w)
	}
	return nil
}

func mapsKeys(m map[string]string) func(func(string) bool) { return maps.Keys(m) }
