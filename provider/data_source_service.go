package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/spec"
)

type serviceData struct{ reader }

var _ datasource.DataSourceWithConfigure = (*serviceData)(nil)

type serviceDataModel struct {
	Context types.String `tfsdk:"context"`
	ID      types.String `tfsdk:"id"`
	serviceSummary
	Commissioning types.String  `tfsdk:"commissioning"`
	Parameters    types.Dynamic `tfsdk:"parameters"`
	Digest        types.String  `tfsdk:"digest"`
	Resources     types.Map     `tfsdk:"resources"`
	Topics        types.Set     `tfsdk:"topics"`
	Links         types.List    `tfsdk:"links"`
}

// serviceSummary is what a list says of a service.
type serviceSummary struct {
	Name        types.String `tfsdk:"name"`
	Version     types.String `tfsdk:"version"`
	Description types.String `tfsdk:"description"`
	State       types.String `tfsdk:"state"`
	Enabled     types.Bool   `tfsdk:"enabled"`
	Owner       types.String `tfsdk:"owner"`
	Deviations  types.List   `tfsdk:"deviations"`
}

func summaryAttributes(more map[string]schema.Attribute) map[string]schema.Attribute {
	more["name"] = readText("The file's `metadata.name`.")
	more["version"] = readText("The file's `metadata.version`.")
	more["description"] = readText("The file's description.")
	more["state"] = readText("Where it stands: `enabling`, `enabled`, `disabling`, `disabled` or `deviated`.")
	more["enabled"] = schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether it is to run."}
	more["owner"] = readText("Who declares it: `api` or `stack:NAME`.")
	more["deviations"] = schema.ListAttribute{
		Computed: true, ElementType: deviationType, MarkdownDescription: "What is not as it should be: the resource's address, its state, and why.",
	}
	return more
}

func summaryOf(v spec.ServiceView) serviceSummary {
	deviations := make([]attr.Value, 0, len(v.Deviations))
	for _, d := range v.Deviations {
		deviations = append(deviations, types.ObjectValueMust(deviationType.AttrTypes, map[string]attr.Value{
			"address": types.StringValue(d.Address), "state": types.StringValue(d.State), "error": textOrNull(d.Error),
		}))
	}
	return serviceSummary{
		Name: types.StringValue(v.Name), Version: types.StringValue(v.Version), Description: types.StringValue(v.Description),
		State: types.StringValue(v.State), Enabled: types.BoolValue(v.Enabled), Owner: types.StringValue(v.Owner),
		Deviations: types.ListValueMust(deviationType, deviations),
	}
}

// Metadata implements datasource.DataSource.
func (d *serviceData) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = typeName + "_service"
}

// Schema implements datasource.DataSource.
func (d *serviceData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A service as it is.",
		Attributes: summaryAttributes(map[string]schema.Attribute{
			"context":       contextAttribute(),
			"id":            schema.StringAttribute{Required: true, MarkdownDescription: "Id of the service."},
			"commissioning": readText("Text of its commissioning file, with secrets that stand in it masked."),
			"parameters":    schema.DynamicAttribute{Computed: true, MarkdownDescription: "Its parameters as they are in effect, with secrets masked."},
			"digest":        readText("Names everything that the service consists of, secrets left out."),
			"resources":     schema.MapAttribute{Computed: true, ElementType: outlineType, MarkdownDescription: "Its resources by id: type, topic of an endpoint, digest."},
			"topics":        readTexts("Topics that it publishes, as far as its file tells; `+` is what a mapping fills in."),
			"links":         schema.ListAttribute{Computed: true, ElementType: linkType, MarkdownDescription: "Links to its pages, below the address of the instance."},
		}),
	}
}

// Read implements datasource.DataSource.
func (d *serviceData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m serviceDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	p := d.open(ctx, m.Context, &resp.Diagnostics)
	if p == nil || resp.Diagnostics.HasError() {
		return
	}
	object := fmt.Sprintf("service %q", m.ID.ValueString())
	err := m.read(ctx, p)
	switch {
	case spec.KindOf(err) == spec.NotFound:
		notFound(&resp.Diagnostics, object)
	case err != nil:
		addError(&resp.Diagnostics, "Cannot read "+object, err)
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}

func (m *serviceDataModel) read(ctx context.Context, p *plant) error {
	view, err := p.client.Services().Get(ctx, m.ID.ValueString())
	if err != nil {
		return err
	}
	outline, err := p.client.ServiceOutline(ctx, m.ID.ValueString())
	if err != nil {
		return err
	}
	var read serviceModel
	read.take(outline)
	m.Digest, m.Resources, m.Topics, m.Links = read.Digest, read.Resources, read.Topics, read.Links
	m.serviceSummary, m.Commissioning = summaryOf(view), types.StringValue(view.Commissioning)
	parameters := map[string]any{}
	for name, value := range view.Parameters {
		parameters[name] = value
	}
	m.Parameters, err = dynamicValue(parameters)
	return err
}
