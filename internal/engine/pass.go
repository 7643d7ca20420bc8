package engine

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/docker/docker/api/types/system"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// Pass is one look at an instance: what differs from what it shall be, and what applying
// needs to know. It is good until the deployment changes.
type Pass struct {
	Plan     plan.Plan
	Instance spec.Instance // with everything that was not given taken from what was applied

	given   spec.Instance
	program string // version of the program that passes
	desired plan.Deployment
	actual  *observation
	info    system.Info
	closed  []string // ports that are left closed for this time
	saved   *Saved   // the backup that applying it has made
}

// Plan compares the instance with what is there. Nothing changes. What makes applying
// impossible (a port that is taken, a wrong architecture) is a diagnostic of severity error
// in the plan, which Apply then refuses. The error is of kind invalid where the settings are
// wrong, else the engine's.
func (e *Engine) Plan(ctx context.Context, given spec.Instance, defaults spec.InstanceDefaults) (*Pass, error) {
	return e.planFrom(ctx, given, defaults, nil)
}

// planFrom is Plan where what was last applied is known from elsewhere; nil: it is not.
func (e *Engine) planFrom(ctx context.Context, given spec.Instance, defaults spec.InstanceDefaults, last *spec.Instance) (*Pass, error) {
	if err := given.Check(); err != nil {
		return nil, err
	}
	p := &Pass{given: given, program: defaults.Version}
	var err error
	if given.InstallPath, err = e.absolute(given.InstallPath); err != nil {
		return nil, err
	}
	if given.BackupPath != "" { // on this host, wherever the engine is
		if given.BackupPath, err = filepath.Abs(given.BackupPath); err != nil {
			return nil, spec.Errorf(spec.Invalid, "cannot use backup_path %q: %w", given.BackupPath, err)
		}
	}
	if !e.local {
		defaults.InstallPath, defaults.Hostname = "", e.reachedBy()
	}
	name := given.Name
	if name == "" {
		name = spec.DefaultInstance
	}
	if p.info, err = e.api.Info(ctx); err != nil {
		return nil, e.failed("ask for the engine's properties", err)
	}
	if p.actual, err = e.observe(ctx, name); err != nil {
		return nil, err
	}
	e.recallFromFile(p, given, defaults)
	if last == nil {
		last = p.actual.Spec
	}
	if p.Instance, err = given.Over(last, defaults); err != nil {
		return nil, err
	}
	if p.actual.unread != nil && p.Instance.State != spec.Absent {
		return nil, p.actual.unread
	}
	return p, e.compare(ctx, p, defaults)
}

// compare makes the plan of a pass whose instance is settled.
func (e *Engine) compare(ctx context.Context, p *Pass, defaults spec.InstanceDefaults) error {
	var found []spec.Diagnostic
	if p.Instance.State == spec.Started {
		found = e.leaveClosed(ctx, p)
	}
	var err error
	if p.desired, err = e.deployment(p, p.Instance, p.closed); err != nil {
		return err
	}
	found = append(found, p.adapt(&p.desired)...)
	if err := e.resolveImage(ctx, p, &found); err != nil {
		return err
	}
	if err := e.observeFiles(p); err != nil {
		return err
	}
	if err := e.observeSecrets(ctx, p); err != nil {
		return err
	}
	last, err := e.lastDeployment(p, defaults)
	if err != nil {
		return err
	}
	if p.Instance.State == spec.Stopped && !p.actual.Exists() {
		return spec.Errorf(spec.NotFound, "cannot stop instance %q: there is none on this engine", p.Instance.Name)
	}
	if p.Instance.State == spec.Restarted && len(p.actual.Containers) == 0 {
		return spec.Errorf(spec.NotFound, "cannot restart instance %q: it has no containers on this engine", p.Instance.Name).
			WithHint("start it first")
	}
	if p.Instance.State == spec.Absent && !p.Instance.DeleteVolumes { // what is half filled stays, and so does what says so
		p.actual.Leftovers = slices.DeleteFunc(p.actual.Leftovers, func(l plan.Leftover) bool { return l.Name == markName(p.Instance.Name) })
	}
	steps := plan.DiffInstance(plan.InstanceInput{
		State: p.Instance.State, Desired: p.desired, Actual: p.actual.Deployment, Last: last, DeleteVolumes: p.Instance.DeleteVolumes,
		BackupTo: p.backupTo(),
	})
	p.explain(steps)
	if p.Plan, err = plan.New(0, steps); err != nil {
		return err
	}
	if p.Instance.State == spec.Started {
		found = append(found, e.preflight(ctx, p)...)
	}
	found = append(found, p.actual.backup.underWay(p)...)
	found = append(found, p.actual.brokenOff(p.Instance.State)...)
	p.Plan.Diagnostics, p.Plan.Deviations = found, deviations(p)
	return nil
}

