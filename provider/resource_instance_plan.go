package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// ModifyPlan implements resource.ResourceWithModifyPlan: the deployer plans, as it does for the
// command line and for Ansible.
func (r *instanceResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.plants == nil {
		return
	}
	was := stateOf[instanceModel](ctx, req.State, &resp.Diagnostics)
	if req.Plan.Raw.IsNull() {
		r.planDestroy(ctx, was, &resp.Diagnostics)
		return
	}
	var config, next instanceModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &next)...)
	imported := recall[bool](ctx, req.Private, importedKey, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if moves := was != nil && !r.plants.sameEngine(next.DockerHost, was.DockerHost); moves || was != nil && next.name() != was.name() {
		if moves {
			resp.RequiresReplace = append(resp.RequiresReplace, path.Root("docker_host"))
		}
		if host, known := r.plants.dockerHost(was.DockerHost); known {
			r.plants.deployments.leave(host)
		}
		r.planDestroy(ctx, was, &resp.Diagnostics)
		return
	}
	next.AdminPasswordWOVersion, next.ImageArchive = config.AdminPasswordWOVersion, config.ImageArchive
	if config.Timeouts.IsNull() {
		next.Timeouts = types.ObjectNull(timeoutTypes)
	}
	next.openReach(was)
	r.planDeploy(ctx, was, &config, &next, imported, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, next)...)
}

// openReach leaves to the apply how the instance is reached. The name of its context stays: what is
// declared on it would else be planned to be replaced.
func (m *instanceModel) openReach(was *instanceModel) {
	m.URL, m.CACert, m.Context, m.Drift = types.StringUnknown(), types.StringUnknown(), types.StringUnknown(), types.ListUnknown(types.StringType)
	if was != nil && !was.Context.IsNull() {
		m.Context = was.Context
	}
}

// keepReach leaves it as it is.
func (m *instanceModel) keepReach(was *instanceModel) {
	m.URL, m.CACert, m.Context, m.Drift = was.URL, was.CACert, was.Context, was.Drift
}

// planDeploy plans what the configuration asks for, and fills in what will come of it.
func (r *instanceResource) planDeploy(ctx context.Context, was, config, next *instanceModel, imported bool, diags *diag.Diagnostics) {
	summary := "Cannot plan " + next.object()
	host, known := r.plants.dockerHost(config.DockerHost)
	if !known || !config.declared(ctx, diags) || !keyKnown(ctx, config, was) {
		return
	}
	secrets := secretsOf(config)
	if !next.writesPassword(was) {
		secrets.adminPassword = types.StringNull()
	}
	ctx, cancel := next.within(ctx, onRead)
	defer cancel()
	err := r.at(ctx, host, diags, func(d *deployer.Deployer) error {
		asked := *config
		asked.AllowDowngrade, asked.Wait, asked.WaitTimeout = next.AllowDowngrade, next.Wait, next.WaitTimeout
		given, err := asked.given(ctx, secrets, was)
		if err != nil {
			return err
		}
		p, err := planFor(ctx, d, given, next.Running.ValueBool())
		if err != nil {
			return err
		}
		return r.outlookOf(ctx, d, p, host, was, config, next, imported, diags)
	})
	switch {
	case err == nil:
	case was == nil && spec.KindOf(err) == spec.Conflict && r.plants.deployments.makesRoom(host):
	default:
		if r.plants.keep && spec.KindOf(err) == spec.Unavailable && was != nil && next.asWas(ctx, config, was) {
			*next = *was
		}
		r.unread(diags, summary, inOptions(err))
	}
}

// keyKnown reports whether the private key is known where it is needed.
func keyKnown(ctx context.Context, config, was *instanceModel) bool {
	return !config.PrivateKeyWO.IsUnknown() || was != nil && sameOption(ctx, optionCertificate, config.Certificate, was.Certificate)
}

