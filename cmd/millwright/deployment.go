package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/gateway"
)

// deployment is the instance of a stack on its engine, and what the stack declares on it.
type deployment struct {
	streams  *streams
	global   *globalOptions
	deployer *deployer.Deployer
	instance spec.Instance
	request  plan.Request // of the roles, users and services; may name none
}

// openDeployment connects to the engine. Close it.
func openDeployment(ctx context.Context, s *streams, global *globalOptions, in *input) (*deployment, error) {
	for _, flag := range []struct{ name, value string }{
		{"--context", global.context}, {"--url", global.url}, {"--token", global.token}, {"--ca-path", global.caPath},
	} {
		if flag.value != "" {
			return nil, spec.Errorf(spec.Invalid, "cannot use %s with a stack that declares its instance: the engine says how that is reached", flag.name).
				WithHint("leave it out, or declare the instance in a file of its own")
		}
	}
	d, err := deployer.Open(ctx, deployer.Options{
		DockerHost: in.instance.DockerHost, Version: version, Getenv: s.getenv, Log: s.logger(global, levelWarn),
	})
	if err != nil {
		return nil, err
	}
	return &deployment{streams: s, global: global, deployer: d, instance: *in.instance, request: in.request}, nil
}

// close ends the connection; what it held is on the engine, so that a failure changes nothing.
func (d *deployment) close() {
	if err := d.deployer.Close(); err != nil {
		d.streams.logger(d.global, levelWarn).Warn("the connection to the engine did not close", "error", err)
	}
}

// basis is what the plan of roles, users and services was made against.
type basis int

const (
	basisNone    basis = iota // there is no such plan: nothing is declared, or the instance is taken away
	basisRunning              // the instance as it runs
	basisEmpty                // an instance that is not there yet
	basisKept                 // an empty one, while the real one does not run and keeps what it held
)

// survey is what a look at an instance and at what is declared on it came to.
type survey struct {
	pass  *engine.Pass
	rest  plan.Plan // of the roles, users and services
	basis basis
	note  []spec.Diagnostic // what the plan of the rest is worth
}

// survey plans the instance, and on it the rest. Nothing changes.
func (d *deployment) survey(ctx context.Context) (*survey, error) {
	pass, err := d.deployer.Plan(ctx, d.instance)
	if err != nil {
		return nil, err
	}
	s := &survey{pass: pass}
	if s.rest, err = plan.New(0, nil); err != nil {
		return nil, err
	}
	return s, d.surveyRest(ctx, s)
}

// declaresMore reports whether the stack declares more than the instance.
func (d *deployment) declaresMore() bool {
	r := d.request
	return len(r.Roles)+len(r.Users)+len(r.Services) > 0 || r.Prune
}

func (d *deployment) surveyRest(ctx context.Context, s *survey) error {
	state := s.pass.Instance.State
	switch {
	case state == spec.Absent || state == spec.Stopped:
		d.noteTaken(s)
		return nil
	case !d.declaresMore():
		return nil
	case s.pass.Instance.Ports[spec.PortHTTPS] == "":
		return spec.Errorf(spec.Invalid, "cannot apply roles, users and services to instance %q: its port https is closed", s.pass.Instance.Name).
			WithHint("open ports.https")
	case s.pass.Runs():
		return d.surveyRunning(ctx, s)
	case s.pass.KeepsData():
		d.surveyKept(ctx, s, "it does not run")
		return nil
	}
	s.basis = basisEmpty
	s.warn("planned-empty", "it is not there yet: roles, users and services are planned against an empty one", "")
	var err error
	s.rest, err = d.planEmpty(ctx, s)
	return err
}

// surveyRunning asks the instance itself. One that does not answer, and that the plan mends, is
// taken as one that does not run.
func (d *deployment) surveyRunning(ctx context.Context, s *survey) error {
	s.basis = basisRunning
	settings, err := d.deployer.Now(ctx, s.pass)
	if err == nil {
		s.rest, err = d.planOn(ctx, settings)
	}
	switch spec.KindOf(err) {
	case spec.Unavailable, spec.NotFound:
		if ctx.Err() == nil && err != nil && !s.pass.Plan.Empty() {
			d.surveyKept(ctx, s, fmt.Sprintf("it does not answer (%s)", err))
			return nil
		}
	}
	return err
}

