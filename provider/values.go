package provider

import (
	"context"
	"encoding/json"
	"maps"
	"math/big"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/millwright/millwright/internal/spec"
)

// numberBits is the precision of Terraform's own numbers.
const numberBits = 512

// plainValue turns a value of any type into JSON's: map[string]any, []any, string, bool,
// json.Number and nil. Unknown values are an error.
func plainValue(ctx context.Context, v attr.Value) (any, error) {
	t, err := v.ToTerraformValue(ctx)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read a value: %w", err)
	}
	if !t.IsFullyKnown() {
		return nil, spec.Errorf(spec.Invalid, "cannot use a value that is not known yet")
	}
	return plain(t)
}

func plain(t tftypes.Value) (any, error) {
	if t.IsNull() {
		return nil, nil
	}
	switch {
	case t.Type().Is(tftypes.String):
		return as[string](t)
	case t.Type().Is(tftypes.Bool):
		return as[bool](t)
	case t.Type().Is(tftypes.Number):
		n, err := as[big.Float](t)
		return numberText(&n), err
	case t.Type().Is(tftypes.Object{}), t.Type().Is(tftypes.Map{}):
		fields, err := as[map[string]tftypes.Value](t)
		if err != nil {
			return nil, err
		}
		out := make(map[string]any, len(fields))
		for name, field := range fields {
			if out[name], err = plain(field); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	items, err := as[[]tftypes.Value](t)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(items))
	for i, item := range items {
		if out[i], err = plain(item); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func as[T any](t tftypes.Value) (v T, err error) {
	if err := t.As(&v); err != nil {
		return v, spec.Errorf(spec.Internal, "cannot read a value: %w", err)
	}
	return v, nil
}

// numberText writes whole numbers with all their digits, others as short as they read back.
func numberText(n *big.Float) json.Number {
	if n.IsInt() {
		return json.Number(n.Text('f', 0))
	}
	return json.Number(n.Text('g', -1))
}

// dynamicValue is the reverse of plainValue: maps become objects, lists tuples.
func dynamicValue(v any) (types.Dynamic, error) {
	value, err := attrValue(v)
	return types.DynamicValue(value), err
}

func attrValue(v any) (attr.Value, error) {
	switch x := v.(type) {
	case nil:
		return types.StringNull(), nil
	case string:
		return types.StringValue(x), nil
	case bool:
		return types.BoolValue(x), nil
	case json.Number:
		n, _, err := big.ParseFloat(x.String(), 10, numberBits, big.ToNearestEven)
		if err != nil {
			return nil, spec.Errorf(spec.Invalid, "cannot read the number %q: %w", x, err)
		}
		return types.NumberValue(n), nil
	case []any:
		items, itemTypes := make([]attr.Value, len(x)), make([]attr.Type, len(x))
		for i, item := range x {
			value, err := attrValue(item)
			if err != nil {
				return nil, err
			}
			items[i], itemTypes[i] = value, value.Type(context.Background())
		}
		return types.TupleValueMust(itemTypes, items), nil
	case map[string]any:
		fields, fieldTypes := map[string]attr.Value{}, map[string]attr.Type{}
		for name, field := range x {
			value, err := attrValue(field)
			if err != nil {
				return nil, err
			}
			fields[name], fieldTypes[name] = value, value.Type(context.Background())
		}
		return types.ObjectValueMust(fieldTypes, fields), nil
	}
	return nil, spec.Errorf(spec.Internal, "cannot hand on %T to Terraform", v)
}

// parameterValues reads a service's parameters: an object or a map; nil where none is given.
func parameterValues(ctx context.Context, attribute string, v types.Dynamic) (map[string]any, error) {
	if v.IsNull() || v.IsUnderlyingValueNull() {
		return nil, nil
	}
	value, err := plainValue(ctx, v.UnderlyingValue())
	if err != nil {
		return nil, err
	}
	parameters, ok := value.(map[string]any)
	if !ok {
		return nil, spec.Errorf(spec.Invalid, "%s must be an object: { name = value }", attribute)
	}
	return withoutNull(parameters), nil
}

// withoutNull drops parameters that are null: they are not given.
func withoutNull(parameters map[string]any) map[string]any {
	out := maps.Clone(parameters)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// sameValue compares two values of JSON's types; numbers by value.
func sameValue(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, sameValue)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, sameValue)
	case json.Number:
		y, ok := b.(json.Number)
		return ok && sameNumber(x, y)
	}
	return a == b
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, _, errX := big.ParseFloat(a.String(), 10, numberBits, big.ToNearestEven)
	y, _, errY := big.ParseFloat(b.String(), 10, numberBits, big.ToNearestEven)
	return errX == nil && errY == nil && x.Cmp(y) == 0
}
