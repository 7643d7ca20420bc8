package provider

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// managed is what all resources are: something on one of the plants.
type managed struct{ plants *plants }

// Configure implements resource.ResourceWithConfigure.
func (m *managed) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	m.plants = configured(req.ProviderData, &resp.Diagnostics)
}

// configured is what Provider.Configure hands on; nil before it was called.
func configured(data any, diags *diag.Diagnostics) *plants {
	if data == nil {
		return nil
	}
	p, ok := data.(*plants)
	if !ok {
		diags.AddError("Cannot configure", fmt.Sprintf("The provider handed on %T. This is a fault of the provider.", data))
	}
	return p
}

// unread tells why an object cannot be read or planned: an error, or, where the provider keeps
// what it cannot reach, a warning.
func (m *managed) unread(diags *diag.Diagnostics, summary string, err error) {
	if m.plants.keep && spec.KindOf(err) == spec.Unavailable {
		diags.AddWarning("An instance does not answer", sentence(err.Error())+"\n\nWhat the state says of its objects is kept (on_unreachable = \"keep\").")
		return
	}
	addError(diags, summary, err)
}

// planDelete warns of what a deletion disturbs.
func (m *managed) planDelete(ctx context.Context, h how, absent plan.Request, address, object string, diags *diag.Diagnostics) {
	ctx, cancel := h.reading(ctx)
	defer cancel()
	p, err := m.plants.at(ctx, h.Context, diags)
	if p != nil {
		err = p.previewDelete(ctx, h.request(absent), address, object, diags)
	}
	if err != nil {
		m.unread(diags, "Cannot plan to delete "+object, err)
	}
}

// delete has an object deleted; one that is not there is no error.
func (m *managed) delete(ctx context.Context, h how, absent plan.Request, object string, diags *diag.Diagnostics) {
	p := m.plants.toChange(ctx, h.Context, diags)
	if p == nil || diags.HasError() {
		return
	}
	if _, err := p.apply(ctx, absent, h, onDelete); err != nil {
		addError(diags, "Cannot delete "+object, stillHeld(err))
	}
}

// stateOf reads the state; nil where there is none.
func stateOf[M any](ctx context.Context, state tfsdk.State, diags *diag.Diagnostics) *M {
	if state.Raw.IsNull() {
		return nil
	}
	m := new(M)
	diags.Append(state.Get(ctx, m)...)
	return m
}

// The keys of what a resource remembers beside its state.
const (
	importedKey = "imported" // the state came from an import, and nothing was applied since
	seenKey     = "seen"     // what of the object was last read
)

// memory is where a resource remembers something between Terraform's calls.
type memory interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

type memoryWriter interface {
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

// recall reads a remembered value; it is the zero value where there is none.
func recall[T any](ctx context.Context, m memory, key string, diags *diag.Diagnostics) (value T) {
	text, more := m.GetKey(ctx, key)
	diags.Append(more...)
	if len(text) == 0 {
		return value
	}
	if err := json.Unmarshal(text, &value); err != nil {
		diags.AddError("Cannot read the state", fmt.Sprintf("What the provider noted as %q is not readable: %s.", key, err))
	}
	return value
}

// remember writes a value.
func remember(ctx context.Context, m memoryWriter, key string, value any, diags *diag.Diagnostics) {
	text, err := json.Marshal(value)
	if err != nil {
		diags.AddError("Cannot write the state", fmt.Sprintf("%q cannot be noted: %s.", key, err))
		return
	}
	diags.Append(m.SetKey(ctx, key, text)...)
}

// known reports whether values hold nothing unknown, at any depth.
func known(ctx context.Context, diags *diag.Diagnostics, values ...attr.Value) bool {
	for _, v := range values {
		t, err := v.ToTerraformValue(ctx)
		if err != nil {
			diags.AddError("Cannot read the configuration", err.Error())
			return false
		}
		if !t.IsFullyKnown() {
			return false
		}
	}
	return true
}
