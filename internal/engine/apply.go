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
	a := &application{Engine: e, pass: p, files: files}
	err = a.walk(ctx, done.Steps, report)
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
}

// walk does the steps in their order, but the instance's own, the first, last.
func (a *application) walk(ctx context.Context, steps []plan.Step, report func(plan.Step)) error {
	var failure error
	order := make([]*plan.Step, 0, len(steps))
	own := plan.InstanceAddress(a.pass.Instance.Name)
	for i := range steps {
		order = append(order, &steps[i])
	}
	if len(order) > 0 && order[0].Address == own {
		order = append(order[1:], order[0])
	}
	for _, s := range order {
		s.Result = plan.Skipped
		if failure == nil {
			s.Result = plan.Done
			if failure = a.do(ctx, *s); failure != nil {
				s.Result, s.Error = plan.Failed, failure.Error()
			}
		}
		if report != nil {
			report(*s)
		}
	}
	return failure
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
		return a.removeContainer(ctx, name)
	case plan.KindImage:
		return a.fetchImage(ctx, a.pass)
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

func (a *application) doNetwork(ctx context.Context, symbol plan.Symbol, name string) error {
	if symbol == plan.Create {
		return a.createNetwork(ctx, a.pass.Instance.Name, *a.pass.desired.Network)
	}
	if symbol == plan.Replace {
		for _, c := range slices.Backward(a.pass.actual.Containers) {
			if err := a.stop(ctx, c); err != nil {
				return err
			}
			if err := a.api.NetworkDisconnect(ctx, name, c.ID, true); err != nil && !errdefs.IsNotFound(err) && c.Network == name {
				return a.failed("take container "+c.Name+" out of network "+name, err)
			}
		}
	}
	if err := a.api.NetworkRemove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return a.failed("remove network "+name, err)
	}
	if symbol == plan.Delete {
		return nil
	}
	if err := a.createNetwork(ctx, a.pass.Instance.Name, *a.pass.desired.Network); err != nil {
		return err
	}
	for _, c := range a.pass.actual.Containers { // so that they can be put back
		if err := a.api.NetworkConnect(ctx, name, c.ID, endpoint(c)); err != nil {
			return a.failed("put container "+c.Name+" into network "+name, err)
		}
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
		if err := a.stop(ctx, *have); err != nil {
			return err
		}
		return a.removeContainer(ctx, have.ID)
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
	if slices.ContainsFunc(s.Changes, func(c plan.Change) bool { return c.Path != "running" }) {
		answer, err := a.api.ContainerUpdate(ctx, have.ID, container.UpdateConfig{
			Resources: resources(*want), RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(want.Restart)},
		})
		if err != nil {
			return a.failed("change the limits of container "+have.Name, err)
		}
		for _, w := range answer.Warnings {
			a.log.Warn("the engine warns of a container", "container", have.Name, "warning", w)
		}
	}
	if have.Running {
		return nil
	}
	return a.startAndWait(ctx, have.ID, have.Name)
}

func mapsKeys(m map[string]string) func(func(string) bool) { return maps.Keys(m) }
