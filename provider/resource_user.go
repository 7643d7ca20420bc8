package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/setplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type userResource struct{ managed }

var (
	_ resource.ResourceWithConfigure      = (*userResource)(nil)
	_ resource.ResourceWithIdentity       = (*userResource)(nil)
	_ resource.ResourceWithImportState    = (*userResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*userResource)(nil)
	_ resource.ResourceWithValidateConfig = (*userResource)(nil)
)

type userModel struct {
	how
	Username          types.String `tfsdk:"username"`
	PasswordWO        types.String `tfsdk:"password_wo"`
	PasswordWOVersion types.String `tfsdk:"password_wo_version"`
	Roles             types.Set    `tfsdk:"roles"`
	Permissions       types.Set    `tfsdk:"permissions"`
	Grants            types.Set    `tfsdk:"grants"`
}

func (m *userModel) place() *how {
	if m == nil {
		return nil
	}
	return &m.how
}

func (m *userModel) object() string { return fmt.Sprintf("user %q", m.Username.ValueString()) }

func (m *userModel) address() string { return plan.UserAddress(m.Username.ValueString()) }

// desired is what a configuration asks for: what it leaves out is left alone, and the password
// with it unless its version is another than the state's.
func (m *userModel) desired(ctx context.Context, was *userModel, diags *diag.Diagnostics) spec.User {
	u := spec.User{
		Username: m.Username.ValueString(), Roles: textsOf[string](ctx, m.Roles, diags),
		Permissions: permissionsOf(ctx, m.Permissions, diags), Grants: textsOf[spec.Grant](ctx, m.Grants, diags),
	}
	if was != nil && was.PasswordWOVersion.Equal(m.PasswordWOVersion) || m.PasswordWO.IsNull() || m.PasswordWO.IsUnknown() {
		return u
	}
	password := m.PasswordWO.ValueString()
	u.Password, u.PasswordLabel = &password, m.PasswordWOVersion.ValueString()
	return u
}

func (m *userModel) absent() plan.Request {
	return plan.Request{Users: []spec.User{{Username: m.Username.ValueString(), State: spec.Absent}}}
}

// take reads the account back. A version that was not declared is nobody's business, unless an
// import asks for everything.
func (m *userModel) take(v spec.UserView, imported bool) {
	m.Roles, m.Permissions, m.Grants = textSet(v.Roles), permissionSet(v.Permissions), textSet(v.Grants)
	if imported || !m.PasswordWOVersion.IsNull() {
		m.PasswordWOVersion = textOrNull(v.PasswordLabel)
	}
}

func (m *userModel) same(other *userModel) bool {
	return other != nil && m.sameObject(other) && m.PasswordWOVersion.Equal(other.PasswordWOVersion) &&
		m.Roles.Equal(other.Roles) && m.Permissions.Equal(other.Permissions) && m.Grants.Equal(other.Grants)
}

func (m *userModel) sameObject(other *userModel) bool {
	return m.Username.Equal(other.Username) && m.Context.Equal(other.Context)
}

func textOrNull(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

// Metadata implements resource.Resource.
func (r *userResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = typeName + "_user"
}

// Schema implements resource.Resource.
func (r *userResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	kept := []planmodifier.Set{setplanmodifier.UseStateForUnknown()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The account of a person or program. A set that is not given is left as it is on the instance; one that is given is complete.",
		Attributes: withHow(map[string]schema.Attribute{
			"username": schema.StringAttribute{
				Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				Validators:          []validator.String{checked{"a user's name", func(s string) error { return spec.CheckName("user", s) }}},
				MarkdownDescription: "Name of the user: 1 to 64 letters, digits, `_`, `.`, `@`, `-`. Another one replaces the user.",
			},
			"password_wo": schema.StringAttribute{
				Optional: true, WriteOnly: true,
				MarkdownDescription: "Password, at least 5 characters. It stands in no state and no plan, and is written when `password_wo_version` is another than before.",
			},
			"password_wo_version": schema.StringAttribute{
				Optional: true, Validators: []validator.String{checked{"a label", func(s string) error { return spec.CheckLabel("password_wo_version", s) }}},
				MarkdownDescription: "Any text that names this version of the password, such as `1`. The instance keeps it beside the password and clears it when somebody else writes the password, so that this shows.",
			},
			"roles": schema.SetAttribute{
				Optional: true, Computed: true, ElementType: types.StringType, PlanModifiers: kept, MarkdownDescription: "Names of the user's roles.",
			},
			"permissions": schema.SetNestedAttribute{
				Optional: true, Computed: true, NestedObject: permissionAttributes(), PlanModifiers: kept, MarkdownDescription: "What the user may do beside its roles.",
			},
			"grants": schema.SetAttribute{
				Optional: true, Computed: true, ElementType: types.StringType, PlanModifiers: kept,
				Validators:          []validator.Set{setOf(string(spec.GrantPassword), string(spec.GrantToken))},
				MarkdownDescription: "How the user may log in: `password`, `token`. A new user gets both.",
			},
		}),
	}
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *userResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m userModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if m.PasswordWO.IsNull() != m.PasswordWOVersion.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("password_wo_version"), "Password and version belong together",
			"Give password_wo and password_wo_version, or neither: only another version has a password written.")
	}
	if text := m.PasswordWO; !text.IsNull() && !text.IsUnknown() && len([]rune(text.ValueString())) < spec.MinPasswordLength {
		resp.Diagnostics.AddAttributeError(path.Root("password_wo"), "The password is too short", fmt.Sprintf("It must have at least %d characters.", spec.MinPasswordLength))
	}
}

