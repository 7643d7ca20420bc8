package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// reader is what all data sources are: something read of one of the plants.
type reader struct{ plants *plants }

// Configure implements datasource.DataSourceWithConfigure.
func (r *reader) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	r.plants = configured(req.ProviderData, &resp.Diagnostics)
}

// open opens the plant; nil with an error in diags where that fails. What is read must be known:
// settings that only an apply tells have it read then.
func (r *reader) open(ctx context.Context, name types.String, diags *diag.Diagnostics) *plant {
	p, err := r.plants.at(ctx, name, diags)
	if err != nil {
		addError(diags, cannotUse(name), err)
		return nil
	}
	if p == nil {
		diags.AddError(cannotUse(name), "How the instance is reached is known only after an apply. Name the resource that tells in depends_on of this data source.")
	}
	return p
}

func contextAttribute() schema.StringAttribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: "Name of the instance: one of the provider's `contexts`, or of the context file. Not given, it is the provider's own."}
}

func readPermissions(description string) schema.SetAttribute {
	return schema.SetAttribute{Computed: true, ElementType: permissionType, MarkdownDescription: description}
}

func readTexts(description string) schema.SetAttribute {
	return schema.SetAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: description}
}

func readText(description string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: description}
}

// notFound is the error of an object that a data source names and that does not exist.
func notFound(diags *diag.Diagnostics, object string) {
	diags.AddError("Cannot find "+object, "It does not exist on the instance. A data source reads what is there; a resource makes it. Where the same apply makes it, name that resource in depends_on.")
}

var deviationType = types.ObjectType{AttrTypes: map[string]attr.Type{"address": types.StringType, "state": types.StringType, "error": types.StringType}}