// outlookOf puts into next what the pass will lead to, and says what that disturbs.
func (r *instanceResource) outlookOf(ctx context.Context, d *deployer.Deployer, p *engine.Pass, host string, was, config, next *instanceModel, imported bool, diags *diag.Diagnostics) error {
	summary := "Cannot plan " + next.object()
	if was == nil && exists(p) {
		switch {
		case r.plants.deployments.owns(host, next.name()):
			return nil // it goes first, and is made anew
		case !next.Adopt.ValueBool():
			return inPlace(next)
		}
	}
	if len(impossible(p.Plan)) > 0 && was == nil && r.plants.deployments.makesRoom(host) {
		return nil // its predecessor may be what is in the way
	}
	addFindings(diags, summary, p.Plan)
	if len(impossible(p.Plan)) > 0 {
		return nil
	}
	if err := tooMuch(p.Plan, plan.Disturbance(next.MaxDisturbance.ValueString())); err != nil {
		return err
	}
	settled, err := optionsOf(p.Instance)
	if err != nil {
		return err
	}
	if was == nil {
		next.settleOptions(ctx, config, nil, settled)
		return nil
	}
	if imported && p.Plan.Empty() && next.asWas(ctx, config, was) {
		*next = *was
		return nil
	}
	next.settleOptions(ctx, config, was, settled)
	next.foresee(d, p, was)
	if !p.Plan.Empty() && next.sameAs(was) {
		next.Drift = types.ListUnknown(types.StringType) // an update is all that shows that there is something to do
	}
	addDisturbance(diags, next.object(), p.Plan)
	return nil
}

// inPlace is the error of a new instance that is there already.
func inPlace(m *instanceModel) error {
	id := m.name()
	if host := m.DockerHost.ValueString(); host != "" {
		id = host + "/" + id
	}
	return spec.Errorf(spec.Conflict, "%s exists already, and this state does not hold it", m.object()).
		WithHint("import it (import { to = millwright_instance.NAME, id = %q }), or take it over as it will be declared with adopt = true", id)
}

// foresee fills in how the instance will be reached, as far as that stays.
func (m *instanceModel) foresee(d *deployer.Deployer, p *engine.Pass, was *instanceModel) {
	m.keepReach(was)
	m.Drift = noDrift()
	if url := textOrNull(d.Engine().URL(p.Instance)); !url.Equal(was.URL) {
		m.URL = types.StringUnknown()
	}
	if was.CACert.IsNull() || vanishes(p) {
		m.CACert = types.StringUnknown()
	}
	if was.Context.IsNull() {
		m.Context = types.StringUnknown()
	}
}

// sameAs reports whether a plan would change nothing in the state.
func (m *instanceModel) sameAs(was *instanceModel) bool {
	same := m.DockerHost.Equal(was.DockerHost) && m.Running.Equal(was.Running) && m.URL.Equal(was.URL) && m.CACert.Equal(was.CACert) &&
		m.Context.Equal(was.Context) && m.Drift.Equal(was.Drift) && m.AdminPasswordWOVersion.Equal(was.AdminPasswordWOVersion)
	for _, o := range allOptions() {
		same = same && o.get(&m.instanceOptions).Equal(o.get(&was.instanceOptions))
	}
	return same
}

// asWas reports whether the configuration asks for nothing else than the state has.
func (m *instanceModel) asWas(ctx context.Context, config, was *instanceModel) bool {
	if !m.DockerHost.Equal(was.DockerHost) || !m.Running.Equal(was.Running) {
		return false
	}
	for _, o := range allOptions() {
		if declared := o.get(&config.instanceOptions); !declared.IsNull() && !sameOption(ctx, o.name, declared, o.get(&was.instanceOptions)) && o.name != optionRegistry {
			return false
		}
	}
	return true
}

// planDestroy warns of what a deletion disturbs.
func (r *instanceResource) planDestroy(ctx context.Context, was *instanceModel, diags *diag.Diagnostics) {
	host, known := r.plants.dockerHost(was.DockerHost)
	if !known {
		return
	}
	ctx, cancel := was.within(ctx, onRead)
	defer cancel()
	err := r.at(ctx, host, diags, func(d *deployer.Deployer) error {
		p, err := d.Plan(ctx, was.absent())
		if err != nil {
			return err
		}
		if err := tooMuch(p.Plan, plan.Disturbance(was.MaxDisturbance.ValueString())); err != nil {
			return err
		}
		addDisturbance(diags, was.object(), p.Plan)
		return nil
	})
	if err != nil {
		r.unread(diags, "Cannot plan to delete "+was.object(), inOptions(err))
	}
}

func (m *instanceModel) absent() spec.Instance {
	return spec.Instance{Name: m.name(), State: spec.Absent, DeleteVolumes: m.DeleteVolumes.ValueBool()}
}
