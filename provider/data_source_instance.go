package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/spec"
)

type instanceData struct{ reader }

var _ datasource.DataSourceWithConfigure = (*instanceData)(nil)

type instanceDataModel struct {
	Name       types.String `tfsdk:"name"`
	DockerHost types.String `tfsdk:"docker_host"`
	instanceOptions
	Running    types.Bool   `tfsdk:"running"`
	URL        types.String `tfsdk:"url"`
	CACert     types.String `tfsdk:"ca_cert"`
	Context    types.String `tfsdk:"context"`
	Drift      types.List   `tfsdk:"drift"`
	Containers types.List   `tfsdk:"containers"`
}

var containerType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"name": types.StringType, "part": types.StringType, "image": types.StringType, "status": types.StringType, "running": types.BoolType,
}}

// Metadata implements datasource.DataSource.
func (d *instanceData) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = typeName + "_instance"
}

// Schema implements datasource.DataSource.
func (d *instanceData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := map[string]schema.Attribute{
		"name": schema.StringAttribute{
			Optional: true, Computed: true, Validators: []validator.String{checked{"an instance's name", spec.CheckInstanceName}},
			MarkdownDescription: "Name of the instance; `" + spec.DefaultInstance + "` if not given.",
		},
		"docker_host": schema.StringAttribute{Optional: true, MarkdownDescription: "Address of its Docker engine. Not given, it is the provider's."},
		"running":     schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether all of its containers run."},
		"url":         readText("Address of its API and page."),
		"ca_cert":     readText("Its certificate authority, PEM."),
		"context":     readText("Name of its context, which is put into the context file."),
		"drift":       schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "What was changed behind its back, each with its cause."},
		"containers": schema.ListAttribute{
			Computed: true, ElementType: containerType, MarkdownDescription: "Its containers in the order in which they start: `name`, `part`, `image`, `status` and `running`.",
		},
	}
	for _, o := range allOptions() {
		attributes[o.name] = readOption(o)
	}
	resp.Schema = schema.Schema{MarkdownDescription: "An instance on a Docker engine as it is.", Attributes: attributes}
}

// readOption is what was last applied of an option.
func readOption(o option) schema.Attribute {
	text := "`" + o.name + "` as it was last applied."
	switch kind := o.kind.(type) {
	case types.ObjectType:
		return schema.ObjectAttribute{Computed: true, AttributeTypes: kind.AttrTypes, MarkdownDescription: text}
	case types.MapType:
		return schema.MapAttribute{Computed: true, ElementType: kind.ElemType, MarkdownDescription: text}
	case types.SetType:
		return schema.SetAttribute{Computed: true, ElementType: kind.ElemType, MarkdownDescription: text}
	case types.ListType:
		return schema.ListAttribute{Computed: true, ElementType: kind.ElemType, MarkdownDescription: text}
	}
	if o.kind == types.BoolType {
		return schema.BoolAttribute{Computed: true, MarkdownDescription: text}
	}
	return schema.StringAttribute{Computed: true, MarkdownDescription: text}
}

// Read implements datasource.DataSource.
func (d *instanceData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m instanceDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	like := instanceModel{Name: m.Name}
	host, known := d.plants.dockerHost(m.DockerHost)
	if !known {
		resp.Diagnostics.AddError("Cannot read "+like.object(), "Its engine is known only after an apply. Name the resource that tells in depends_on of this data source.")
	}
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := like.within(ctx, onRead)
	defer cancel()
	found := false
	err := d.plants.deployer(ctx, host, &resp.Diagnostics, func(to *deployer.Deployer) error {
		p, err := to.Plan(ctx, spec.Instance{Name: like.name()})
		if found = err == nil && exists(p); !found {
			return err
		}
		return m.take(ctx, to, p)
	})
	switch {
	case err != nil:
		addError(&resp.Diagnostics, "Cannot read "+like.object(), inOptions(err))
	case !found:
		resp.Diagnostics.AddError("Cannot find "+like.object(), "There is none of that name on the engine. A data source reads what is there; a resource makes it.")
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}

// take reads an instance by a pass that asks for nothing but its name.
func (m *instanceDataModel) take(ctx context.Context, d *deployer.Deployer, p *engine.Pass) error {
	o, err := d.Settled(ctx, p)
	if err != nil {
		return err
	}
	if m.instanceOptions, err = optionsOf(p.Instance); err != nil {
		return err
	}
	m.Name, m.Context = types.StringValue(p.Instance.Name), types.StringValue(o.Context)
	m.URL, m.CACert, m.Drift = textOrNull(o.URL), textOrNull(o.CACert), driftOf(p.Plan, p.Instance.Name)
	running, containers := len(o.Containers) >= len(p.Instance.Parts()), make([]attr.Value, 0, len(o.Containers))
	for _, c := range o.Containers {
		running = running && c.Running
		containers = append(containers, types.ObjectValueMust(containerType.AttrTypes, map[string]attr.Value{
			"name": types.StringValue(c.Name), "part": types.StringValue(c.Part), "image": types.StringValue(c.Image),
			"status": types.StringValue(c.Status), "running": types.BoolValue(c.Running),
		}))
	}
	m.Running, m.Containers = types.BoolValue(running), types.ListValueMust(containerType, containers)
	return nil
}
