package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// ModifyPlan implements resource.ResourceWithModifyPlan: the server plans. It is not asked about
// a service that nobody changed.
func (r *serviceResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var config, next serviceModel
	was := stateOf[serviceModel](ctx, req.State, &resp.Diagnostics)
	if req.Plan.Raw.IsNull() {
		r.planDelete(ctx, was.how, was.absent(), was.address(), was.object(), &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &next)...)
	imported := recall[bool](ctx, req.Private, importedKey, &resp.Diagnostics)
	last := recall[seen](ctx, req.Private, seenKey, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	r.place(ctx, config.Context, was.place(), &next.how, resp, &resp.Diagnostics)
	given := config.how
	next.leaveOut(config, was)
	unchanged := next.same(ctx, was)
	next.openComputed()
	if unchanged {
		next.keep(was)
	}
	switch {
	case unchanged && !last.Drifted:
	case was != nil && !next.sameObject(was): // the new one is planned apart
		r.planDelete(ctx, was.how, was.absent(), was.address(), was.object(), &resp.Diagnostics)
	default:
		config.how, config.AllowUnsupported = next.how, next.AllowUnsupported
		unchanged = r.planChange(ctx, was, config, &next, &resp.Diagnostics)
	}
	next.settle(given, was.place(), imported, unchanged)
	if imported && unchanged {
		next.WaitFor, next.AllowUnsupported, next.DeleteVolumes = was.WaitFor, was.AllowUnsupported, was.DeleteVolumes
		if config.Parameters.IsNull() { // those that an import found are the file's defaults, written out
			next.Parameters = was.Parameters
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, next)...)
}

// leaveOut has a plan without parameters where none are configured, however the state says that.
func (m *serviceModel) leaveOut(config serviceModel, was *serviceModel) {
	if !config.Parameters.IsNull() {
		return
	}
	m.Parameters = types.DynamicNull()
	if was != nil && was.Parameters.Equal(noParameters()) {
		m.Parameters = was.Parameters
	}
}

// keep lets the state stand where the configuration says the same in other words.
func (m *serviceModel) keep(was *serviceModel) {
	m.keepComputed(was)
	m.Commissioning = was.Commissioning
	if !m.Parameters.IsNull() && !was.Parameters.IsNull() {
		m.Parameters = was.Parameters
	}
}

// planChange has the server plan what the configuration asks for, and fills in what it will make
// of it. It reports whether that is nothing.
func (r *serviceResource) planChange(ctx context.Context, was *serviceModel, config serviceModel, next *serviceModel, diags *diag.Diagnostics) (unchanged bool) {
	ctx, cancel := config.reading(ctx)
	defer cancel()
	summary := "Cannot plan " + config.object()
	p, err := r.plants.at(ctx, config.Context, diags)
	if err != nil {
		r.unread(diags, summary, err)
	}
	if p == nil || config.ID.IsUnknown() {
		return false
	}
	req, known := r.request(ctx, p, was, config, diags)
	if !known || diags.HasError() {
		p.outlook.addService(spec.Service{ID: config.ID.ValueString()})
		return false
	}
	preview := p.preview
	if was == nil {
		preview = p.previewNew
	}
	own, err := preview(ctx, config.request(req), config.address())
	if err != nil {
		r.unread(diags, summary, notYet(err))
		return false
	}
	for _, d := range own.Diagnostics {
		addFinding(diags, summary, d)
	}
	if was != nil && own.Empty() {
		next.keep(was)
		return true
	}
	for _, o := range own.Services {
		if o.ID == config.ID.ValueString() {
			next.take(o)
		}
	}
	next.State = types.StringUnknown()
	if was != nil {
		addDisturbance(diags, config.object(), own)
	}
	return false
}

// request is what the server is asked for: the service, and the planned ones that it refers to.
func (r *serviceResource) request(ctx context.Context, p *plant, was *serviceModel, config serviceModel, diags *diag.Diagnostics) (req plan.Request, all bool) {
	secrets := !config.writesSecrets(was) || known(ctx, diags, config.ParametersWO)
	if !secrets || !known(ctx, diags, config.Commissioning, config.Parameters, config.ParametersWOVersion, config.Enabled) {
		return req, false
	}
	desired := config.desired(ctx, was, diags)
	needed, all := p.outlook.servicesOf(desired)
	p.outlook.addService(desired)
	return plan.Request{Services: append(needed, desired), AllowUnsupported: config.AllowUnsupported.ValueBool()}, all
}
