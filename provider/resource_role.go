package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type roleResource struct{ managed }

var (
	_ resource.ResourceWithConfigure   = (*roleResource)(nil)
	_ resource.ResourceWithIdentity    = (*roleResource)(nil)
	_ resource.ResourceWithImportState = (*roleResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*roleResource)(nil)
)

type roleModel struct {
	how
	Name        types.String `tfsdk:"name"`
	Permissions types.Set    `tfsdk:"permissions"`
}

func (m *roleModel) place() *how {
	if m == nil {
		return nil
	}
	return &m.how
}

func (m *roleModel) object() string { return fmt.Sprintf("role %q", m.Name.ValueString()) }

func (m *roleModel) address() string { return plan.RoleAddress(m.Name.ValueString()) }

func (m *roleModel) desired(ctx context.Context, diags *diag.Diagnostics) spec.Role {
	return spec.Role{Name: m.Name.ValueString(), Permissions: permissionsOf(ctx, m.Permissions, diags)}
}

func (m *roleModel) absent() plan.Request {
	return plan.Request{Roles: []spec.Role{{Name: m.Name.ValueString(), State: spec.Absent}}}
}

func (m *roleModel) take(v spec.RoleView) { m.Permissions = permissionSet(v.Permissions) }

func (m *roleModel) sameObject(other *roleModel) bool {
	return m.Name.Equal(other.Name) && m.Context.Equal(other.Context)
}

// Metadata implements resource.Resource.
func (r *roleResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = typeName + "_role"
}

// Schema implements resource.Resource.
func (r *roleResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A role: a named set of permissions, on topics of the broker and routes of the API.",
		Attributes: withHow(map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				Validators:          []validator.String{checked{"a role's name", func(s string) error { return spec.CheckName("role", s) }}},
				MarkdownDescription: "Name of the role: 1 to 64 letters, digits, `_`, `.`, `@`, `-`. Another one replaces the role.",
			},
			"permissions": schema.SetNestedAttribute{
				Required: true, NestedObject: permissionAttributes(), MarkdownDescription: "All that the role allows.",
			},
		}),
	}
}

// IdentitySchema implements resource.ResourceWithIdentity.
func (r *roleResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identitySchema("name", "Name of the role.")
}

// ImportState implements resource.ResourceWithImportState.
func (r *roleResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	name, instance := importID(ctx, "name", req, &resp.Diagnostics)
	instance = r.importPlace(ctx, instance)
	m := roleModel{how: importedHow(instance), Name: name, Permissions: types.SetNull(permissionType)}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	setIdentity(ctx, resp.Identity, "name", name, instance, &resp.Diagnostics)
	remember(ctx, resp.Private, importedKey, true, &resp.Diagnostics)
}

// Read implements resource.Resource.
func (r *roleResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m roleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	setIdentity(ctx, resp.Identity, "name", m.Name, m.Context, &resp.Diagnostics)
	ctx, cancel := m.reading(ctx)
	defer cancel()
	p, err := r.plants.at(ctx, m.Context, &resp.Diagnostics)
	if err != nil {
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), err)
	}
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	view, found, err := p.role(ctx, m.Name.ValueString())
	if err != nil {
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), err)
		return
	}
	if !found {
		resp.State.RemoveResource(ctx)
		return
	}
	p.outlook.own(m.address())
	m.take(view)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// ModifyPlan implements resource.ResourceWithModifyPlan: the server plans.
func (r *roleResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var config, next roleModel
	was := stateOf[roleModel](ctx, req.State, &resp.Diagnostics)
	if req.Plan.Raw.IsNull() {
		r.planDelete(ctx, was.how, was.absent(), was.address(), was.object(), &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &next)...)
	imported := recall[bool](ctx, req.Private, importedKey, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	r.place(ctx, config.Context, was.place(), &next.how, resp, &resp.Diagnostics)
	unchanged := was != nil && next.sameObject(was) && next.Permissions.Equal(was.Permissions)
	next.settle(config.how, was.place(), imported, unchanged)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, next)...)
	switch {
	case unchanged:
	case was != nil && !next.sameObject(was): // the new one is planned apart
		r.planDelete(ctx, was.how, was.absent(), was.address(), was.object(), &resp.Diagnostics)
	default:
		r.planChange(ctx, was, next, &resp.Diagnostics)
	}
}

func (r *roleResource) planChange(ctx context.Context, was *roleModel, next roleModel, diags *diag.Diagnostics) {
	ctx, cancel := next.reading(ctx)
	defer cancel()
	summary := "Cannot plan " + next.object()
	p, err := r.plants.at(ctx, next.Context, diags)
	if err != nil {
		r.unread(diags, summary, err)
	}
	if p == nil || next.Name.IsUnknown() {
		return
	}
	if !known(ctx, diags, next.Permissions) {
		p.outlook.addRole(spec.Role{Name: next.Name.ValueString()})
		return
	}
	desired := next.desired(ctx, diags)
	p.outlook.addRole(desired)
	preview := p.preview
	if was == nil {
		preview = p.previewNew
	}
	own, err := preview(ctx, next.request(plan.Request{Roles: []spec.Role{desired}}), next.address())
	if err != nil {
		r.unread(diags, summary, err)
		return
	}
	for _, d := range own.Diagnostics {
		addFinding(diags, summary, d)
	}
	addDisturbance(diags, next.object(), own)
}

// Create implements resource.Resource.
func (r *roleResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m roleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	summary := "Cannot create " + m.object()
	p := r.plants.toChange(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	if err := checkVacant(ctx, p, p.client.Roles(), m.address(), m.how); err != nil {
		addError(&resp.Diagnostics, summary, err)
		return
	}
	desired := m.desired(ctx, &resp.Diagnostics)
	_, err := p.apply(ctx, plan.Request{Roles: []spec.Role{desired}}, m.how, onCreate)
	if err != nil {
		addError(&resp.Diagnostics, summary, err)
		if !stored(err) {
			return
		}
	}
	setIdentity(ctx, resp.Identity, "name", m.Name, m.Context, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Update implements resource.Resource.
func (r *roleResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m roleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	setIdentity(ctx, resp.Identity, "name", m.Name, m.Context, &resp.Diagnostics)
	p := r.plants.toChange(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	desired := m.desired(ctx, &resp.Diagnostics)
	if _, err := p.apply(ctx, plan.Request{Roles: []spec.Role{desired}}, m.how, onUpdate); err != nil {
		addError(&resp.Diagnostics, "Cannot change "+m.object(), err)
		return
	}
	remember(ctx, resp.Private, importedKey, false, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Delete implements resource.Resource.
func (r *roleResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m roleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	r.delete(ctx, m.how, m.absent(), m.object(), &resp.Diagnostics)
}
