package opcua

import (
	"context"
	"fmt"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

// valueType is what a variable or an argument takes.
type valueType struct {
	kind  ua.TypeID
	array bool // it must be one
	any   bool // it may be one
}

// Write writes one value in the type of its node, or calls a method.
func (s *session) Write(ctx context.Context, target mapper.Point, payload mapper.Payload) mapper.Result {
	found := s.nodes.resolve(ctx, []mapper.Point{target})[0]
	value, err := any(nil), found.err
	if err == nil {
		p := target.(*point) // resolve has checked it
		if p.method {
			value, err = s.call(ctx, found.node, payload.Value)
		} else {
			value, err = s.writeValue(ctx, found.node, p.attribute, payload.Value)
		}
	}
	return mapper.Result{Time: time.Now(), Value: value, Err: err}
}

// writeValue returns the value as it was written.
func (s *session) writeValue(ctx context.Context, node *ua.NodeID, attribute ua.AttributeID, value any) (any, error) {
	t, err := s.nodes.typeOf(ctx, node, attribute)
	if err != nil {
		return nil, fmt.Errorf("cannot find out the type of %q: %w", node, named(err))
	}
	variant, err := toVariant(value, t)
	if err != nil {
		return nil, err
	}
	response, err := ask[*ua.WriteResponse](ctx, s, &ua.WriteRequest{NodesToWrite: []*ua.WriteValue{{
		NodeID: node, AttributeID: attribute, Value: &ua.DataValue{EncodingMask: ua.DataValueValue, Value: variant},
	}}})
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot write %q: %w", node, named(err))
	case len(response.Results) != 1:
		return nil, errCount
	case isBad(response.Results[0]):
		s.nodes.forgetType(node, attribute)
		return nil, fmt.Errorf("cannot write %q: %w", node, statusError(response.Results[0]))
	}
	return fromAny(variant.Value())
}

func typeKey(node *ua.NodeID, attribute ua.AttributeID) string {
	return fmt.Sprintf("%s@%d", node, attribute)
}

// forgetType lets the next write ask again: the type may have changed.
func (n *nodes) forgetType(node *ua.NodeID, attribute ua.AttributeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.types, typeKey(node, attribute))
}

// typeOf asks once for a variable's data type; other attributes have the type of their present value.
func (n *nodes) typeOf(ctx context.Context, node *ua.NodeID, attribute ua.AttributeID) (valueType, error) {
	key := typeKey(node, attribute)
	n.mu.Lock()
	known, ok := n.types[key]
	n.mu.Unlock()
	if ok {
		return known, nil
	}
	values, err := n.session.readAttributes(ctx, []*ua.ReadValueID{
		attributeOf(node, ua.AttributeIDDataType), attributeOf(node, ua.AttributeIDValueRank), attributeOf(node, attribute),
	})
	if err != nil {
		return valueType{}, err
	}
	t := valueType{kind: values[2].value.kind, array: values[2].value.array}
	if attribute == ua.AttributeIDValue {
		if isBad(values[0].status) {
			return valueType{}, statusError(values[0].status)
		}
		if t, err = n.declared(ctx, values[0].value.value, values[1].value.value, t); err != nil {
			return valueType{}, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.types[key] = t
	return t, nil
}

// declared combines the data type and rank of a variable or an argument with the present value,
// which tells what an abstract data type stands for.
func (n *nodes) declared(ctx context.Context, dataType, rank any, present valueType) (valueType, error) {
	t := present
	if r, ok := rank.(int32); ok {
		t.array, t.any = r >= 0, r == -2 || r == -3
	}
	declared, ok := dataType.(*ua.NodeID)
	if !ok {
		return t, nil
	}
	kind, err := n.builtin(ctx, declared)
	if err != nil {
		return t, err
	}
	if kind != ua.TypeIDVariant || t.kind == ua.TypeIDNull {
		t.kind = kind
	}
	return t, nil
}

// builtin follows a data type to the built-in type that it is encoded as; TypeIDVariant stands for an
// abstract one, such as Number.
func (n *nodes) builtin(ctx context.Context, dataType *ua.NodeID) (ua.TypeID, error) {
	for range 20 { // no hierarchy is deeper
		if dataType.Namespace() == 0 && dataType.Type() != ua.NodeIDTypeString {
			switch numeric := dataType.IntID(); {
			case numeric >= id.Boolean && numeric <= id.Structure:
				return ua.TypeID(numeric), nil
			case numeric == id.Enumeration:
				return ua.TypeIDInt32, nil
			case numeric == id.Number || numeric == id.Integer || numeric == id.UInteger || numeric == id.BaseDataType:
				return ua.TypeIDVariant, nil
			}
		}
		parents, err := n.session.references(ctx, dataType, ua.BrowseDirectionInverse, id.HasSubtype)
		if err != nil {
			return 0, err
		}
		if len(parents) == 0 {
			return ua.TypeIDVariant, nil
		}
		dataType = parents[0].NodeID.NodeID
	}
	return 0, statusError(ua.StatusBadDataTypeIDUnknown)
}

// references browses one node, all pages of it.
func (s *session) references(ctx context.Context, node *ua.NodeID, direction ua.BrowseDirection, kind uint32) ([]*ua.ReferenceDescription, error) {
	response, err := ask[*ua.BrowseResponse](ctx, s, &ua.BrowseRequest{
		View: &ua.ViewDescription{ViewID: ua.NewTwoByteNodeID(0)},
		NodesToBrowse: []*ua.BrowseDescription{{
			NodeID: node, BrowseDirection: direction, ReferenceTypeID: ua.NewNumericNodeID(0, kind),
			IncludeSubtypes: true, ResultMask: uint32(ua.BrowseResultMaskAll),
		}},
	})
	if err != nil {
		return nil, err
	}
	if len(response.Results) != 1 {
		return nil, errCount
	}
	return s.pages(ctx, response.Results[0])
}
