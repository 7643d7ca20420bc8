package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type instanceResource struct{ managed }

var (
	_ resource.ResourceWithConfigure      = (*instanceResource)(nil)
	_ resource.ResourceWithIdentity       = (*instanceResource)(nil)
	_ resource.ResourceWithImportState    = (*instanceResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*instanceResource)(nil)
	_ resource.ResourceWithValidateConfig = (*instanceResource)(nil)
)

// Metadata implements resource.Resource.
func (r *instanceResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = typeName + "_instance"
}

// ImportState implements resource.ResourceWithImportState: NAME, or DOCKER_HOST/NAME.
func (r *instanceResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := instanceModel{
		how: importedHow(types.StringNull()), Running: types.BoolNull(), AllowDowngrade: types.BoolValue(false), Wait: types.BoolValue(true),
		WaitTimeout: types.Int64Value(300), DeleteVolumes: types.BoolValue(false), ImageArchive: types.StringValue(""),
		AdminPasswordWOVersion: types.StringValue(""), Drift: noDrift(),
	}
	var err error
	if m.instanceOptions, err = noOptions(); err != nil {
		addError(&resp.Diagnostics, "Cannot import", err)
	}
	if req.ID == "" && req.Identity != nil {
		resp.Diagnostics.Append(req.Identity.GetAttribute(ctx, path.Root("name"), &m.Name)...)
		resp.Diagnostics.Append(req.Identity.GetAttribute(ctx, path.Root("docker_host"), &m.DockerHost)...)
	} else {
		at := strings.LastIndex(req.ID, "/")
		m.Name, m.DockerHost = types.StringValue(req.ID[at+1:]), textOrNull(strings.TrimSuffix(req.ID[:at+1], "/"))
	}
	if err := spec.CheckInstanceName(m.Name.ValueString()); err != nil {
		resp.Diagnostics.AddError("Wrong import id", sentence(err.Error())+" Give NAME, or DOCKER_HOST/NAME for an instance on another engine than the provider's.")
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	m.identify(ctx, resp.Identity, &resp.Diagnostics)
	remember(ctx, resp.Private, importedKey, true, &resp.Diagnostics)
}

// identify says which instance it is, once: another address of the same engine makes no other of it.
func (m *instanceModel) identify(ctx context.Context, identity *tfsdk.ResourceIdentity, diags *diag.Diagnostics) {
	if identity == nil {
		return
	}
	var name types.String
	if !identity.Raw.IsNull() {
		diags.Append(identity.GetAttribute(ctx, path.Root("name"), &name)...)
	}
	if name.Equal(m.Name) {
		return
	}
	diags.Append(identity.SetAttribute(ctx, path.Root("name"), m.Name)...)
	diags.Append(identity.SetAttribute(ctx, path.Root("docker_host"), m.DockerHost)...)
}

// Read implements resource.Resource. Whoever reads an instance can reach it: the context file is
// made to agree, so that a run on another machine goes on from there.
func (r *instanceResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m instanceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	m.identify(ctx, resp.Identity, &resp.Diagnostics)
	host, known := r.plants.dockerHost(m.DockerHost)
	if !known || resp.Diagnostics.HasError() {
		return
	}
	bounded, cancel := m.within(ctx, onRead)
	defer cancel()
	gone, given := false, recall[string](ctx, req.Private, adminKey, &resp.Diagnostics)
	err := r.at(bounded, host, &resp.Diagnostics, func(d *deployer.Deployer) error {
		p, err := d.Plan(bounded, spec.Instance{Name: m.name()})
		if err != nil {
			return err
		}
		if gone = !exists(p); gone {
			return nil
		}
		r.plants.deployments.own(host, m.name())
		if given, err = m.observeAdmin(bounded, d, given); err != nil {
			return err
		}
		return m.observe(bounded, d, p, &resp.Diagnostics)
	})
	switch {
	case err != nil:
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), inOptions(err))
	case gone:
		resp.State.RemoveResource(ctx)
	default:
		remember(ctx, resp.Private, adminKey, given, &resp.Diagnostics)
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}

// adminKey is under what a resource remembers which password of its own was last the admin's.
const adminKey = "admin"

// observeAdmin forgets the version of a password that was the admin's, and is no longer.
func (m *instanceModel) observeAdmin(ctx context.Context, d *deployer.Deployer, seen string) (now string, err error) {
	now, err = m.admin(ctx, d)
	if err == nil && seen != "" && now != seen {
		m.AdminPasswordWOVersion = types.StringNull()
	}
	return now, err
}

// admin names the given password that is the admin's now; empty where none is.
func (m *instanceModel) admin(ctx context.Context, d *deployer.Deployer) (string, error) {
	if m.AdminPasswordWOVersion.ValueString() == "" {
		return "", nil
	}
	label, err := d.Engine().GivenAdmin(ctx, m.name())
	if err != nil || label == "" {
		return "", err
	}
	sum := sha256.Sum256([]byte(label))
	return hex.EncodeToString(sum[:]), nil
}

// observe reads into the state how an instance is, by a pass that asks for nothing but its name.
func (m *instanceModel) observe(ctx context.Context, d *deployer.Deployer, p *engine.Pass, diags *diag.Diagnostics) error {
	o, err := d.Settled(ctx, p)
	if err != nil && o.URL != "" && spec.KindOf(err) == spec.Invalid {
		diags.AddWarning("Cannot keep the context of "+m.object(), sentence(err.Error()))
		err = nil
	}
	if err != nil {
		return err
	}
	settled, err := optionsOf(p.Instance)
	if err != nil {
		return err
	}
	m.read(ctx, settled)
	m.runs(o.Containers)
	m.Context = types.StringValue(o.Context)
	if o.CACert != "" {
		m.URL, m.CACert = textOrNull(o.URL), types.StringValue(o.CACert)
	}
	m.Drift = noDrift()
	if m.Running.ValueBool() {
		m.Drift = driftOf(p.Plan, p.Instance.Name)
	}
	addDeviations(diags, m.object(), p.Plan.Deviations)
	return nil
}

