package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
)

// expression compiles a rule's JSONata and notes what it may ask the chain for.
func (c *Chain) expression(source string) (*expr.Expression, error) {
	e, err := expr.Compile(source)
	if err != nil {
		return nil, err
	}
	evaluates := strings.Contains(source, "eval")
	c.memory.usesLast = c.memory.usesLast || evaluates || strings.Contains(source, "last")
	c.memory.usesContext = c.memory.usesContext || evaluates || strings.Contains(source, "context")
	return e, nil
}

// eval evaluates e on the message. It ends by itself: package expr bounds its time.
func (c *Chain) eval(e *expr.Expression, m *message) (result any, defined bool, err error) {
	if err := m.decode(); err != nil {
		return nil, false, err
	}
	if c.memory.usesContext {
		if m.context == nil {
			m.context, err = expr.Import(map[string]any{"topic": m.topic, "vars": notNil(m.vars)})
			if err != nil {
				return nil, false, err
			}
		}
		c.memory.scope["context"] = m.context
	}
	return e.Eval(context.Background(), m.value, c.memory.scope)
}

func notNil(vars map[string]any) map[string]any {
	if vars == nil {
		return map[string]any{}
	}
	return vars
}

// transform replaces the message by an expression's result.
type transform struct{ expression *expr.Expression }

func (c *Chain) compileTransform(rule commissioning.ExpressionRule) (step, error) {
	e, err := c.expression(rule.Expression)
	if err != nil {
		return nil, fmt.Errorf("transform: %w", err)
	}
	return &transform{expression: e}, nil
}

func (t *transform) run(c *Chain, m *message) (bool, error) {
	result, defined, err := c.eval(t.expression, m)
	if err != nil || !defined {
		return false, err
	}
	m.replace(result)
	return true, nil
}

// filter lets the message pass where an expression is truthy.
type filter struct{ expression *expr.Expression }

func (c *Chain) compileFilter(rule commissioning.ExpressionRule) (step, error) {
	e, err := c.expression(rule.Expression)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return &filter{expression: e}, nil
}

func (f *filter) run(c *Chain, m *message) (bool, error) {
	result, defined, err := c.eval(f.expression, m)
	return defined && expr.Truthy(result), err
}

// setContextVars sets variables, each by an expression that sees those from before the rule. A
// result of nothing unsets its variable.
type setContextVars struct {
	names       []string // sorted, so that failures come in the same order every time
	expressions []*expr.Expression
}

func (c *Chain) compileSetContextVars(rule commissioning.SetContextVarsRule) (step, error) {
	if len(rule.Vars) == 0 {
		return nil, errors.New("setContextVars: vars is empty")
	}
	s := &setContextVars{names: slices.Sorted(maps.Keys(rule.Vars))}
	for _, name := range s.names {
		e, err := c.expression(rule.Vars[name])
		if err != nil {
			return nil, fmt.Errorf("setContextVars %q: %w", name, err)
		}
		s.expressions = append(s.expressions, e)
	}
	return s, nil
}

func (s *setContextVars) run(c *Chain, m *message) (bool, error) {
	vars := make(map[string]any, len(m.vars)+len(s.names))
	maps.Copy(vars, m.vars)
	for i, name := range s.names {
		result, defined, err := c.eval(s.expressions[i], m)
		switch {
		case err != nil:
			return false, err
		case defined:
			vars[name] = result
		default:
			delete(vars, name)
		}
	}
	m.setVars(vars)
	return true, nil
}

// stash keeps the message for $last('label').
type stash struct{ label string }

func compileStash(rule commissioning.StashRule) (step, error) {
	if rule.Label == "" {
		return nil, errors.New("stash: label is empty")
	}
	return &stash{label: rule.Label}, nil
}

func (s *stash) run(c *Chain, m *message) (bool, error) {
	if err := m.decode(); err != nil {
		return false, err
	}
	c.memory.stash[s.label] = m.value
	return true, nil
}
