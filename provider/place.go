package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// samePlace plans the attribute context: what is not given stays as it is in the state, where
// an import by name alone has put the provider's own. Another context replaces the object.
type samePlace struct{}

// Description implements planmodifier.Describer.
func (samePlace) Description(context.Context) string { return "another context replaces the object" }

// MarkdownDescription implements planmodifier.Describer.
func (m samePlace) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

// PlanModifyString implements planmodifier.String.
func (samePlace) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.ConfigValue.IsNull() {
		resp.PlanValue = req.StateValue
	}
	resp.RequiresReplace = !req.State.Raw.IsNull() && !req.Plan.Raw.IsNull() && !resp.PlanValue.Equal(req.StateValue)
}

// ownContext names the context that is meant where none is given; null where the block or the
// environment says otherwise how the instance is reached, or it is not known yet which it is.
func (p *plants) ownContext(ctx context.Context) types.String {
	if p == nil {
		return types.StringNull()
	}
	s := p.settings
	for _, given := range []types.String{s.URL, s.Token, s.Username} {
		if !given.IsNull() {
			return types.StringNull()
		}
	}
	for _, name := range []string{"MILLWRIGHT_URL", "MILLWRIGHT_TOKEN", "MILLWRIGHT_USERNAME"} {
		if p.getenv(name) != "" {
			return types.StringNull()
		}
	}
	if name := s.Context.ValueString(); name != "" {
		return types.StringValue(name)
	}
	own, err := s.resolve(ctx, "", p.getenv)
	if err != nil || !own.known || own.Context == "" {
		return types.StringNull() // whoever uses the instance hears of the error
	}
	return types.StringValue(own.Context)
}

// importPlace is the context of an object that is imported by its name alone.
func (m *managed) importPlace(ctx context.Context, given types.String) types.String {
	if !given.IsNull() {
		return given
	}
	return m.plants.ownContext(ctx)
}

// place settles the planned context of an object whose configuration gives none: one that an
// import found is kept as long as it is still the provider's own.
func (m *managed) place(ctx context.Context, config types.String, was, next *how, resp *resource.ModifyPlanResponse, diags *diag.Diagnostics) {
	if was == nil || !config.IsNull() || was.Context.IsNull() || m.plants == nil {
		return
	}
	if own := m.plants.ownContext(ctx); own.IsNull() || own.Equal(was.Context) {
		return
	}
	next.Context = types.StringNull()
	resp.RequiresReplace = append(resp.RequiresReplace, path.Root("context"))
	diags.Append(resp.Plan.SetAttribute(ctx, path.Root("context"), next.Context)...)
}
