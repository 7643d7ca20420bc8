package ansible

import (
	"encoding/json"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// What a diff shows of a secret; the instance never tells more.
const (
	secretBefore      = "(sensitive)"
	secretAfter       = "(sensitive, changed)"
	secretNotCompared = "(sensitive, not compared)"
)

// diffOf renders what the plan changes as Ansible's diff: each object and resource with the
// attributes that differ, as YAML, and in the header what the change disturbs.
func diffOf(p plan.Plan) (map[string]any, error) {
	before, after := map[string]any{}, map[string]any{}
	for _, s := range p.Steps {
		from, to := map[string]any{}, map[string]any{}
		for _, c := range s.Changes {
			addChange(s.Symbol, c, from, to)
		}
		if s.Symbol != plan.Create {
			before[s.Address] = from
		}
		if s.Symbol != plan.Delete {
			after[s.Address] = to
		}
		if s.Symbol != plan.Create && s.Symbol != plan.Delete && reflect.DeepEqual(from, to) {
			to["cause"] = s.Cause // what is done leaves it as it was
		}
	}
	beforeText, err := document(before)
	if err != nil {
		return nil, err
	}
	afterText, err := document(after)
	if err != nil {
		return nil, err
	}
	return map[string]any{"before": beforeText, "after": afterText, "before_header": "as it is", "after_header": p.Summary()}, nil
}

func addChange(symbol plan.Symbol, c plan.Change, from, to map[string]any) {
	was, becomes := any(nil), any(nil)
	switch {
	case c.NotCompared:
		was, becomes = secretNotCompared, secretNotCompared
	case c.Sensitive:
		was, becomes = secretBefore, secretAfter
	default:
		was, becomes = c.From, c.To
	}
	if was != nil && symbol != plan.Create {
		from[c.Path] = was
	}
	if becomes != nil && symbol != plan.Delete {
		to[c.Path] = becomes
	}
}

// document renders a map as YAML; an empty one is no text.
func document(m map[string]any) (string, error) {
	if len(m) == 0 {
		return "", nil
	}
	var b strings.Builder
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(yamlValue(m)); err != nil {
		return "", spec.Errorf(spec.Internal, "cannot render the difference: %w", err)
	}
	return b.String(), nil
}

// yamlValue lets numbers be written as they are.
func yamlValue(v any) any {
	switch x := v.(type) {
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(x.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: x.String()}
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = yamlValue(e)
		}
		return m
	case []any:
		list := make([]any, 0, len(x))
		for _, e := range x {
			list = append(list, yamlValue(e))
		}
		return list
	}
	return v
}
