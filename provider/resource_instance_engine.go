package provider

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// deployments is what a walk knows of instances on engines. Terraform plans an instance that is
// replaced twice: that it goes, and that another comes.
type deployments struct {
	mu      sync.Mutex
	ours    map[[2]string]bool // engine and name of those that the state holds
	leaving map[string]bool    // engines that one leaves to make room for another
}

func (d *deployments) own(host, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ours == nil {
		d.ours = map[[2]string]bool{}
	}
	d.ours[[2]string{host, name}] = true
}

func (d *deployments) owns(host, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ours[[2]string{host, name}]
}

func (d *deployments) leave(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving == nil {
		d.leaving = map[string]bool{}
	}
	d.leaving[host] = true
}

func (d *deployments) makesRoom(host string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leaving[host]
}

// dockerHost is the address of a resource's engine, empty as docker itself finds it; not known
// where only an apply tells.
func (p *plants) dockerHost(own types.String) (host string, known bool) {
	if host = own.ValueString(); host != "" {
		return host, true
	}
	if own.IsUnknown() || p.settings.DockerHost.IsUnknown() {
		return "", false
	}
	return p.settings.DockerHost.ValueString(), true
}

// sameEngine reports whether two addresses name the same engine; one that is not known may be another.
func (p *plants) sameEngine(a, b types.String) bool {
	if a.Equal(b) && !a.IsUnknown() {
		return true // also where the provider's own is not known
	}
	x, knownX := p.dockerHost(a)
	y, knownY := p.dockerHost(b)
	found := p.getenv("DOCKER_HOST")
	return knownX && knownY && cmp.Or(x, found) == cmp.Or(y, found)
}

// renew has the instance of a context reached anew where it is needed next.
func (p *plants) renew(ctx context.Context, name string) {
	p.mu.Lock()
	one := p.open[name]
	delete(p.open, name)
	p.mu.Unlock()
	if one != nil {
		one.close(ctx)
	}
}

// at opens the engine of a resource for do, and says as warnings what is logged meanwhile.
func (r *instanceResource) at(ctx context.Context, host string, diags *diag.Diagnostics, do func(*deployer.Deployer) error) error {
	return r.plants.deployer(ctx, host, diags, do)
}

func (p *plants) deployer(ctx context.Context, host string, diags *diag.Diagnostics, do func(*deployer.Deployer) error) error {
	heard := &warnings{}
	d, err := deployer.Open(ctx, deployer.Options{DockerHost: host, Version: p.version, Getenv: p.getenv, Log: slog.New(heard.handler(nil))})
	if err == nil {
		err = errors.Join(do(d), d.Close())
	}
	for _, text := range heard.texts {
		diags.AddWarning("About the Docker engine", sentence(text))
	}
	return err
}

// planFor plans what brings an instance to what is asked for. One that shall not run is compared
// by that alone, unless its settings change: they are then applied first, and it is stopped after.
func planFor(ctx context.Context, d *deployer.Deployer, given spec.Instance, running bool) (*engine.Pass, error) {
	given.State = spec.Started
	if running {
		return d.Plan(ctx, given)
	}
	stopped := given
	stopped.State = spec.Stopped
	p, err := d.Plan(ctx, stopped)
	if spec.KindOf(err) == spec.NotFound { // it has to be there before it can be stopped
		return d.Plan(ctx, given)
	}
	if err != nil || given.AdminPassword != nil {
		return p, errors.Join(err, nil)
	}
	last, err := d.Plan(ctx, spec.Instance{Name: given.Name, State: spec.Stopped})
	if err != nil {
		return nil, err
	}
	was, errWas := last.Instance.Digest()
	will, errWill := p.Instance.Digest()
	if err := errors.Join(errWas, errWill); err != nil {
		return nil, err
	}
	if was == will {
		return p, nil
	}
	return d.Plan(ctx, given)
}

