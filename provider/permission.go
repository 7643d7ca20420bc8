package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/spec"
)

type permissionModel struct {
	Resource  types.String `tfsdk:"resource"`
	Operation types.String `tfsdk:"operation"`
	Context   types.String `tfsdk:"context"`
}

var permissionType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"resource": types.StringType, "operation": types.StringType, "context": types.StringType,
}}

func permissionAttributes() schema.NestedAttributeObject {
	return schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
		"resource": schema.StringAttribute{
			Required: true, Validators: []validator.String{checked{"a topic filter, or a route of the API", spec.CheckFilter}},
			MarkdownDescription: "A topic filter, or a route of the API. Wildcards are MQTT's in both.",
		},
		"operation": schema.StringAttribute{
			Required: true, Validators: []validator.String{oneOf(string(spec.Read), string(spec.Write), string(spec.ReadWrite))},
			MarkdownDescription: "What is allowed: `read`, `write` or `readWrite`.",
		},
		"context": schema.StringAttribute{
			Required: true, Validators: []validator.String{oneOf(string(spec.MQTT), string(spec.HTTP))},
			MarkdownDescription: "Where it is allowed: `mqtt` or `http`.",
		},
	}}
}

// permissionsOf reads a set; it is nil where the set is not given.
func permissionsOf(ctx context.Context, set types.Set, diags *diag.Diagnostics) []spec.Permission {
	if set.IsNull() || set.IsUnknown() {
		return nil
	}
	var models []permissionModel
	diags.Append(set.ElementsAs(ctx, &models, false)...)
	permissions := make([]spec.Permission, 0, len(models))
	for _, m := range models {
		permissions = append(permissions, spec.Permission{
			Resource: m.Resource.ValueString(), Operation: spec.Operation(m.Operation.ValueString()), Context: spec.Context(m.Context.ValueString()),
		})
	}
	return permissions
}

func permissionSet(permissions []spec.Permission) types.Set {
	values := make([]attr.Value, 0, len(permissions))
	for _, p := range permissions {
		values = append(values, types.ObjectValueMust(permissionType.AttrTypes, map[string]attr.Value{
			"resource": types.StringValue(p.Resource), "operation": types.StringValue(string(p.Operation)), "context": types.StringValue(string(p.Context)),
		}))
	}
	return types.SetValueMust(permissionType, unique(values))
}

// textsOf reads a set of texts; it is nil where the set is not given.
func textsOf[T ~string](ctx context.Context, set types.Set, diags *diag.Diagnostics) []T {
	if set.IsNull() || set.IsUnknown() {
		return nil
	}
	texts := []string{}
	diags.Append(set.ElementsAs(ctx, &texts, false)...)
	out := make([]T, 0, len(texts))
	for _, text := range texts {
		out = append(out, T(text))
	}
	return out
}

func textSet[T ~string](texts []T) types.Set {
	values := make([]attr.Value, 0, len(texts))
	for _, text := range texts {
		values = append(values, types.StringValue(string(text)))
	}
	return types.SetValueMust(types.StringType, unique(values))
}

// unique drops repetitions, which a list of the server's may have and a set must not.
func unique(values []attr.Value) []attr.Value {
	out := values[:0:0]
	for _, v := range values {
		repeated := false
		for _, w := range out {
			repeated = repeated || w.Equal(v)
		}
		if !repeated {
			out = append(out, v)
		}
	}
	return out
}
