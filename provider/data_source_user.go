package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type userData struct{ reader }

var _ datasource.DataSourceWithConfigure = (*userData)(nil)

type userDataModel struct {
	Context     types.String `tfsdk:"context"`
	Username    types.String `tfsdk:"username"`
	Owner       types.String `tfsdk:"owner"`
	Roles       types.Set    `tfsdk:"roles"`
	Permissions types.Set    `tfsdk:"permissions"`
	Grants      types.Set    `tfsdk:"grants"`
}

// Metadata implements datasource.DataSource.
func (d *userData) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = typeName + "_user"
}

// Schema implements datasource.DataSource.
func (d *userData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "An account as it is, also one that a service brings.",
		Attributes: map[string]schema.Attribute{
			"context":     contextAttribute(),
			"username":    schema.StringAttribute{Required: true, MarkdownDescription: "Name of the user."},
			"owner":       readText("Who declares it: `api`, `stack:NAME` or `service:ID`."),
			"roles":       readTexts("Names of its roles."),
			"permissions": readPermissions("What it may do beside its roles."),
			"grants":      readTexts("How it may log in."),
		},
	}
}

// Read implements datasource.DataSource.
func (d *userData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m userDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	p := d.open(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	object := fmt.Sprintf("user %q", m.Username.ValueString())
	v, found, err := p.user(ctx, m.Username.ValueString())
	switch {
	case err != nil:
		addError(&resp.Diagnostics, "Cannot read "+object, err)
	case !found:
		notFound(&resp.Diagnostics, object)
	default:
		m.Owner, m.Roles = types.StringValue(v.Owner), textSet(v.Roles)
		m.Permissions, m.Grants = permissionSet(v.Permissions), textSet(v.Grants)
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}
