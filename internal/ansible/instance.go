package ansible

import (
	"context"
	"errors"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func instanceModule() *Module {
	return &Module{
		Name: "instance", Short: "Manage a Millwright instance on a Docker engine",
		Description: []string{
			"Brings up, changes, stops and removes an instance: broker, mapper and control, each a container of its own, as an ordinary compose deployment.",
			"Only what differs is changed, and only the containers concerned are replaced, one by one; check mode with I(diff) says which these are.",
			"What was changed behind its back, such as a container that was stopped or a file that was edited, is a difference with its cause, and is mended.",
		},
		Options: instanceOptions(),
		Notes: []string{
			"It needs a Docker engine on the target, and neither Python nor docker compose there. The role C(millwright.shopfloor.docker) installs one.",
			"An option that is not given keeps what was last applied; where nothing was, it is the default. A list or dict that is given is complete, but for I(ports) and I(limits), where each key stands for itself.",
			"Afterwards the other modules find the instance by themselves: its address, authority and a token are in the context file of the user that the task runs as on the target.",
			"The options of the other modules that say which instance is meant, and C(adopt), are accepted and ignored, so that defaults of the group C(all) do no harm: an instance has no other owner.",
		},
		SeeAlso:  []string{"instance_info", "service", "user", "role"},
		Examples: instanceExamples,
		Returns:  append(instanceReturns(), Return{Name: "backup_file", Type: Str, Returned: "when a backup was written", Doc: "The backup that was written before the change.", Sample: "millwright_backup:millwright_20261123T041300.000Z.tar.gz"}),
		run:      runInstance,
	}
}

// instanceReturns are what says how an instance is reached.
func instanceReturns() []Return {
	there := "when the instance has been started"
	return []Return{
		{Name: "url", Type: Str, Returned: "unless the instance publishes no https", Doc: "Address of the instance's API and page.", Sample: "https://localhost"},
		{Name: "ca_cert", Type: Str, Returned: there, Doc: "Certificate authority of the instance, PEM."},
		{Name: "ca_path", Type: Str, Returned: there, Doc: "File on the target with it, beside the context file.", Sample: "/root/.config/millwright/millwright.ca.crt"},
		{Name: "context", Type: Str, Returned: "unless it is absent", Doc: "Name of the instance's context in the context file.", Sample: "millwright"},
		{Name: "containers", Type: List, Elements: Dict, Returned: "when there are any", Doc: "The containers, in the order in which they start.", Sample: []any{
			map[string]any{"name": "millwright-control-1", "part": "control", "id": "5b0c", "image": "millwright/millwright:0.1.0", "status": "running", "running": true},
		}},
		{Name: "compose_file", Type: Str, Returned: "when the files are kept on the target", Doc: "The compose file.", Sample: "/opt/millwright/docker-compose.yml"},
		{Name: "env_file", Type: Str, Returned: "when the files are kept on the target", Doc: "The file of its variables.", Sample: "/opt/millwright/.env"},
		{Name: "admin_password_file", Type: Str, Returned: "when the first admin's password was generated", Doc: "File on the target with that password, readable for its owner alone."},
	}
}

const instanceExamples = `- name: Bring up an instance
  millwright.shopfloor.instance:

- name: Bring one up without a registry, from an archive beside the playbook, with ports of its own
  millwright.shopfloor.instance:
    name: hall-2
    install_path: /opt/hall-2
    image_archive: millwright-image_0.1.0_linux_amd64.tar.gz
    pull: never
    ports:
      https: 8443
      http: null # closed
      mqtts: 127.0.0.1:8884
    admin_password: "{{ vault_admin_password }}"

- name: Upgrade it, unless more than one container at a time would be away
  millwright.shopfloor.instance:
    version: 0.2.0
    max_disturbance: container

- name: Stop it; what it holds stays
  millwright.shopfloor.instance:
    state: stopped

- name: Remove it, and what it holds
  millwright.shopfloor.instance:
    state: absent
    delete_volumes: true
`

func runInstance(ctx context.Context, t *task) error {
	i, err := t.instance()
	if err != nil {
		return err
	}
	d, err := t.open(ctx, i)
	if err != nil {
		return err
	}
	return errors.Join(t.deploy(ctx, d, i), d.Close())
}

// open connects to the engine of an instance. What it warns of is among the task's warnings.
func (t *task) open(ctx context.Context, i spec.Instance) (*deployer.Deployer, error) {
	return deployer.Open(ctx, deployer.Options{
		DockerHost: i.DockerHost, Version: t.call.Version, Getenv: t.call.Getenv, Log: t.logger(),
	})
}

// deploy plans the instance and, outside of check mode, applies exactly that plan.
func (t *task) deploy(ctx context.Context, d *deployer.Deployer, i spec.Instance) error {
	asked, err := t.archive(&i)
	if err != nil {
		return err
	}
	p, err := d.Plan(ctx, i)
	if err != nil {
		return err
	}
	if asked != "" && needsImage(p) {
		t.result[resultNeeds] = "image_archive"
	}
	if asked == askOnly || t.result[resultNeeds] != nil {
		return nil
	}
	if err := t.impossible(p.Plan); err != nil {
		return err
	}
	if err := tooMuch(p.Plan, plan.Disturbance(t.args.text("max_disturbance"))); err != nil {
		return err
	}
	o, err := t.carryOut(ctx, d, p)
	t.tell(o)
	if t.check && err == nil {
		err = t.expect(p, o)
	}
	return errors.Join(err, t.report(o.Plan))
}

// carryOut applies a pass, but in check mode. One that differs in nothing changes nothing but,
// where it is wrong, the context file.
func (t *task) carryOut(ctx context.Context, d *deployer.Deployer, p *engine.Pass) (deployer.Outcome, error) {
	switch {
	case t.check:
		o, err := d.Outcome(ctx, p)
		if o.URL == "" && p.Instance.State != spec.Absent {
			o.URL = d.Engine().URL(p.Instance)
		}
		return o, err
	case p.Plan.Empty():
		return d.Settled(ctx, p)
	}
	return d.Apply(ctx, p, nil)
}

// impossible refuses a plan that says itself that it cannot be applied; in check mode too, so
// that what check mode says is what happens. What it warns of is told all the same.
func (t *task) impossible(p plan.Plan) error {
	var wrong []spec.Diagnostic
	for _, d := range p.Diagnostics {
		if d.Severity == spec.SeverityError {
			wrong = append(wrong, d)
			continue
		}
		t.warn(warning(d))
	}
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		e := spec.Errorf(spec.Conflict, "%s", wrong[0].Message)
		e.Hint = wrong[0].Hint
		return e
	}
	return &spec.Error{Kind: spec.Conflict, Message: "cannot apply this plan", Diagnostics: wrong}
}

// tooMuch refuses a plan that disturbs more than the task allows.
func tooMuch(p plan.Plan, limit plan.Disturbance) error {
	most := p.MaxDisturbance()
	if limit == "" || !most.Exceeds(limit) {
		return nil
	}
	return spec.Errorf(spec.Conflict, "cannot apply this plan: it disturbs the %s, and at most %q is allowed", most, limit).
		WithHint("nothing was changed; allow it by max_disturbance: %s, or wait for a better moment", most)
}

// tell puts into the result how the instance is reached. What is not known is left out.
func (t *task) tell(o deployer.Outcome) {
	for name, value := range map[string]string{
		"url": o.URL, "ca_cert": o.CACert, "ca_path": o.CAPath, "context": o.Context,
		"compose_file": o.ComposeFile, "env_file": o.EnvFile, "admin_password_file": o.AdminPasswordFile, "backup_file": o.BackupFile,
	} {
		if value != "" {
			t.result[name] = value
		}
	}
	if len(o.Containers) > 0 {
		t.result["containers"] = o.Containers
	}
}