// IdentitySchema implements resource.ResourceWithIdentity.
func (r *userResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identitySchema("username", "Name of the user.")
}

// ImportState implements resource.ResourceWithImportState.
func (r *userResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	name, instance := importID(ctx, "username", req, &resp.Diagnostics)
	instance = r.importPlace(ctx, instance)
	resp.Diagnostics.Append(resp.State.Set(ctx, userModel{
		how: importedHow(instance), Username: name,
		Roles: types.SetNull(types.StringType), Permissions: types.SetNull(permissionType), Grants: types.SetNull(types.StringType),
	})...)
	setIdentity(ctx, resp.Identity, "username", name, instance, &resp.Diagnostics)
	remember(ctx, resp.Private, importedKey, true, &resp.Diagnostics)
}

// Read implements resource.Resource.
func (r *userResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m userModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	setIdentity(ctx, resp.Identity, "username", m.Username, m.Context, &resp.Diagnostics)
	imported := recall[bool](ctx, req.Private, importedKey, &resp.Diagnostics)
	ctx, cancel := m.reading(ctx)
	defer cancel()
	p, err := r.plants.at(ctx, m.Context, &resp.Diagnostics)
	if err != nil {
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), err)
	}
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	view, found, err := p.user(ctx, m.Username.ValueString())
	if err != nil {
		r.unread(&resp.Diagnostics, "Cannot read "+m.object(), err)
		return
	}
	if !found {
		resp.State.RemoveResource(ctx)
		return
	}
	p.outlook.own(m.address())
	m.take(view, imported)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// ModifyPlan implements resource.ResourceWithModifyPlan: the server plans.
func (r *userResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var config, next userModel
	was := stateOf[userModel](ctx, req.State, &resp.Diagnostics)
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
	next.settle(config.how, was.place(), imported, next.same(was))
	resp.Diagnostics.Append(resp.Plan.Set(ctx, next)...)
	switch {
	case next.same(was):
	case was != nil && !next.sameObject(was): // the new one is planned apart
		r.planDelete(ctx, was.how, was.absent(), was.address(), was.object(), &resp.Diagnostics)
	default:
		config.how = next.how
		r.planChange(ctx, was, config, &resp.Diagnostics)
	}
}

func (r *userResource) planChange(ctx context.Context, was *userModel, config userModel, diags *diag.Diagnostics) {
	ctx, cancel := config.reading(ctx)
	defer cancel()
	summary := "Cannot plan " + config.object()
	p, err := r.plants.at(ctx, config.Context, diags)
	if err != nil {
		r.unread(diags, summary, err)
	}
	if p == nil || !known(ctx, diags, config.Username, config.Roles, config.Permissions, config.Grants) {
		return
	}
	desired := config.desired(ctx, was, diags)
	req := plan.Request{Roles: p.outlook.rolesOf(desired.Roles), Users: []spec.User{desired}}
	preview := p.preview
	if was == nil {
		preview = p.previewNew
	}
	own, err := preview(ctx, config.request(req), config.address())
	if err != nil {
		r.unread(diags, summary, notYet(err))
		return
	}
	for _, d := range own.Diagnostics {
		addFinding(diags, summary, d)
	}
	addDisturbance(diags, config.object(), own)
}

// Create implements resource.Resource.
func (r *userResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m, config userModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	summary := "Cannot create " + m.object()
	p := r.plants.toChange(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	if err := checkVacant(ctx, p, p.client.Users(), m.address(), m.how); err != nil {
		addError(&resp.Diagnostics, summary, err)
		return
	}
	desired := config.desired(ctx, nil, &resp.Diagnostics)
	if _, err := p.apply(ctx, plan.Request{Users: []spec.User{desired}}, m.how, onCreate); err != nil {
		addError(&resp.Diagnostics, summary, err)
		if !stored(err) {
			return
		}
	}
	setIdentity(ctx, resp.Identity, "username", m.Username, m.Context, &resp.Diagnostics)
	r.takeBack(ctx, p, &m, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Update implements resource.Resource.
func (r *userResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, config, was userModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	setIdentity(ctx, resp.Identity, "username", m.Username, m.Context, &resp.Diagnostics)
	p := r.plants.toChange(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	desired := config.desired(ctx, &was, &resp.Diagnostics)
	if _, err := p.apply(ctx, plan.Request{Users: []spec.User{desired}}, m.how, onUpdate); err != nil {
		addError(&resp.Diagnostics, "Cannot change "+m.object(), err)
		return
	}
	remember(ctx, resp.Private, importedKey, false, &resp.Diagnostics)
	r.takeBack(ctx, p, &m, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// takeBack fills in what was left to the server. Where it does not answer, that is empty: the
// next plan reads it again.
func (r *userResource) takeBack(ctx context.Context, p *plant, m *userModel, diags *diag.Diagnostics) {
	if known(ctx, diags, m.Roles, m.Permissions, m.Grants) {
		return
	}
	view, err := p.client.Users().Get(ctx, m.Username.ValueString())
	if err != nil {
		diags.AddWarning("Cannot read back "+m.object(), sentence(err.Error()))
	}
	if m.Roles.IsUnknown() {
		m.Roles = textSet(view.Roles)
	}
	if m.Permissions.IsUnknown() {
		m.Permissions = permissionSet(view.Permissions)
	}
	if m.Grants.IsUnknown() {
		m.Grants = textSet(view.Grants)
	}
}

// Delete implements resource.Resource.
func (r *userResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m userModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	r.delete(ctx, m.how, m.absent(), m.object(), &resp.Diagnostics)
}
