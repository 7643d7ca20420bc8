package provider

import (
	"context"
	"encoding/json"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"

	"github.com/millwright/millwright/internal/spec"
)

// optionText reads an option as JSON has it; null values are left out, and a value that is not
// given or not known is nil.
func optionText(ctx context.Context, v attr.Value) (any, error) {
	t, err := v.ToTerraformValue(ctx)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read a value: %w", err)
	}
	if t.IsNull() || !t.IsFullyKnown() {
		return nil, nil
	}
	value, err := plain(t)
	return withoutNulls(value), err
}

func withoutNulls(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for name, value := range object {
		if value != nil {
			out[name] = withoutNulls(value)
		}
	}
	return out
}

// sameOption reports whether two values of an option mean the same. Of ports and limits, only
// what declared has is compared: each key stands for itself.
func sameOption(ctx context.Context, name string, declared, have attr.Value) bool {
	if declared.Equal(have) {
		return true
	}
	a, errA := optionText(ctx, declared)
	b, errB := optionText(ctx, have)
	if errA != nil || errB != nil || declared.IsUnknown() || have.IsUnknown() {
		return false
	}
	a, b = canonicalOption(name, a), canonicalOption(name, b)
	if name == optionPorts || name == optionLimits {
		return covers(b, a)
	}
	return reflect.DeepEqual(withoutEmpty(a), withoutEmpty(b))
}

// covers reports whether have has everything that declared has.
func covers(have, declared any) bool {
	want, ok := declared.(map[string]any)
	if !ok {
		return declared == nil || reflect.DeepEqual(have, declared)
	}
	is, _ := have.(map[string]any)
	for name, value := range want {
		if !covers(is[name], value) {
			return false
		}
	}
	return true
}

// withoutEmpty takes what is empty for not given.
func withoutEmpty(v any) any {
	switch x := v.(type) {
	case string:
		if x == "" {
			return nil
		}
	case []any:
		if len(x) == 0 {
			return nil
		}
	case map[string]any:
		out := map[string]any{}
		for name, value := range x {
			if value = withoutEmpty(value); value != nil {
				out[name] = value
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	return v
}

// canonicalOption writes equal values equally, as an instance that has been settled has them.
func canonicalOption(name string, v any) any {
	switch x := v.(type) {
	case string:
		if x != "" && (name == optionInstallPath || name == optionBackupPath) {
			if absolute, err := filepath.Abs(x); err == nil {
				return absolute
			}
		}
	case []any:
		if name == optionAgents || name == optionDevices {
			return slices.SortedFunc(slices.Values(x), func(a, b any) int { return strings.Compare(asString(a), asString(b)) })
		}
	case map[string]any:
		out := maps.Clone(x)
		for key, value := range x {
			switch name {
			case optionPorts:
				out[key] = canonicalPort(asString(value))
			case optionLimits:
				out[key] = canonicalLimit(value)
			}
		}
		return out
	}
	return v
}

func asString(v any) string {
	text, _ := v.(string)
	return text
}

func canonicalPort(text string) string {
	address, number, err := spec.Port(text).Split()
	switch {
	case err != nil:
		return text
	case address == "0.0.0.0":
		address = ""
	}
	return string(spec.JoinPort(address, number))
}

func canonicalLimit(v any) any {
	limit, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	if bytes, err := spec.ParseMemory(asString(limit["memory"])); err == nil {
		out["memory"] = bytes
	}
	if cpus, ok := limit["cpus"].(json.Number); ok {
		if n, err := cpus.Float64(); err == nil && n > 0 {
			out["cpus"] = n
		}
	}
	return out
}
