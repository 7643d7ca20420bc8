package commissioning

import (
	"fmt"
	"strings"
)

// rules checks a rule chain: a list of maps with one key each.
func (e *evaluator) rules(n *node, path string) any {
	if n.kind == broken {
		return nil
	}
	if n.kind != list {
		e.wrongType(n, path, "a list")
		return nil
	}
	out := make([]any, 0, len(n.items))
	for i, item := range n.items {
		if r := e.rule(item, fmt.Sprintf("%s[%d]", path, i)); r != nil {
			out = append(out, r)
		}
	}
	return out
}

func (e *evaluator) rule(n *node, path string) any {
	if n.kind == text {
		if f, ok := ruleShape.Field(n.text); ok && len(f.Shape.Fields) == 0 {
			return map[string]any{n.text: map[string]any{}}
		}
	}
	if n.kind != object {
		if n.kind != broken {
			e.error(n, "wrong-type", "write - name: {...}", fmt.Sprintf("%s must be a map with one key, not a %s", path, n.kind))
		}
		return nil
	}
	if len(n.fields) != 1 {
		e.error(n, "wrong-type", "begin each rule with a dash of its own", fmt.Sprintf("%s must have one key, not %d", path, len(n.fields)))
		return nil
	}
	name, v := n.fields[0].name, n.fields[0].value
	f, ok := ruleShape.Field(name)
	if !ok {
		hint := didYouMean(name, ruleShape.Names())
		if hint == "" {
			hint = "one of " + strings.Join(ruleShape.Names(), ", ")
		}
		e.error(n.fields[0].key, "unknown-rule", hint, fmt.Sprintf("%s is the unknown rule %q", path, name))
		return nil
	}
	if v.absent() {
		v = &node{kind: object, line: n.line, column: n.column, source: n.source}
	}
	out := e.object(f.Shape, v, scope{path: path + "." + name})
	e.expressions(name, v, path+"."+name)
	if out == nil {
		return nil
	}
	return map[string]any{name: out}
}

// expressions checks the syntax of a rule's JSONata.
func (e *evaluator) expressions(rule string, n *node, path string) {
	switch rule {
	case "transform", "filter":
		e.expression(n.get("expression"), path+".expression")
	case "setContextVars":
		if vars := n.get("vars"); vars != nil {
			for _, f := range vars.fields {
				e.expression(f.value, path+".vars."+f.name)
			}
		}
	}
}

func (e *evaluator) expression(n *node, path string) {
	if n == nil || n.kind != text || e.input.CheckExpression == nil {
		return
	}
	if err := e.input.CheckExpression(n.text); err != nil {
		message := err.Error()
		if n.secret {
			message = "its syntax is wrong"
		}
		e.error(n, "bad-expression", "JSONata, see https://jsonata.org", fmt.Sprintf("%s cannot be compiled: %s", path, message))
	}
}
