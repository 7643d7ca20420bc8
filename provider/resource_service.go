package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type serviceResource struct{ managed }

var (
	_ resource.ResourceWithConfigure      = (*serviceResource)(nil)
	_ resource.ResourceWithIdentity       = (*serviceResource)(nil)
	_ resource.ResourceWithImportState    = (*serviceResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*serviceResource)(nil)
	_ resource.ResourceWithValidateConfig = (*serviceResource)(nil)
)

// Metadata implements resource.Resource.
func (r *serviceResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = typeName + "_service"
}

// Schema implements resource.Resource.
func (r *serviceResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attributes := withHow(map[string]schema.Attribute{
		"id": schema.StringAttribute{
			Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			Validators:          []validator.String{checked{"a service's id", spec.CheckServiceID}},
			MarkdownDescription: "Id of the service: a letter or digit, then letters, digits, `_` and `.`. Another one replaces the service.",
		},
		"commissioning": schema.StringAttribute{
			Required: true, CustomType: commissioningType{},
			MarkdownDescription: "Text of the commissioning file, such as `file(\"press.yml\")`. Comments, order and quoting make no difference.",
		},
		"parameters": schema.DynamicAttribute{
			Optional: true, Computed: true, // an import cannot know whether an empty object stands there, or nothing: both are to fit
			MarkdownDescription: "Values of the file's parameters, an object: all that are not left to their defaults. Secrets belong into `parameters_wo`.",
		},
		"parameters_wo": schema.DynamicAttribute{
			Optional: true, WriteOnly: true,
			MarkdownDescription: "Further parameters, an object, that stand in no state and no plan. They are written when `parameters_wo_version` is another than before.",
		},
		"parameters_wo_version": schema.StringAttribute{
			Optional: true, Validators: []validator.String{checked{"a label", func(s string) error { return spec.CheckLabel("parameters_wo_version", s) }}},
			MarkdownDescription: "Any text that names this version of the secrets, such as `1`. The instance keeps it beside them and clears it when somebody else writes them, so that this shows.",
		},
		"enabled": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(true), MarkdownDescription: "Whether the service runs."},
		"wait_for": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString(string(plan.WaitInstalled)),
			Validators:          []validator.String{oneOf(string(plan.WaitInstalled), string(plan.WaitConnected), string(plan.WaitData))},
			MarkdownDescription: "What an apply waits for: `installed` (the runtime has taken over every resource), `connected` (every connection is), `data` (every subscribing endpoint has delivered once).",
		},
		"allow_unsupported": schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			MarkdownDescription: "Install what this version of the instance can run of the file. Else a resource of a kind that it cannot run fails the plan.",
		},
		"delete_volumes_on_destroy": schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(false), MarkdownDescription: "Delete the volumes of the service's containers with it.",
		},
	})
	resp.Schema = schema.Schema{
		MarkdownDescription: "A service: what one commissioning file declares. Only the resources that differ are changed, and only they are disturbed; the plan says which.",
		Attributes:          withOutline(attributes),
	}
}

// withOutline adds what the server makes of a service.
func withOutline(attributes map[string]schema.Attribute) map[string]schema.Attribute {
	attributes["state"] = schema.StringAttribute{
		Computed: true, MarkdownDescription: "Where it stands: `enabling`, `enabled`, `disabling`, `disabled` or `deviated`. That is health, and never a difference of the resource; an output of it would be one.",
	}
	attributes["digest"] = schema.StringAttribute{Computed: true, MarkdownDescription: "Names everything that the service consists of, secrets left out."}
	// Plain types: Terraform's framework walks through each attribute of nested ones, many times.
	attributes["resources"] = schema.MapAttribute{
		Computed: true, ElementType: outlineType,
		MarkdownDescription: "The service's resources by id: `type`, `topic` of an endpoint, and `digest`, which names its properties, secrets left out. A digest that changes in a plan is a resource that changes.",
	}
	attributes["topics"] = schema.SetAttribute{
		Computed: true, ElementType: types.StringType, MarkdownDescription: "Topics that the service publishes, as far as its file tells; `+` is what a mapping fills in.",
	}
	attributes["links"] = schema.ListAttribute{
		Computed: true, ElementType: linkType, MarkdownDescription: "Links to the service's pages, `name` and `href`, below the address of the instance.",
	}
	return attributes
}