// surveyKept plans against an empty instance what belongs to one that holds something unknown. The
// digest of that plan is the one that an empty instance would give it.
func (d *deployment) surveyKept(ctx context.Context, s *survey, why string) {
	s.basis = basisKept
	var err error
	if s.rest, err = d.planEmpty(ctx, s); err != nil {
		s.rest = plan.Plan{Steps: []plan.Step{}}
		s.warn("not-planned", fmt.Sprintf("%s: roles, users and services cannot be planned before it does (%s)", why, err), "")
		return
	}
	for i := range s.rest.Steps {
		s.rest.Steps[i].Cause = "whether it is there already is known when the instance runs"
	}
	s.warn("planned-empty", why+", and keeps what it held: roles, users and services are planned against an empty one", "what is there already stays")
}

// noteTaken says what goes with the instance.
func (d *deployment) noteTaken(s *survey) {
	state := s.pass.Instance.State
	switch {
	case s.pass.Plan.Empty():
	case state == spec.Absent && s.pass.Instance.DeleteVolumes:
		s.warn("data-lost", "everything on it goes with it, and so do its volumes: what it holds is lost", "")
	case state == spec.Absent:
		s.warn("data-kept", "everything on it goes with it; its volumes stay, and with them what it holds", "delete_volumes, or destroy --delete-volumes, removes them too")
	}
	if d.declaresMore() {
		s.warn("not-planned", fmt.Sprintf("roles, users and services are not planned: it is to be %s", state), "")
	}
}

func (s *survey) warn(code, message, hint string) {
	s.note = append(s.note, spec.Diagnostic{
		Position: spec.Position{File: plan.InstanceAddress(s.pass.Instance.Name)}, Severity: spec.SeverityWarning, Code: code, Message: message, Hint: hint,
	})
}

// planEmpty plans the rest against an instance that holds nothing.
func (d *deployment) planEmpty(ctx context.Context, s *survey) (plan.Plan, error) {
	readOnly := s.pass.Instance.ReadOnly
	return gateway.PlanEmpty(ctx, d.streams.logger(d.global, levelWarn), readOnly != nil && *readOnly, d.request)
}

// planOn asks the instance for the plan of the rest.
func (d *deployment) planOn(ctx context.Context, settings client.Settings) (plan.Plan, error) {
	c, err := client.New(settings, version, d.streams.logger(d.global, levelWarn))
	if err != nil {
		return plan.Plan{}, err
	}
	defer c.Close()
	p, err := c.Plan(ctx, d.request)
	if err != nil {
		return plan.Plan{}, err
	}
	return *p, nil
}

// whole is the one plan that is shown: the instance's, then that of the rest. Its digest names both.
func (s *survey) whole() (plan.Plan, error) { return joined(s.pass.Plan, s.rest, s.note) }

// joined puts two plans, or their results, behind each other.
func joined(first, second plan.Plan, notes []spec.Diagnostic) (plan.Plan, error) {
	p, err := plan.New(second.Revision, slices.Concat(first.Steps, second.Steps))
	p.Diagnostics = slices.Concat(first.Diagnostics, notes, second.Diagnostics)
	p.Deviations = slices.Concat(first.Deviations, second.Deviations)
	p.Applied = first.Applied && second.Applied
	return p, err
}

// possible refuses a plan whose instance cannot be brought up.
func (s *survey) possible() error {
	for _, d := range s.pass.Plan.Diagnostics {
		if d.Severity == spec.SeverityError {
			e := spec.Errorf(spec.Conflict, "cannot apply this plan: %s", d.Message)
			e.Hint = cmp.Or(d.Hint, "mend that, then apply again")
			return e
		}
	}
	return nil
}
