package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// identitySchema is an object's name and the context of its instance.
func identitySchema(key, description string) identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		key:       identityschema.StringAttribute{RequiredForImport: true, Description: description},
		"context": identityschema.StringAttribute{OptionalForImport: true, Description: "Name of the instance's context. Not given: the provider's own."},
	}}
}

// setIdentity says which object the resource is. It is called before a resource is removed from
// the state too: Terraform refuses one without identity even then.
func setIdentity(ctx context.Context, identity *tfsdk.ResourceIdentity, key string, name, instance types.String, diags *diag.Diagnostics) {
	if identity == nil {
		return
	}
	diags.Append(identity.SetAttribute(ctx, path.Root(key), name)...)
	diags.Append(identity.SetAttribute(ctx, path.Root("context"), instance)...)
}

// importID reads NAME or CONTEXT/NAME, or the identity of an import block.
func importID(ctx context.Context, key string, req resource.ImportStateRequest, diags *diag.Diagnostics) (name, instance types.String) {
	if req.ID == "" && req.Identity != nil {
		diags.Append(req.Identity.GetAttribute(ctx, path.Root(key), &name)...)
		diags.Append(req.Identity.GetAttribute(ctx, path.Root("context"), &instance)...)
		return name, instance
	}
	before, after, qualified := strings.Cut(req.ID, "/")
	if !qualified {
		before, after = "", req.ID
	}
	if after == "" || strings.Contains(after, "/") || qualified && before == "" {
		diags.AddError("Wrong import id", fmt.Sprintf("%q is not the id of an object. Give its name, or CONTEXT/NAME for an object of another instance than the provider's own.", req.ID))
	}
	instance = types.StringNull()
	if qualified {
		instance = types.StringValue(before)
	}
	return types.StringValue(after), instance
}
