package provider

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type servicesData struct{ reader }

var _ datasource.DataSourceWithConfigure = (*servicesData)(nil)

type servicesDataModel struct {
	Context  types.String  `tfsdk:"context"`
	Filter   types.String  `tfsdk:"filter"`
	IDs      types.List    `tfsdk:"ids"`
	Services []listedModel `tfsdk:"services"`
}

type listedModel struct {
	ID types.String `tfsdk:"id"`
	serviceSummary
}

// Metadata implements datasource.DataSource.
func (d *servicesData) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = typeName + "_services"
}

// Schema implements datasource.DataSource.
func (d *servicesData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The services of an instance.",
		Attributes: map[string]schema.Attribute{
			"context": contextAttribute(),
			"filter":  schema.StringAttribute{Optional: true, MarkdownDescription: "Only services whose id contains this text."},
			"ids":     schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Their ids, sorted."},
			"services": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The services, sorted by id.",
				NestedObject: schema.NestedAttributeObject{Attributes: summaryAttributes(map[string]schema.Attribute{"id": readText("Id of the service.")})},
			},
		},
	}
}

// Read implements datasource.DataSource.
func (d *servicesData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m servicesDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	p := d.open(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	all, err := p.services.all(ctx, p.client.Services(), serviceID)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot list the services", err)
		return
	}
	ids := []string{}
	m.Services = []listedModel{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if strings.Contains(id, m.Filter.ValueString()) {
			ids = append(ids, id)
			m.Services = append(m.Services, listedModel{types.StringValue(id), summaryOf(all[id])})
		}
	}
	list, diags := types.ListValueFrom(ctx, types.StringType, ids)
	resp.Diagnostics.Append(diags...)
	m.IDs = list
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
