package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// deploymentApply brings a surveyed instance up, and applies to it what is declared on it.
type deploymentApply struct {
	application // its client is set once the instance runs
	on          *deployment
	shown       *survey
	whole       plan.Plan
	reviewed    bool // by plan --out: another plan than that is refused
}

// deploy surveys, shows, asks and applies. A reviewed plan is refused if it is no longer the
// one that is true.
func deploy(ctx context.Context, s *streams, a application, in *input, reviewed *plan.Plan) error {
	d, err := openDeployment(ctx, s, a.global, in)
	if err != nil {
		return err
	}
	defer d.close()
	x := deploymentApply{application: a, on: d, reviewed: reviewed != nil}
	if x.shown, err = d.survey(ctx); err != nil {
		return err
	}
	if x.whole, err = x.shown.whole(); err != nil {
		return err
	}
	if reviewed != nil && reviewed.Digest != x.whole.Digest {
		return errors.Join(
			spec.Errorf(spec.Conflict, "cannot apply the reviewed plan: the instance, or what is on it, is no longer what it was made for").
				WithHint("make a new plan and have it reviewed"),
			x.showMoved(x.whole))
	}
	return x.run(ctx)
}

func (x *deploymentApply) run(ctx context.Context) error {
	idle := x.whole.Empty() && (x.consent.wait == "" || x.shown.basis == basisNone)
	if err := x.showBefore(x.whole, idle); err != nil {
		return err
	}
	if err := x.shown.possible(); err != nil {
		return err
	}
	if idle {
		_, err := x.bringUp(ctx)
		return err
	}
	if err := x.agreed(ctx, x.whole, x.on.request.AllowUnsupported); err != nil {
		return err
	}
	outcome, err := x.bringUp(ctx)
	if err != nil || x.shown.basis == basisNone {
		return errors.Join(err, x.finish(outcome.Plan, skipped(x.shown.rest, err)))
	}
	rest, err := x.applyRest(ctx, outcome)
	return errors.Join(err, x.finish(outcome.Plan, rest))
}

// bringUp applies the instance's part, and has the context file say how it is reached.
func (x *deploymentApply) bringUp(ctx context.Context) (deployer.Outcome, error) {
	pass := x.shown.pass
	if pass.Plan.Empty() {
		return x.on.deployer.Settled(ctx, pass)
	}
	outcome, err := x.on.deployer.Apply(ctx, pass, x.progress)
	if err == nil && outcome.URL != "" {
		x.streams.note("Instance %q is at %s (context %q).\n", pass.Instance.Name, outcome.URL, outcome.Context)
		if outcome.AdminPasswordFile != "" && pass.New() {
			x.streams.note("The admin's password is in %s.\n", outcome.AdminPasswordFile)
		}
	}
	return outcome, err
}

// progress tells each step of the instance as it is done: they may take long.
func (x *deploymentApply) progress(step plan.Step) {
	if x.output.format == "text" {
		x.printStep(step)
	}
}

// applyRest applies the roles, users and services to the instance that now runs. What it
// returns has their results, also with an error.
func (x *deploymentApply) applyRest(ctx context.Context, outcome deployer.Outcome) (plan.Plan, error) {
	none := skipped(x.shown.rest, errInterrupted)
	if outcome.URL == "" {
		return none, spec.Errorf(spec.Unavailable, "cannot reach instance %q: it has not said how", x.shown.pass.Instance.Name).
			WithHint("see `docker logs %s-%s-1`, then apply again", x.shown.pass.Instance.Name, spec.PartControl)
	}
	c, err := client.New(outcome.Settings(), version, x.streams.logger(x.global, levelWarn))
	if err != nil {
		return none, err
	}
	defer c.Close()
	x.client = c
	p := x.shown.rest
	if x.shown.basis != basisRunning {
		if p, err = x.again(ctx); err != nil && p.Empty() {
			return none, err
		}
		if err != nil {
			return skipped(p, err), err
		}
	}
	if p.Empty() && x.consent.wait == "" {
		p.Applied = true
		return p, nil
	}
	done, moved, err := x.send(ctx, x.on.request, p)
	if moved != nil && x.output.format == "text" {
		err = errors.Join(err, x.showMoved(*moved))
	}
	if done == nil {
		return skipped(p, err), err
	}
	return *done, err
}

// again plans the rest on the instance that was not there, or did not run, when it was planned
// first. On one that held nothing the rest is created, whatever its build makes of it. On one
// that turns out to hold other things the new plan is shown and asked for again.
func (x *deploymentApply) again(ctx context.Context) (plan.Plan, error) {
	answer, err := x.client.Plan(ctx, x.on.request)
	if err != nil {
		return plan.Plan{}, err
	}
	p := *answer
	if p.Digest == x.shown.rest.Digest || p.Empty() {
		return p, nil
	}
	if x.reviewed {
		return p, spec.Errorf(spec.Conflict, "cannot apply the rest of the reviewed plan: the instance runs now, and holds other things than were known").
			WithHint("make a new plan and have it reviewed")
	}
	if x.shown.basis == basisEmpty {
		return p, x.permitted(p, x.on.request.AllowUnsupported)
	}
	x.streams.note("The instance holds something already. On it, the plan is:\n")
	if x.output.format == "text" {
		if err := x.show(p); err != nil {
			return p, err
		}
	}
	if x.consent.yes {
		if err := x.within(p); err != nil {
			return p, err
		}
	}
	return p, x.agreed(ctx, p, x.on.request.AllowUnsupported)
}

// within refuses what --yes was not said to: a plan that deletes, or disturbs more than the one
// that was shown, or than --max-disturbance where that is given.
func (x *deploymentApply) within(p plan.Plan) error {
	limit := plan.Disturbance(x.limits.maxDisturbance)
	if limit == "" {
		limit = x.whole.MaxDisturbance()
	}
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Symbol == plan.Delete || s.Disturbs.Exceeds(limit) })
	if i < 0 {
		return nil
	}
	what := fmt.Sprintf("disturbs the %s", p.Steps[i].Disturbs)
	if p.Steps[i].Symbol == plan.Delete {
		what = "deletes something"
	}
	return &refusedError{spec.Errorf(spec.Conflict, "refused: on the instance that now runs, %s %s, which --yes was not said to", p.Steps[i].Address, what).
		WithHint("the instance is up; look at `millwright plan`, then apply again")}
}

// finish says what became of the whole. A container that was changed is no longer ill as it was.
func (x *deploymentApply) finish(instance, rest plan.Plan) error {
	instance.Deviations = slices.DeleteFunc(slices.Clone(instance.Deviations), func(d spec.Deviation) bool {
		return slices.ContainsFunc(instance.Steps, func(s plan.Step) bool { return s.Address == d.Address })
	})
	if x.output.format != "text" {
		p, err := joined(instance, rest, x.shown.note)
		return errors.Join(err, x.show(p))
	}
	for _, step := range rest.Steps {
		x.printStep(step)
	}
	p, err := joined(instance, rest, nil)
	return errors.Join(err, x.printSummary(p))
}

// skipped is a plan of which nothing was done, if there was a failure.
func skipped(p plan.Plan, failure error) plan.Plan {
	if failure == nil {
		p.Applied = true
		return p
	}
	p.Steps = slices.Clone(p.Steps)
	for i := range p.Steps {
		p.Steps[i].Result = plan.Skipped
	}
	return p
}
