// Package deployer brings an instance on a Docker engine to what is declared, and leaves the
// caller able to reach it: a context in the context file, and beside that the authority's
// certificate and a generated password. The CLI, the Ansible module and the Terraform provider
// deploy through it.
package deployer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// DefaultInstallPath is where the compose file of an instance lies that names no other place.
const DefaultInstallPath = "/opt/millwright"

// Options say on which engine.
type Options struct {
	DockerHost string // empty: as docker itself finds it
	Version    string // of this program; a new instance gets it
	Getenv     func(string) string
	Log        *slog.Logger
}

// Deployer works on one engine. Close it.
type Deployer struct {
	engine  *engine.Engine
	options Options
}

// Open connects to the engine; errors are those of engine.Open.
func Open(ctx context.Context, o Options) (*Deployer, error) {
	e, err := engine.Open(ctx, engine.Options{Host: o.DockerHost, Getenv: o.Getenv, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return &Deployer{engine: e, options: o}, nil
}

// Close ends the connection.
func (d *Deployer) Close() error { return d.engine.Close() }

// Engine is the engine that the deployer works on.
func (d *Deployer) Engine() *engine.Engine { return d.engine }

// Plan compares the instance with what is there. Nothing changes.
func (d *Deployer) Plan(ctx context.Context, i spec.Instance) (*engine.Pass, error) {
	p, err := d.engine.Plan(ctx, i, d.defaults())
	if err == nil && i.License != nil {
		p.Plan.Diagnostics = append(p.Plan.Diagnostics, spec.Diagnostic{
			Severity: spec.SeverityWarning, Code: "license", Message: "license is ignored: Millwright needs none",
		})
	}
	return p, err
}

func (d *Deployer) defaults() spec.InstanceDefaults {
	defaults := spec.InstanceDefaults{Version: d.options.Version, InstallPath: DefaultInstallPath, Timezone: "UTC"}
	if d.engine.Remote() == "" {
		defaults.Timezone = timezone(d.options.Getenv, "/etc")
	}
	return defaults
}

// Apply carries the pass's plan out (see engine.Apply), and keeps how the instance is reached.
// The outcome's plan has each step's result, also beside an error.
func (d *Deployer) Apply(ctx context.Context, p *engine.Pass, report func(plan.Step)) (Outcome, error) {
	done, err := d.engine.Apply(ctx, p, report)
	if err != nil {
		return Outcome{Plan: done, BackupFile: p.BackupFile()}, err
	}
	if p.Instance.State == spec.Absent {
		return Outcome{Plan: done}, d.forget(p)
	}
	o, err := d.outcome(ctx, p, done)
	o.BackupFile = p.BackupFile()
	if err != nil {
		return o, err
	}
	return o, d.keep(ctx, p, &o)
}

// Outcome is how the instance of a pass is reached that is not applied: it differs in nothing,
// or only its plan was asked for. Nothing is changed on the engine or in the context file. What
// is not there yet is empty.
func (d *Deployer) Outcome(ctx context.Context, p *engine.Pass) (Outcome, error) {
	return d.outcome(ctx, p, p.Plan)
}

// Settled is the outcome of a pass whose plan is empty: as Outcome, but the context file is made
// to agree, so that whoever runs the pass anew on another machine reaches the instance too.
func (d *Deployer) Settled(ctx context.Context, p *engine.Pass) (Outcome, error) {
	o, err := d.outcome(ctx, p, p.Plan)
	if err != nil || p.Instance.State == spec.Absent {
		return o, err
	}
	return o, d.keep(ctx, p, &o)
}

func (d *Deployer) outcome(ctx context.Context, p *engine.Pass, done plan.Plan) (Outcome, error) {
	o := Outcome{Plan: done, Context: d.context(p.Instance.Name), given: p.Instance.Certificate != ""}
	o.ComposeFile, o.EnvFile = p.Files()
	if p.Instance.State == spec.Absent {
		return Outcome{Plan: done}, nil
	}
	containers, err := d.engine.Containers(ctx, p.Instance.Name)
	if err != nil {
		return o, err
	}
	for _, c := range containers {
		o.Containers = append(o.Containers, Container{Name: c.Name, Part: c.Part, ID: c.ID, Image: c.Image, Status: c.Status, Running: c.Running})
	}
	access, err := d.engine.Access(ctx, p.Instance)
	if spec.KindOf(err) == spec.NotFound { // not started, or not yet so far
		return o, nil
	}
	o.URL, o.CACert, o.token = access.URL, access.CA, access.Token
	return o, err
}

// context names the instance's context: on an engine elsewhere its host is part of the name, so
// that many plants' instances of one name stay apart.
func (d *Deployer) context(instance string) string {
	instance = cmp.Or(instance, spec.DefaultInstance)
	if host := d.engine.Remote(); host != "" {
		return instance + "@" + host
	}
	return instance
}

// keep has the context file and the files beside it say how the instance is reached.
func (d *Deployer) keep(ctx context.Context, p *engine.Pass, o *Outcome) error {
	if o.token == "" || o.URL == "" {
		return nil
	}
	files, err := d.files(o.Context)
	if err != nil {
		return err
	}
	password := ""
	if p.New() && p.Instance.AdminPassword == nil {
		if password, err = d.engine.AdminPassword(ctx, p.Instance.Name); err != nil {
			return err
		}
	}
	return errors.Join(files.keepContext(o), files.keepAuthority(o), files.keepPassword(o, password, p.Instance.AdminPassword != nil))
}

// forget takes the context of an instance away that is no more.
func (d *Deployer) forget(p *engine.Pass) error {
	files, err := d.files(d.context(p.Instance.Name))
	if err != nil {
		return err
	}
	return files.remove()
}
