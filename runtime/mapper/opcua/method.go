package opcua

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// method is what a call needs to know.
type method struct {
	object    *ua.NodeID
	arguments []argument
}

type argument struct {
	name string
	kind valueType
}

// call calls a method and returns its result: nothing, the one value, or a list of them.
func (s *session) call(ctx context.Context, node *ua.NodeID, value any) (any, error) {
	m, err := s.nodes.methodOf(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("cannot find out how to call %q: %w", node, named(err))
	}
	inputs, err := m.inputs(value)
	if err != nil {
		return nil, fmt.Errorf("cannot call %q: %w", node, err)
	}
	response, err := ask[*callResponse](ctx, s, &ua.CallRequest{MethodsToCall: []*ua.CallMethodRequest{{
		ObjectID: m.object, MethodID: node, InputArguments: inputs,
	}}})
	if err != nil {
		return nil, fmt.Errorf("cannot call %q: %w", node, named(err))
	}
	if len(response.results) != 1 {
		return nil, errCount
	}
	return m.outputs(node, response.results[0])
}

func (m *method) outputs(node *ua.NodeID, r callResult) (any, error) {
	if isBad(r.status) {
		var wrong []string
		for i, status := range r.arguments {
			if isBad(status) && i < len(m.arguments) {
				wrong = append(wrong, fmt.Sprintf("%s: %s", m.arguments[i].name, statusName(status)))
			}
		}
		if len(wrong) > 0 {
			return nil, fmt.Errorf("cannot call %q: %w (%s)", node, statusError(r.status), strings.Join(wrong, ", "))
		}
		return nil, fmt.Errorf("cannot call %q: %w", node, statusError(r.status))
	}
	outputs := make([]any, len(r.outputs))
	for i, v := range r.outputs {
		var err error
		if outputs[i], err = fromAny(v.value); err != nil {
			return nil, fmt.Errorf("cannot map the result of %q: %w", node, err)
		}
	}
	switch len(outputs) {
	case 0:
		return nil, nil //nolint:nilnil // a method may have no result
	case 1:
		return outputs[0], nil
	}
	return outputs, nil
}

// inputs takes the arguments from a list, from an object by their names, or, where there is only
// one, the bare value.
func (m *method) inputs(value any) ([]*ua.Variant, error) {
	values, err := m.values(value)
	if err != nil {
		return nil, err
	}
	if len(values) != len(m.arguments) {
		return nil, fmt.Errorf("it takes %d arguments (%s), %d are given", len(m.arguments), m.names(), len(values))
	}
	inputs := make([]*ua.Variant, len(values))
	for i, v := range values {
		if inputs[i], err = toVariant(v, m.arguments[i].kind); err != nil {
			return nil, fmt.Errorf("argument %q: %w", m.arguments[i].name, err)
		}
	}
	return inputs, nil
}

func (m *method) values(value any) ([]any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case []any:
		if len(m.arguments) == 1 && m.arguments[0].kind.array && !holdsList(v) {
			return []any{v}, nil // the list is the one argument itself
		}
		return v, nil
	case map[string]any:
		return m.byName(v)
	}
	return []any{value}, nil
}

func holdsList(list []any) bool {
	if len(list) != 1 {
		return false
	}
	_, nested := list[0].([]any)
	return nested
}

func (m *method) byName(given map[string]any) ([]any, error) {
	values := make([]any, 0, len(m.arguments))
	for _, a := range m.arguments {
		if v, ok := given[a.name]; ok {
			values = append(values, v)
		}
	}
	if len(values) != len(given) {
		return nil, fmt.Errorf("it takes the arguments %s, and others are given", m.names())
	}
	return values, nil
}

func (m *method) names() string {
	names := make([]string, len(m.arguments))
	for i, a := range m.arguments {
		names[i] = a.name
	}
	encoded, err := json.Marshal(names)
	if err != nil {
		return strings.Join(names, ", ")
	}
	return string(encoded)
}

// methodOf finds, once for a session, the object that has the method, and the method's arguments.
func (n *nodes) methodOf(ctx context.Context, node *ua.NodeID) (*method, error) {
	n.mu.Lock()
	known := n.methods[node.String()]
	n.mu.Unlock()
	if known != nil {
		return known, nil
	}
	owners, err := n.session.references(ctx, node, ua.BrowseDirectionInverse, id.HierarchicalReferences)
	if err != nil {
		return nil, err
	}
	m := &method{}
	for _, o := range owners {
		if o.NodeClass == ua.NodeClassObject || m.object == nil {
			m.object = o.NodeID.NodeID
		}
	}
	if m.object == nil {
		return nil, fmt.Errorf("%w: no object has this method", statusError(ua.StatusBadMethodInvalid))
	}
	if m.arguments, err = n.argumentsOf(ctx, node); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.methods[node.String()] = m
	return m, nil
}

func (n *nodes) argumentsOf(ctx context.Context, node *ua.NodeID) ([]argument, error) {
	properties, err := n.session.references(ctx, node, ua.BrowseDirectionForward, id.HasProperty)
	if err != nil {
		return nil, err
	}
	for _, p := range properties {
		if p.BrowseName == nil || p.BrowseName.Name != "InputArguments" {
			continue
		}
		values, err := n.session.readAttributes(ctx, []*ua.ReadValueID{valueOf(p.NodeID.NodeID)})
		if err != nil {
			return nil, err
		}
		if isBad(values[0].status) {
			return nil, statusError(values[0].status)
		}
		return n.describe(ctx, values[0].value.value)
	}
	return nil, nil
}

func (n *nodes) describe(ctx context.Context, value any) ([]argument, error) {
	list, ok := value.([]any)
	if !ok && value != nil {
		return nil, fmt.Errorf("the list of arguments is a %T", value)
	}
	arguments := make([]argument, 0, len(list))
	for _, element := range list {
		o, ok := element.(*structure)
		if !ok {
			return nil, fmt.Errorf("an argument is described by a %T", element)
		}
		a, ok := o.value.(*ua.Argument)
		if !ok {
			return nil, fmt.Errorf("an argument is described by a %T", o.value)
		}
		kind, err := n.declared(ctx, a.DataType, a.ValueRank, valueType{})
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, argument{a.Name, kind})
	}
	return arguments, nil
}
