package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/plan"
)

// how says where an object is, and how changes to it are made: what all resources share beside
// the object itself.
type how struct {
	Context        types.String `tfsdk:"context"`
	Adopt          types.Bool   `tfsdk:"adopt"`
	MaxDisturbance types.String `tfsdk:"max_disturbance"`
	Timeouts       types.Object `tfsdk:"timeouts"`
}

// defaultTimeout is what an operation may take where timeouts does not say.
const defaultTimeout = time.Minute

// The operations that have a time of their own.
const (
	onCreate = "create"
	onRead   = "read"
	onUpdate = "update"
	onDelete = "delete"
)

var timeoutTypes = map[string]attr.Type{
	onCreate: types.StringType, onRead: types.StringType, onUpdate: types.StringType, onDelete: types.StringType,
}

// importedHow is what an import puts into the state, which knows nothing of it: no limit, and
// times that nobody gave. A plan leaves them as they are until something else changes.
func importedHow(context types.String) how {
	none := map[string]attr.Value{}
	for name := range timeoutTypes {
		none[name] = types.StringNull()
	}
	return how{
		Context: context, Adopt: types.BoolValue(false), MaxDisturbance: types.StringValue(string(plan.DisturbsInstance)),
		Timeouts: types.ObjectValueMust(timeoutTypes, none),
	}
}

// withHow adds the shared attributes to a resource's own.
func withHow(own map[string]schema.Attribute) map[string]schema.Attribute {
	own["context"] = schema.StringAttribute{
		Optional: true, Computed: true, PlanModifiers: []planmodifier.String{samePlace{}},
		MarkdownDescription: "Name of the instance: one of the provider's `contexts`, or of the context file. Not given, it is the provider's own. Another one replaces the object.",
	}
	own["adopt"] = schema.BoolAttribute{
		Optional: true, Computed: true, Default: booldefault.StaticBool(false),
		MarkdownDescription: "Take the object over where it exists already, also if a stack owns it. Else that is an error.",
	}
	own["max_disturbance"] = schema.StringAttribute{
		Optional: true, Computed: true, Default: stringdefault.StaticString(string(plan.DisturbsInstance)),
		Validators: []validator.String{oneOf(
			string(plan.DisturbsNone), string(plan.DisturbsEndpoint), string(plan.DisturbsConnection),
			string(plan.DisturbsContainer), string(plan.DisturbsService), string(plan.DisturbsInstance))},
		MarkdownDescription: "Fail the plan, before anything is changed, if the change would disturb more than this: `none`, `endpoint`, `connection`, `container`, `service` or `instance`, which is no limit.",
	}
	times := map[string]schema.Attribute{}
	for name := range timeoutTypes {
		times[name] = schema.StringAttribute{Optional: true, Validators: []validator.String{isDuration{}}, MarkdownDescription: "How long to wait on " + name + ", such as `90s` or `5m`. One minute if not given."}
	}
	own["timeouts"] = schema.SingleNestedAttribute{
		Optional: true, Computed: true, Attributes: times, MarkdownDescription: "How long to wait for the instance: to answer, and to reach the state that is asked for.",
	}
	return own
}

// timeout is what the operation may take.
func (h how) timeout(operation string) time.Duration {
	text, _ := h.Timeouts.Attributes()[operation].(types.String)
	if d, err := time.ParseDuration(text.ValueString()); err == nil { // its validator has seen it
		return d
	}
	return defaultTimeout
}

// settle fills in what the configuration leaves out of a plan. After an import, which guessed,
// a plan that changes nothing else leaves it at that.
func (h *how) settle(config how, was *how, imported, unchanged bool) {
	if config.Timeouts.IsNull() {
		h.Timeouts = types.ObjectNull(timeoutTypes)
		if was != nil && was.noTimes() {
			h.Timeouts = was.Timeouts
		}
	}
	if was != nil && imported && unchanged {
		h.Adopt, h.MaxDisturbance, h.Timeouts = was.Adopt, was.MaxDisturbance, was.Timeouts
	}
}

// noTimes reports whether timeouts says nothing, as that of an import does for ever after.
func (h how) noTimes() bool {
	for _, v := range h.Timeouts.Attributes() {
		if !v.IsNull() {
			return false
		}
	}
	return true
}

// reading bounds a read by the time that the state gives it.
func (h how) reading(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, h.timeout(onRead))
}

// request adds to a request how its changes are made.
func (h how) request(req plan.Request) plan.Request {
	req.Adopt, req.MaxDisturbance = h.Adopt.ValueBool(), plan.Disturbance(h.MaxDisturbance.ValueString())
	return req
}