// runs says whether the instance does. Where some containers do, that is what the state says,
// and the others are drift.
func (m *instanceModel) runs(containers []deployer.Container) {
	some := false
	for _, c := range containers {
		some = some || c.Running
	}
	m.Running = types.BoolValue(some)
}

// Create implements resource.Resource.
func (r *instanceResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m, config instanceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.identify(ctx, resp.Identity, &resp.Diagnostics)
	if !r.apply(ctx, &m, &config, nil, resp.Private, &resp.Diagnostics) {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Update implements resource.Resource.
func (r *instanceResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, config, was instanceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.identify(ctx, resp.Identity, &resp.Diagnostics)
	if !r.apply(ctx, &m, &config, &was, resp.Private, &resp.Diagnostics) || resp.Diagnostics.HasError() {
		return // the state stays, and the next plan shows what is yet to be done
	}
	remember(ctx, resp.Private, importedKey, false, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// apply deploys the instance as it was planned. It reports whether it is there, perhaps not as it
// should be; there is an error then.
func (r *instanceResource) apply(ctx context.Context, m, config, was *instanceModel, private memoryWriter, diags *diag.Diagnostics) (there bool) {
	host, known := r.plants.dockerHost(m.DockerHost)
	if !known {
		diags.AddError("Cannot deploy "+m.object(), "The engine is not known, although everything that it depends on is applied.")
		return false
	}
	operation, summary := onCreate, "Cannot create "+m.object()
	if was != nil {
		operation, summary = onUpdate, "Cannot change "+m.object()
	}
	ctx, cancel := m.within(ctx, operation)
	defer cancel()
	err := r.at(ctx, host, diags, func(d *deployer.Deployer) error {
		p, err := m.pass(ctx, d, config, was)
		if err != nil {
			return err
		}
		o, err := carryOut(ctx, d, p, m.Running.ValueBool())
		there = err == nil || touched(o.Plan)
		if there {
			m.told(ctx, p, o, diags)
		}
		if err != nil {
			return err
		}
		admin, err := m.admin(ctx, d)
		remember(ctx, private, adminKey, admin, diags)
		return err
	})
	if err != nil {
		addError(diags, summary, inOptions(err))
	}
	r.plants.renew(ctx, m.Context.ValueString())
	return there
}

// touched reports whether anything was done.
func touched(p plan.Plan) bool {
	for _, s := range p.Steps {
		if s.Result == plan.Done || s.Result == plan.Failed {
			return true
		}
	}
	return false
}

// pass plans what was planned, which may be refused now.
func (m *instanceModel) pass(ctx context.Context, d *deployer.Deployer, config, was *instanceModel) (*engine.Pass, error) {
	secrets := secretsOf(config)
	if !m.writesPassword(was) {
		secrets.adminPassword = types.StringNull()
	}
	given, err := m.decided(ctx, config).given(ctx, secrets, was)
	if err != nil {
		return nil, err
	}
	p, err := planFor(ctx, d, given, m.Running.ValueBool())
	if err != nil {
		return nil, err
	}
	if was == nil && exists(p) && !m.Adopt.ValueBool() {
		return nil, inPlace(m)
	}
	if wrong := impossible(p.Plan); len(wrong) > 0 {
		return nil, spec.Errorf(spec.Conflict, "%s", wrong[0].Message).WithHint("%s", wrong[0].Hint)
	}
	return p, tooMuch(p.Plan, plan.Disturbance(m.MaxDisturbance.ValueString()))
}

// decided is what the plan says, and where that leaves something open, the configuration. So it is
// with the certificate, which nobody can give again without its key.
func (m *instanceModel) decided(ctx context.Context, config *instanceModel) *instanceModel {
	asked := *m
	for _, o := range allOptions() {
		value := o.get(&m.instanceOptions)
		if t, err := value.ToTerraformValue(ctx); err == nil && !t.IsFullyKnown() || o.name == optionCertificate {
			o.put(&asked.instanceOptions, o.get(&config.instanceOptions))
		}
	}
	return &asked
}

// told fills in what only an apply tells.
func (m *instanceModel) told(ctx context.Context, p *engine.Pass, o deployer.Outcome, diags *diag.Diagnostics) {
	settled, err := optionsOf(p.Instance)
	if err != nil {
		addError(diags, "Cannot read back "+m.object(), err)
	}
	m.fillUnknown(ctx, settled, o)
	if o.AdminPasswordFile != "" && p.New() {
		diags.AddWarning("A password was made for the user admin", fmt.Sprintf("It is in the file %s on this machine, which its owner alone can read.", o.AdminPasswordFile))
	}
}

// Delete implements resource.Resource.
func (r *instanceResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m instanceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	host, known := r.plants.dockerHost(m.DockerHost)
	if !known || resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := m.within(ctx, onDelete)
	defer cancel()
	err := r.at(ctx, host, &resp.Diagnostics, func(d *deployer.Deployer) error {
		p, err := d.Plan(ctx, m.absent())
		if err == nil {
			err = tooMuch(p.Plan, plan.Disturbance(m.MaxDisturbance.ValueString()))
		}
		if err == nil {
			_, err = d.Apply(ctx, p, nil)
		}
		return err
	})
	if err != nil {
		addError(&resp.Diagnostics, "Cannot delete "+m.object(), inOptions(err))
	}
	r.plants.renew(ctx, m.Context.ValueString())
}
