package ansible

import (
	"context"
	"errors"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func instanceInfoModule() *Module {
	return &Module{
		Name: "instance_info", Short: "Say how a Millwright instance on a Docker engine stands", ReadOnly: true,
		Description: []string{"Says whether there is an instance of a name, how it was declared, how it is reached, and what was changed behind its back. It changes nothing."},
		Options:     identityOptions(),
		SeeAlso:     []string{"instance", "service_info"},
		Examples: `- name: See how the instance stands
  millwright.shopfloor.instance_info:
  register: gateway

- name: Fail if somebody has changed it
  ansible.builtin.assert:
    that:
      - gateway.exists
      - gateway.drift == []
`,
		Returns: append([]Return{
			{Name: "exists", Type: Bool, Returned: "always", Doc: "Whether there is an instance of that name on the engine.", Sample: true},
			{Name: "running", Type: Bool, Returned: "always", Doc: "Whether all of its containers run.", Sample: true},
			{Name: "options", Type: Dict, Returned: "when it exists", Doc: "The options that were last applied, without secrets.", Sample: map[string]any{"name": "millwright", "version": "0.1.0"}},
			{
				Name: "drift", Type: List, Elements: Dict, Returned: "when it exists",
				Doc: "What a task of the module M(millwright.shopfloor.instance) with these options would change: steps with their causes.", Sample: []any{
					map[string]any{"symbol": "~", "address": "instance/millwright/container/broker", "cause": "is not running: exited (exit code 0)", "disturbs": "none"},
				},
			},
		}, instanceReturns()...),
		run: runInstanceInfo,
	}
}

func runInstanceInfo(ctx context.Context, t *task) error {
	i := spec.Instance{Name: t.args.text("name"), DockerHost: t.args.text("docker_host")}
	if err := i.Check(); err != nil {
		return err
	}
	d, err := t.open(ctx, i)
	if err != nil {
		return err
	}
	return errors.Join(t.look(ctx, d, i), d.Close())
}

func (t *task) look(ctx context.Context, d *deployer.Deployer, i spec.Instance) error {
	p, err := d.Plan(ctx, i)
	if err != nil {
		return err
	}
	t.result["exists"], t.result["running"] = false, false
	if absent(p) {
		return nil
	}
	o, err := d.Outcome(ctx, p)
	if err != nil {
		return err
	}
	t.tell(o)
	t.result["exists"], t.result["running"] = true, len(o.Containers) >= len(p.Instance.Parts())
	for _, c := range o.Containers {
		if !c.Running {
			t.result["running"] = false
		}
	}
	t.result["options"], t.result["drift"] = p.Instance.Applied(), append([]plan.Step{}, p.Plan.Steps...)
	for _, found := range p.Plan.Diagnostics {
		t.warn(warning(found))
	}
	return nil
}

// absent reports whether the engine has nothing of the instance.
func absent(p *engine.Pass) bool {
	return len(p.Plan.Steps) > 0 && p.Plan.Steps[0].Symbol == plan.Create && p.Plan.Steps[0].Address == plan.InstanceAddress(p.Instance.Name)
}