// ValidateConfig implements resource.ResourceWithValidateConfig. What is wrong with the file the
// server says; here no secret gets into a plan.
func (r *serviceResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m serviceModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if m.ParametersWO.IsNull() != m.ParametersWOVersion.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("parameters_wo_version"), "Secrets and version belong together",
			"Give parameters_wo and parameters_wo_version, or neither: only another version has secrets written.")
	}
	if !known(ctx, &resp.Diagnostics, m.Commissioning, m.Parameters) {
		return
	}
	given, err := parameterValues(ctx, "parameters", m.Parameters)
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("parameters"), "Wrong parameters", sentence(err.Error()))
		return
	}
	for _, name := range secretNames(m.ID.ValueString(), m.Commissioning.ValueString()) {
		if _, ok := given[name]; ok {
			resp.Diagnostics.AddAttributeError(path.Root("parameters"), "A secret among the parameters",
				fmt.Sprintf("The file declares the parameter %q as a secret, and parameters stand in Terraform's state. Give it in parameters_wo, with a parameters_wo_version.", name))
		}
	}
}

// secretNames are the parameters that a file declares as secrets.
func secretNames(id, text string) []string {
	file, _ := commissioning.Parse(id, []byte(text)) // the server tells what is wrong with it
	if file == nil {
		return nil
	}
	parsed, _ := file.Evaluate(commissioning.Input{ID: id, AllowMissing: true})
	if parsed == nil {
		return nil
	}
	var names []string
	for _, p := range parsed.Parameters {
		if p.Sensitive {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// IdentitySchema implements resource.ResourceWithIdentity.
func (r *serviceResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identitySchema("id", "Id of the service.")
}

// ImportState implements resource.ResourceWithImportState.
func (r *serviceResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id, instance := importID(ctx, "id", req, &resp.Diagnostics)
	instance = r.importPlace(ctx, instance)
	resp.Diagnostics.Append(resp.State.Set(ctx, serviceModel{
		how: importedHow(instance), ID: id, Commissioning: commissioningText{StringValue: types.StringNull()},
		Parameters: noParameters(), Enabled: types.BoolValue(true), WaitFor: types.StringValue(string(plan.WaitInstalled)),
		AllowUnsupported: types.BoolValue(false), DeleteVolumes: types.BoolValue(false),
		Resources: types.MapNull(outlineType), Topics: types.SetNull(types.StringType), Links: types.ListNull(linkType),
	})...)
	setIdentity(ctx, resp.Identity, "id", id, instance, &resp.Diagnostics)
	remember(ctx, resp.Private, importedKey, true, &resp.Diagnostics)
}

// Read implements resource.Resource. The list of all services says whether this one changed;
// only then it is read itself.
func (r *serviceResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m serviceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	setIdentity(ctx, resp.Identity, "id", m.ID, m.Context, &resp.Diagnostics)
	imported := recall[bool](ctx, req.Private, importedKey, &resp.Diagnostics)
	last := recall[seen](ctx, req.Private, seenKey, &resp.Diagnostics)
	bounded, cancel := m.reading(ctx)
	defer cancel()
	p, err := r.plants.at(bounded, m.Context, &resp.Diagnostics)
	if err != nil {
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), err)
	}
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	view, found, err := p.service(bounded, m.ID.ValueString())
	if err == nil && !found {
		resp.State.RemoveResource(ctx)
		return
	}
	if err == nil && (!last.current(view) || m.Digest.IsNull()) {
		last, err = p.reread(bounded, &m, view, last)
	}
	if err != nil {
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), err)
		return
	}
	p.outlook.own(m.address())
	m.State, m.Enabled = types.StringValue(view.State), types.BoolValue(view.Enabled)
	if imported || !m.ParametersWOVersion.IsNull() {
		m.ParametersWOVersion = textOrNull(view.SecretLabel)
	}
	addDeviations(&resp.Diagnostics, m.object(), view.Deviations)
	remember(ctx, resp.Private, seenKey, last, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// reread reads the whole of a service that changed since, or that is imported.
func (p *plant) reread(ctx context.Context, m *serviceModel, listed spec.ServiceView, last seen) (seen, error) {
	now := seenOf(listed)
	outline, err := p.client.ServiceOutline(ctx, m.ID.ValueString())
	if err != nil {
		return last, err
	}
	if m.Digest.ValueString() == outline.Digest {
		now.Drifted = last.Drifted
		return now, nil
	}
	whole, err := p.client.Services().Get(ctx, m.ID.ValueString())
	if err != nil {
		return last, err
	}
	imported := m.Digest.IsNull()
	now.Drifted = !imported
	m.take(outline)
	return now, m.takeSource(ctx, whole, outline, imported)
}

// Create implements resource.Resource.
func (r *serviceResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m, config serviceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	summary := "Cannot install " + m.object()
	p := r.plants.toChange(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	if err := checkVacant(ctx, p, p.client.Services(), m.address(), m.how); err != nil {
		addError(&resp.Diagnostics, summary, err)
		return
	}
	config.how = m.how
	if err := r.apply(ctx, p, m, config, nil, onCreate, &resp.Diagnostics); err != nil {
		addError(&resp.Diagnostics, summary, err)
		if !stored(err) {
			return
		}
	}
	setIdentity(ctx, resp.Identity, "id", m.ID, m.Context, &resp.Diagnostics)
	remember(ctx, resp.Private, seenKey, p.takeBack(ctx, &m, &resp.Diagnostics), &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Update implements resource.Resource.
func (r *serviceResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, config, was serviceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	setIdentity(ctx, resp.Identity, "id", m.ID, m.Context, &resp.Diagnostics)
	p := r.plants.toChange(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	if err := r.apply(ctx, p, m, config, &was, onUpdate, &resp.Diagnostics); err != nil {
		addError(&resp.Diagnostics, "Cannot change "+m.object(), err)
		if !inVain(err) {
			return
		}
	}
	remember(ctx, resp.Private, importedKey, false, &resp.Diagnostics)
	remember(ctx, resp.Private, seenKey, p.takeBack(ctx, &m, &resp.Diagnostics), &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *serviceResource) apply(ctx context.Context, p *plant, m, config serviceModel, was *serviceModel, operation string, diags *diag.Diagnostics) error {
	config.Enabled = m.Enabled
	desired := config.desired(ctx, was, diags)
	if diags.HasError() {
		return nil
	}
	req := plan.Request{Services: []spec.Service{desired}, AllowUnsupported: m.AllowUnsupported.ValueBool()}
	if m.Enabled.ValueBool() {
		req.Wait = plan.WaitFor(m.WaitFor.ValueString())
	}
	done, err := p.apply(ctx, req, m.how, operation)
	if done != nil {
		addDeviations(diags, m.object(), done.Deviations)
	}
	return err
}

// takeBack fills in what was left to the server, and notes what now stands there. Where it does
// not answer, the next plan reads it.
func (p *plant) takeBack(ctx context.Context, m *serviceModel, diags *diag.Diagnostics) (now seen) {
	view, err := p.client.Services().Get(ctx, m.ID.ValueString())
	outline := spec.ServiceOutline{}
	if err == nil && (m.Digest.IsUnknown() || m.Resources.IsUnknown()) {
		outline, err = p.client.ServiceOutline(ctx, m.ID.ValueString())
	}
	if err != nil {
		diags.AddWarning("Cannot read back "+m.object(), sentence(err.Error()))
	}
	if err == nil {
		now = seenOf(view)
	}
	m.takeUnknown(outline)
	if m.State.IsUnknown() { // else the plan, which changes nothing of the service, has promised it
		m.State = types.StringValue(view.State)
	}
	return now
}

// Delete implements resource.Resource.
func (r *serviceResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m serviceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	r.delete(ctx, m.how, m.absent(), m.object(), &resp.Diagnostics)
}