// deployment is what i shall be on this engine.
func (e *Engine) deployment(p *Pass, i spec.Instance, closed []string) (plan.Deployment, error) {
	d, err := render.Deployment(i, closed...)
	if err != nil {
		return d, err
	}
	if !e.local && p.given.InstallPath == "" {
		d.Files = nil // they lie on a host that is not this one
	}
	return d, nil
}

// lastDeployment is what was last applied, as it would be made today; nil if nothing was.
func (e *Engine) lastDeployment(p *Pass, defaults spec.InstanceDefaults) (*plan.Deployment, error) {
	if p.actual.Spec == nil {
		return nil, nil
	}
	defaults.Hostname = ""
	settled, err := (spec.Instance{Name: p.Instance.Name}).Over(p.actual.Spec, defaults)
	if err != nil {
		return nil, nil //nolint:nilerr // another release's settings, which this one refuses: their causes are not known
	}
	d, err := e.deployment(p, settled, p.wasClosed(settled))
	if err != nil {
		return nil, err
	}
	p.adapt(&d)
	for i := range d.Containers {
		if have := slices.IndexFunc(p.actual.Containers, func(c plan.Container) bool { return c.Part == d.Containers[i].Part }); have >= 0 {
			d.Containers[i].ImageID = p.actual.Containers[have].ImageID
		}
	}
	return &d, nil
}

// adapt leaves out the bounds that the host's kernel does not have, which would else look like
// drift for ever.
func (p *Pass) adapt(d *plan.Deployment) []spec.Diagnostic {
	var found []spec.Diagnostic
	lacks := func(has bool, code, what string) bool {
		if !has {
			found = append(found, warning(code, "the engine's host cannot bound "+what+": the containers run without that bound", ""))
		}
		return !has
	}
	memory := lacks(p.info.MemoryLimit, "no-memory-limit", "memory")
	cpus := lacks(p.info.CPUCfsQuota, "no-cpu-limit", "processor time")
	pids := lacks(p.info.PidsLimit, "no-process-limit", "the number of processes")
	if !p.info.SwapLimit { // what it says of swap then means nothing
		for i := range p.actual.Containers {
			p.actual.Containers[i].Swap = 0
		}
	}
	for i := range d.Containers {
		c := &d.Containers[i]
		if memory {
			c.Memory = 0
		}
		if cpus {
			c.CPUs = 0
		}
		if pids {
			c.Pids = 0
		}
	}
	return found
}

func warning(code, message, hint string) spec.Diagnostic {
	return spec.Diagnostic{Severity: spec.SeverityWarning, Code: code, Message: message, Hint: hint}
}

func failure(code, message, hint string) spec.Diagnostic {
	return spec.Diagnostic{Severity: spec.SeverityError, Code: code, Message: message, Hint: hint}
}

// deviations are containers that run and are not well: health, not drift.
func deviations(p *Pass) []spec.Deviation {
	var d []spec.Deviation
	for _, c := range p.actual.Containers {
		if c.Unhealthy {
			d = append(d, spec.Deviation{Address: plan.InstanceAddress(p.Instance.Name) + "/container/" + c.Part, State: c.Status})
		}
	}
	return d
}

// absolute makes a path on this host absolute; on another it must be so already.
func (e *Engine) absolute(path string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	if !e.local {
		return "", spec.Errorf(spec.Invalid, "cannot use install_path %q on another host: give an absolute one", path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", spec.Errorf(spec.Invalid, "cannot use install_path %q: %w", path, err)
	}
	return absolute, nil
}
