package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/spec"
)

// tokenEphemeral is a token that lives as long as Terraform runs. It stands in no state and no
// plan, and is revoked at the end.
type tokenEphemeral struct{ plants *plants }

var (
	_ ephemeral.EphemeralResourceWithConfigure = (*tokenEphemeral)(nil)
	_ ephemeral.EphemeralResourceWithClose     = (*tokenEphemeral)(nil)
)

type tokenModel struct {
	Context     types.String `tfsdk:"context"`
	Name        types.String `tfsdk:"name"`
	TTL         types.String `tfsdk:"ttl"`
	Permissions types.Set    `tfsdk:"permissions"`
	ID          types.String `tfsdk:"id"`
	Token       types.String `tfsdk:"token"`
	ExpiresAt   types.String `tfsdk:"expires_at"`
}

// openToken is what Close has to know.
type openToken struct {
	ID      string  `json:"id"`
	Context *string `json:"context"`
}

const (
	tokenKey       = "token"
	tokenName      = "terraform"
	tokenTTL       = "1h"
	tokenDocuments = "A token of the caller for as long as Terraform runs, for other providers and for programs that Terraform starts. It stands in no state and no plan, and is revoked at the end."
)

// Metadata implements ephemeral.EphemeralResource.
func (e *tokenEphemeral) Metadata(_ context.Context, _ ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse) {
	resp.TypeName = typeName + "_token"
}

// Configure implements ephemeral.EphemeralResourceWithConfigure.
func (e *tokenEphemeral) Configure(_ context.Context, req ephemeral.ConfigureRequest, resp *ephemeral.ConfigureResponse) {
	e.plants = configured(req.ProviderData, &resp.Diagnostics)
}

// Schema implements ephemeral.EphemeralResource.
func (e *tokenEphemeral) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: tokenDocuments,
		Attributes: map[string]schema.Attribute{
			"context": schema.StringAttribute{Optional: true, MarkdownDescription: "Name of the instance, as for resources."},
			"name":    schema.StringAttribute{Optional: true, Computed: true, MarkdownDescription: "Name of the token, for who lists them. Default: `" + tokenName + "`."},
			"ttl":     schema.StringAttribute{Optional: true, Computed: true, Validators: []validator.String{isDuration{}}, MarkdownDescription: "How long it is valid if it is not revoked before. Default: `" + tokenTTL + "`."},
			"permissions": schema.SetAttribute{
				Optional: true, ElementType: permissionType, MarkdownDescription: "What it allows, a part of what the caller may do. Not given: all of that.",
			},
			"id":         schema.StringAttribute{Computed: true, MarkdownDescription: "Id of the token."},
			"token":      schema.StringAttribute{Computed: true, Sensitive: true, MarkdownDescription: "The token."},
			"expires_at": schema.StringAttribute{Computed: true, MarkdownDescription: "When it expires, RFC 3339."},
		},
	}
}

// Open implements ephemeral.EphemeralResource.
func (e *tokenEphemeral) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var m tokenModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	p, err := e.plants.at(ctx, m.Context, &resp.Diagnostics)
	if err != nil {
		addError(&resp.Diagnostics, cannotUse(m.Context), err)
		return
	}
	if p == nil {
		resp.Diagnostics.AddError(cannotUse(m.Context), "How the instance is reached is known only after an apply.")
		return
	}
	ask := spec.TokenRequest{Name: orDefault(m.Name, tokenName), TTL: orDefault(m.TTL, tokenTTL), Permissions: permissionsOf(ctx, m.Permissions, &resp.Diagnostics)}
	secret, err := p.client.CreateToken(ctx, ask)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot make a token", err)
		return
	}
	m.Name, m.TTL, m.ID = types.StringValue(ask.Name), types.StringValue(ask.TTL), types.StringValue(secret.ID)
	m.Token, m.ExpiresAt = types.StringValue(secret.Token), types.StringValue(secret.ExpiresAt.UTC().Format(time.RFC3339))
	remember(ctx, resp.Private, tokenKey, openToken{ID: secret.ID, Context: m.Context.ValueStringPointer()}, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Result.Set(ctx, m)...)
}

// Close implements ephemeral.EphemeralResourceWithClose.
func (e *tokenEphemeral) Close(ctx context.Context, req ephemeral.CloseRequest, resp *ephemeral.CloseResponse) {
	open := recall[openToken](ctx, req.Private, tokenKey, &resp.Diagnostics)
	p, err := e.plants.at(ctx, types.StringPointerValue(open.Context), &resp.Diagnostics)
	if err == nil && p != nil {
		err = p.client.Tokens().Delete(ctx, open.ID)
	}
	if err != nil && spec.KindOf(err) != spec.NotFound {
		resp.Diagnostics.AddWarning("The token is not revoked", sentence(err.Error())+" It expires by itself.")
	}
}

func orDefault(v types.String, fallback string) string {
	if v.IsNull() || v.IsUnknown() {
		return fallback
	}
	return v.ValueString()
}
