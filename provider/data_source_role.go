package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type roleData struct{ reader }

var _ datasource.DataSourceWithConfigure = (*roleData)(nil)

type roleDataModel struct {
	Context     types.String `tfsdk:"context"`
	Name        types.String `tfsdk:"name"`
	Owner       types.String `tfsdk:"owner"`
	Permissions types.Set    `tfsdk:"permissions"`
}

// Metadata implements datasource.DataSource.
func (d *roleData) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = typeName + "_role"
}

// Schema implements datasource.DataSource.
func (d *roleData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A role as it is, also one that is built in or that a service brings.",
		Attributes: map[string]schema.Attribute{
			"context":     contextAttribute(),
			"name":        schema.StringAttribute{Required: true, MarkdownDescription: "Name of the role."},
			"owner":       readText("Who declares it: `api`, `stack:NAME` or `service:ID`."),
			"permissions": readPermissions("All that the role allows."),
		},
	}
}

// Read implements datasource.DataSource.
func (d *roleData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m roleDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	p := d.open(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	object := fmt.Sprintf("role %q", m.Name.ValueString())
	v, found, err := p.role(ctx, m.Name.ValueString())
	switch {
	case err != nil:
		addError(&resp.Diagnostics, "Cannot read "+object, err)
	case !found:
		notFound(&resp.Diagnostics, object)
	default:
		m.Owner, m.Permissions = types.StringValue(v.Owner), permissionSet(v.Permissions)
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}
