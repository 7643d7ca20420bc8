package provider_test

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func null(t tftypes.Type) tftypes.Value { return tftypes.NewValue(t, nil) }

func encode(v tftypes.Value) (*tfprotov6.DynamicValue, error) {
	d, err := tfprotov6.NewDynamicValue(v.Type(), v)
	return &d, err
}

func encodeAll(values ...tftypes.Value) ([]*tfprotov6.DynamicValue, error) {
	var all []*tfprotov6.DynamicValue
	for _, v := range values {
		d, err := encode(v)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func decode(d *tfprotov6.DynamicValue, t tftypes.Type) (tftypes.Value, error) {
	v, err := d.Unmarshal(t)
	if err != nil {
		return v, err
	}
	return sorted(v), nil
}

// fields of an object or map; elements of a list, set or tuple.
func fields(v tftypes.Value) (m map[string]tftypes.Value) { must(v.As(&m)); return m }

func elements(v tftypes.Value) (l []tftypes.Value) { must(v.As(&l)); return l }

func isMap(t tftypes.Type) bool { return t.Is(tftypes.Object{}) || t.Is(tftypes.Map{}) }

func isList(t tftypes.Type) bool {
	return t.Is(tftypes.List{}) || t.Is(tftypes.Set{}) || t.Is(tftypes.Tuple{})
}

// sorted has the elements of sets in one order, as Terraform sends them.
func sorted(v tftypes.Value) tftypes.Value {
	switch {
	case v.IsNull() || !v.IsKnown():
		return v
	case isMap(v.Type()):
		m := map[string]tftypes.Value{}
		for name, f := range fields(v) {
			m[name] = sorted(f)
		}
		return tftypes.NewValue(v.Type(), m)
	case isList(v.Type()):
		l := slices.Clone(elements(v))
		for n := range l {
			l[n] = sorted(l[n])
		}
		if v.Type().Is(tftypes.Set{}) {
			slices.SortFunc(l, func(a, b tftypes.Value) int { return strings.Compare(canonical(a), canonical(b)) })
			l = slices.CompactFunc(l, func(a, b tftypes.Value) bool { return canonical(a) == canonical(b) })
		}
		return tftypes.NewValue(v.Type(), l)
	}
	return v
}

// canonical prints a value; two values are the same for Terraform if it is the same.
func canonical(v tftypes.Value) string {
	switch {
	case !v.IsKnown():
		return "unknown"
	case v.IsNull():
		return "null"
	case isMap(v.Type()):
		open := "map{"
		if v.Type().Is(tftypes.Object{}) {
			open = "object{"
		}
		m := fields(v)
		for _, name := range slices.Sorted(maps.Keys(m)) {
			open += fmt.Sprintf("%q: %s, ", name, canonical(m[name]))
		}
		return open + "}"
	case isList(v.Type()):
		var l []string
		for _, e := range elements(v) {
			l = append(l, canonical(e))
		}
		if v.Type().Is(tftypes.Set{}) {
			slices.Sort(l)
		}
		return "[" + strings.Join(l, ", ") + "]"
	case v.Type().Is(tftypes.Number):
		var n big.Float
		must(v.As(&n))
		return n.Text('g', -1)
	case v.Type().Is(tftypes.Bool):
		var b bool
		must(v.As(&b))
		return fmt.Sprint(b)
	}
	var s string
	must(v.As(&s))
	return fmt.Sprintf("%q", s)
}

// valueOf makes a value of the type; what a map leaves out of an object is null.
func valueOf(t tftypes.Type, v any) tftypes.Value {
	if v == nil {
		return null(t)
	}
	switch x := t.(type) {
	case tftypes.Object:
		m := map[string]tftypes.Value{}
		for name, f := range x.AttributeTypes {
			m[name] = valueOf(f, v.(map[string]any)[name])
		}
		return tftypes.NewValue(t, m)
	case tftypes.Set:
		var l []tftypes.Value
		for _, e := range v.([]any) {
			l = append(l, valueOf(x.ElementType, e))
		}
		return sorted(tftypes.NewValue(t, l))
	case tftypes.Map:
		m := map[string]tftypes.Value{}
		for name, f := range v.(map[string]any) {
			m[name] = valueOf(x.ElementType, f)
		}
		return tftypes.NewValue(t, m)
	}
	if t.Is(tftypes.DynamicPseudoType) {
		return freeValue(v)
	}
	return tftypes.NewValue(t, v)
}

// freeValue is a value of the type that Terraform finds for an expression.
func freeValue(v any) tftypes.Value {
	switch x := v.(type) {
	case nil:
		return null(tftypes.DynamicPseudoType)
	case bool:
		return tftypes.NewValue(tftypes.Bool, x)
	case string:
		return tftypes.NewValue(tftypes.String, x)
	case []any:
		t, l := tftypes.Tuple{ElementTypes: []tftypes.Type{}}, []tftypes.Value{}
		for _, e := range x {
			one := freeValue(e)
			t.ElementTypes, l = append(t.ElementTypes, one.Type()), append(l, one)
		}
		return tftypes.NewValue(t, l)
	case map[string]any:
		t, m := tftypes.Object{AttributeTypes: map[string]tftypes.Type{}}, map[string]tftypes.Value{}
		for name, f := range x {
			m[name] = freeValue(f)
			t.AttributeTypes[name] = m[name].Type()
		}
		return tftypes.NewValue(t, m)
	}
	return tftypes.NewValue(tftypes.Number, v)
}

// propose is what Terraform proposes: the configuration, and what was computed before.
func propose(block *tfprotov6.SchemaBlock, prior, config tftypes.Value) tftypes.Value {
	proposed := maps.Clone(fields(config))
	for _, a := range block.Attributes {
		if !a.Computed || !proposed[a.Name].IsNull() {
			continue
		}
		if prior.IsNull() {
			proposed[a.Name] = tftypes.NewValue(a.ValueType(), tftypes.UnknownValue)
			continue
		}
		if was := fields(prior)[a.Name]; a.NestedType == nil || !a.Optional || !holdsGiven(a.NestedType, was) {
			proposed[a.Name] = was
		}
	}
	return tftypes.NewValue(config.Type(), proposed)
}

// holdsGiven reports whether a nested value has something that only a configuration can have given.
func holdsGiven(t *tfprotov6.SchemaObject, v tftypes.Value) bool {
	if v.IsNull() || !v.IsKnown() {
		return false
	}
	if isList(v.Type()) {
		return slices.ContainsFunc(elements(v), func(e tftypes.Value) bool { return holdsGiven(t, e) })
	}
	for _, a := range t.Attributes {
		if !a.Computed && !fields(v)[a.Name].IsNull() {
			return true
		}
	}
	return false
}

// checkPlanned holds a plan to the configuration, as Terraform does.
func checkPlanned(block *tfprotov6.SchemaBlock, config, prior, planned tftypes.Value) error {
	was := map[string]tftypes.Value{}
	if !prior.IsNull() {
		was = fields(prior)
	}
	for _, a := range block.Attributes {
		given, is := fields(config)[a.Name], fields(planned)[a.Name]
		before, existed := was[a.Name]
		switch {
		case a.WriteOnly && !is.IsNull():
			return fmt.Errorf("%s is write-only, and planned as %s", a.Name, is)
		case a.WriteOnly, a.Computed && given.IsNull(), canonical(is) == canonical(given):
		case existed && !before.IsNull() && !given.IsNull() && canonical(is) == canonical(before):
		default:
			return fmt.Errorf("%s is configured as %s, and planned as %s", a.Name, given, is)
		}
	}
	return nil
}

// keeps checks that a value is as it was promised; what was unknown may be anything.
func keeps(promised, v tftypes.Value) error {
	switch {
	case !promised.IsKnown():
		return nil
	case promised.IsNull() || v.IsNull() || !isMap(promised.Type()) && !isList(promised.Type()):
		if canonical(promised) != canonical(v) {
			return fmt.Errorf("%s became %s", canonical(promised), canonical(v))
		}
		return nil
	case promised.Type().Is(tftypes.Set{}) && promised.IsFullyKnown():
		if canonical(promised) != canonical(v) {
			return fmt.Errorf("%s became %s", canonical(promised), canonical(v))
		}
		return nil
	case isMap(promised.Type()):
		before, now := fields(promised), fields(v)
		for name, f := range before {
			if _, there := now[name]; !there || len(before) != len(now) {
				return fmt.Errorf("%s became %s", canonical(promised), canonical(v))
			}
			if err := keeps(f, now[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	before, now := elements(promised), elements(v)
	if len(before) != len(now) {
		return fmt.Errorf("%s became %s", canonical(promised), canonical(v))
	}
	for n := range before {
		if err := keeps(before[n], now[n]); err != nil {
			return err
		}
	}
	return nil
}
