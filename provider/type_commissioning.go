package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/millwright/millwright/internal/commissioning"
)

// commissioningType is the text of a commissioning file. Two texts are equal if they say the
// same: comments, order and quoting make no difference.
type commissioningType struct{ basetypes.StringType }

var (
	_ basetypes.StringTypable                    = commissioningType{}
	_ basetypes.StringValuableWithSemanticEquals = commissioningText{}
)

// String implements attr.Type.
func (commissioningType) String() string { return "commissioning file" }

// Equal implements attr.Type.
func (t commissioningType) Equal(other attr.Type) bool {
	_, ok := other.(commissioningType)
	return ok
}

// ValueType implements attr.Type.
func (commissioningType) ValueType(context.Context) attr.Value { return commissioningText{} }

// ValueFromString implements basetypes.StringTypable.
func (commissioningType) ValueFromString(_ context.Context, in basetypes.StringValue) (basetypes.StringValuable, diag.Diagnostics) {
	return commissioningText{StringValue: in}, nil
}

// ValueFromTerraform implements attr.Type.
func (t commissioningType) ValueFromTerraform(ctx context.Context, in tftypes.Value) (attr.Value, error) {
	v, err := t.StringType.ValueFromTerraform(ctx, in)
	if err != nil {
		return nil, err
	}
	text, ok := v.(basetypes.StringValue)
	if !ok {
		return nil, fmt.Errorf("cannot read a commissioning file of %T", v)
	}
	return commissioningText{StringValue: text}, nil
}

// commissioningText is a value of commissioningType.
type commissioningText struct{ basetypes.StringValue }

func newCommissioningText(text string) commissioningText {
	return commissioningText{StringValue: types.StringValue(text)}
}

// Type implements attr.Value.
func (commissioningText) Type(context.Context) attr.Type { return commissioningType{} }

// Equal implements attr.Value: the same text, character by character.
func (c commissioningText) Equal(other attr.Value) bool {
	o, ok := other.(commissioningText)
	return ok && c.StringValue.Equal(o.StringValue)
}

// StringSemanticEquals implements basetypes.StringValuableWithSemanticEquals.
func (c commissioningText) StringSemanticEquals(_ context.Context, other basetypes.StringValuable) (bool, diag.Diagnostics) {
	o, ok := other.(commissioningText)
	return ok && c.same(o), nil
}

// same reports whether both say the same.
func (c commissioningText) same(o commissioningText) bool {
	if c.IsNull() || c.IsUnknown() || o.IsNull() || o.IsUnknown() {
		return c.StringValue.Equal(o.StringValue)
	}
	return commissioning.Same([]byte(c.ValueString()), []byte(o.ValueString()))
}