// carryOut applies a pass. One that differs in nothing changes nothing but, where it is wrong, the
// context file.
func carryOut(ctx context.Context, d *deployer.Deployer, p *engine.Pass, running bool) (deployer.Outcome, error) {
	run := d.Apply
	if p.Plan.Empty() {
		run = func(ctx context.Context, p *engine.Pass, _ func(plan.Step)) (deployer.Outcome, error) {
			return d.Settled(ctx, p)
		}
	}
	o, err := run(ctx, p, nil)
	if err != nil || running || p.Instance.State != spec.Started {
		return o, err
	}
	stop, err := d.Plan(ctx, spec.Instance{Name: p.Instance.Name, State: spec.Stopped})
	if err != nil {
		return o, err
	}
	stopped, err := d.Apply(ctx, stop, nil)
	o.Plan = stopped.Plan
	return o, err
}

// exists reports whether the engine had the instance when the pass looked.
func exists(p *engine.Pass) bool {
	return p.Plan.Empty() || p.Plan.Steps[0].Symbol != plan.Create || p.Plan.Steps[0].Address != plan.InstanceAddress(p.Instance.Name)
}

// vanishes reports whether a plan has the control part begin without what the instance held, and
// so with another authority.
func vanishes(p *engine.Pass) bool {
	volume := plan.InstanceAddress(p.Instance.Name) + "/" + plan.KindVolume + "/" + p.Instance.Name + "_" + spec.PartControl
	return slices.ContainsFunc(p.Plan.Steps, func(s plan.Step) bool { return s.Symbol == plan.Create && s.Address == volume })
}

// tooMuch refuses a plan that disturbs more than the resource allows.
func tooMuch(p plan.Plan, limit plan.Disturbance) error {
	most := p.MaxDisturbance()
	if limit == "" || !most.Exceeds(limit) {
		return nil
	}
	return spec.Errorf(spec.Conflict, "the change disturbs the %s, and at most %q is allowed", most, limit).
		WithHint("allow it by max_disturbance = %q, or wait for a better moment", most)
}

// impossible are the findings that keep a plan from being applied.
func impossible(p plan.Plan) []spec.Diagnostic {
	return slices.DeleteFunc(slices.Clone(p.Diagnostics), func(d spec.Diagnostic) bool { return d.Severity != spec.SeverityError })
}

// engineHints has what the engine advises in the words of a configuration.
var engineHints = strings.NewReplacer(
	"ports.http: null", `ports = { http = "" }`, "ports.https: 8443", `ports = { https = "8443" }`, "(ports.https:", "(ports.https =",
	"pull: missing", `pull = "missing"`, " (in a playbook: become: true)", "", "registry.password", "registry_password_wo",
	"the option private_key", "private_key_wo", "state absent removes the instance", "destroying it removes the instance",
	"give both username and password", "give both registry.username and registry_password_wo",
	"certificate and private_key", "certificate and private_key_wo", "certificate or private_key", "certificate or private_key_wo",
	"set admin_password:", "set admin_password_wo:",
)

// inOptions says an error of the engine's or of the options in the words of a configuration. What
// to do is the engine's to say, not that of who reaches an instance.
func inOptions(err error) error {
	var e *spec.Error
	if !errors.As(err, &e) {
		return err
	}
	said := spec.Errorf(e.Kind, "%s", engineHints.Replace(err.Error()))
	said.Hint, said.Diagnostics = engineHints.Replace(e.Hint), e.Diagnostics
	return said
}

// addFindings adds what a plan says beside its steps.
func addFindings(diags *diag.Diagnostics, summary string, p plan.Plan) {
	for _, d := range p.Diagnostics {
		d.Hint = engineHints.Replace(d.Hint)
		addFinding(diags, summary, d)
	}
}

// warnings collect what is logged as one.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) handler(attributes []slog.Attr) slog.Handler {
	return hearing{warnings: w, attributes: attributes}
}

// hearing is a log's handler.
type hearing struct {
	*warnings
	attributes []slog.Attr
}

// Enabled implements slog.Handler.
func (h hearing) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h hearing) Handle(_ context.Context, r slog.Record) error {
	var details []string
	note := func(a slog.Attr) bool {
		details = append(details, a.Key+": "+a.Value.String())
		return true
	}
	for _, a := range h.attributes {
		note(a)
	}
	r.Attrs(note)
	text := r.Message
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
	return nil
}

// WithAttrs implements slog.Handler.
func (h hearing) WithAttrs(more []slog.Attr) slog.Handler {
	return h.handler(slices.Concat(h.attributes, more))
}

// WithGroup implements slog.Handler.
func (h hearing) WithGroup(string) slog.Handler { return h }
