package opcua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// events are what a point takes from a source of events.
type events struct {
	fields []eventField
	shown  int // how many of the fields are published; one more may be there for the event's time
	time   int // the field that tells it
	types  []*ua.NodeID
}

// eventField is one field, with its name as the file writes it.
type eventField struct {
	name    string
	operand *ua.SimpleAttributeOperand
}

// defaultFields are those that every event has.
func defaultFields() []string {
	return []string{"EventId", "EventType", "SourceNode", "SourceName", "Time", "ReceiveTime", "Message", "Severity"}
}

// wantsEvents tells whether an address means a node's events, not its value.
func wantsEvents(a protocol.OpcuaAddress) bool { return len(a.EventTypes) > 0 || len(a.Fields) > 0 }

func parseEvents(op mapper.Operation, a protocol.OpcuaAddress) (*events, error) {
	switch {
	case op != mapper.OpSubscribe:
		return nil, spec.Errorf(spec.Invalid, "cannot %s events: only a subscribe takes eventTypes and fields", op)
	case a.Interval > 0 || a.CronExpression != "":
		return nil, spec.Errorf(spec.Invalid, "cannot poll events: remove interval and cronExpression, or eventTypes and fields")
	case a.NodeType == "Method" || a.Deadband > 0:
		return nil, spec.Errorf(spec.Invalid, "cannot take events of a method or with a deadband: remove nodeType and deadband, or eventTypes and fields")
	case a.AttributeID != int(ua.AttributeIDValue) && a.AttributeID != int(ua.AttributeIDEventNotifier):
		return nil, spec.Errorf(spec.Invalid, "cannot take events from attributeId %d: remove it", a.AttributeID)
	}
	e := &events{}
	if err := e.parseFields(a.Fields); err != nil {
		return nil, err
	}
	for _, name := range a.EventTypes {
		node, err := parseEventType(name)
		if err != nil {
			return nil, err
		}
		e.types = append(e.types, node)
	}
	return e, nil
}

func (e *events) parseFields(names []string) error {
	if len(names) == 0 {
		names = defaultFields()
	}
	for i, name := range names {
		operand, err := parseEventField(name)
		if err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return spec.Errorf(spec.Invalid, "cannot take the event field %q twice", name)
		}
		e.fields = append(e.fields, eventField{name, operand})
	}
	e.shown = len(e.fields)
	e.time = slices.Index(names, "Time")
	if e.time < 0 {
		e.time = e.shown
		e.fields = append(e.fields, eventField{"Time", plainField(&ua.QualifiedName{Name: "Time"})})
	}
	return nil
}

// parseEventField reads a name, as in 2:Batch, or a path of names, as in ActiveState/Id.
// ConditionId is the node id of an event's condition, which the standard gives no name.
func parseEventField(text string) (*ua.SimpleAttributeOperand, error) {
	if text == "ConditionId" {
		return &ua.SimpleAttributeOperand{
			TypeDefinitionID: ua.NewNumericNodeID(0, id.ConditionType), AttributeID: ua.AttributeIDNodeID,
		}, nil
	}
	var path []*ua.QualifiedName
	for _, name := range splitPath(strings.TrimPrefix(text, "/")) {
		qualified := qualifiedName(name)
		if qualified.Name == "" {
			return nil, spec.Errorf(spec.Invalid, "cannot parse the event field %q: write it as in Severity, 2:Batch or ActiveState/Id", text)
		}
		path = append(path, qualified)
	}
	return plainField(path...), nil
}

// plainField names a field of whatever type of event: that is what the base type means here.
func plainField(path ...*ua.QualifiedName) *ua.SimpleAttributeOperand {
	return &ua.SimpleAttributeOperand{
		TypeDefinitionID: ua.NewNumericNodeID(0, id.BaseEventType), BrowsePath: path, AttributeID: ua.AttributeIDValue,
	}
}

// standardEvents are the standard's types of events that may be written by name.
var standardEvents = map[string]uint32{
	"BaseEventType":                  id.BaseEventType,
	"SystemEventType":                id.SystemEventType,
	"DeviceFailureEventType":         id.DeviceFailureEventType,
	"SystemStatusChangeEventType":    id.SystemStatusChangeEventType,
	"ProgressEventType":              id.ProgressEventType,
	"TransitionEventType":            id.TransitionEventType,
	"BaseModelChangeEventType":       id.BaseModelChangeEventType,
	"GeneralModelChangeEventType":    id.GeneralModelChangeEventType,
	"SemanticChangeEventType":        id.SemanticChangeEventType,
	"EventQueueOverflowEventType":    id.EventQueueOverflowEventType,
	"AuditEventType":                 id.AuditEventType,
	"AuditSecurityEventType":         id.AuditSecurityEventType,
	"AuditSessionEventType":          id.AuditSessionEventType,
	"AuditUpdateEventType":           id.AuditUpdateEventType,
	"AuditWriteUpdateEventType":      id.AuditWriteUpdateEventType,
	"AuditUpdateMethodEventType":     id.AuditUpdateMethodEventType,
	"ConditionType":                  id.ConditionType,
	"DialogConditionType":            id.DialogConditionType,
	"AcknowledgeableConditionType":   id.AcknowledgeableConditionType,
	"AlarmConditionType":             id.AlarmConditionType,
	"LimitAlarmType":                 id.LimitAlarmType,
	"ExclusiveLimitAlarmType":        id.ExclusiveLimitAlarmType,
	"NonExclusiveLimitAlarmType":     id.NonExclusiveLimitAlarmType,
	"ExclusiveLevelAlarmType":        id.ExclusiveLevelAlarmType,
	"NonExclusiveLevelAlarmType":     id.NonExclusiveLevelAlarmType,
	"DiscreteAlarmType":              id.DiscreteAlarmType,
	"OffNormalAlarmType":             id.OffNormalAlarmType,
	"SystemOffNormalAlarmType":       id.SystemOffNormalAlarmType,
	"TripAlarmType":                  id.TripAlarmType,
	"DiscrepancyAlarmType":           id.DiscrepancyAlarmType,
	"CertificateExpirationAlarmType": id.CertificateExpirationAlarmType,
	"InstrumentDiagnosticAlarmType":  id.InstrumentDiagnosticAlarmType,
	"SystemDiagnosticAlarmType":      id.SystemDiagnosticAlarmType,
}

func parseEventType(text string) (*ua.NodeID, error) {
	if standard, ok := standardEvents[text]; ok {
		return ua.NewNumericNodeID(0, standard), nil
	}
	node, err := ua.ParseNodeID(text)
	if err != nil || !strings.Contains(text, "=") {
		return nil, spec.Errorf(spec.Invalid,
			"cannot use the event type %q: write a node id, as in ns=2;i=1001, or a name of the standard's, such as AlarmConditionType", text)
	}
	return node, nil
}

// filter asks the server for the fields of events of one of the types.
func (e *events) filter() *ua.ExtensionObject {
	f := &ua.EventFilter{WhereClause: &ua.ContentFilter{Elements: anyOf(e.types)}}
	for _, field := range e.fields {
		f.SelectClauses = append(f.SelectClauses, field.operand)
	}
	return ua.NewExtensionObject(f)
}

// anyOf joins one OfType for each type by Or, each of which has two operands: a tree, laid out so that
// the children of element i are 2i+1 and 2i+2. No types let every event pass.
func anyOf(types []*ua.NodeID) []*ua.ContentFilterElement {
	var elements []*ua.ContentFilterElement
	for i := range len(types) - 1 {
		elements = append(elements, &ua.ContentFilterElement{FilterOperator: ua.FilterOperatorOr, FilterOperands: []*ua.ExtensionObject{
			ua.NewExtensionObject(&ua.ElementOperand{Index: uint32(2*i + 1)}),
			ua.NewExtensionObject(&ua.ElementOperand{Index: uint32(2*i + 2)}),
		}})
	}
	for _, t := range types {
		elements = append(elements, &ua.ContentFilterElement{FilterOperator: ua.FilterOperatorOfType, FilterOperands: []*ua.ExtensionObject{
			ua.NewExtensionObject(&ua.LiteralOperand{Value: ua.MustVariant(t)}),
		}})
	}
	return elements
}

// refusal says which fields or types the server does not know; nil if it complains of none. A server
// may make the item all the same, and then those fields would be null for ever.
func (e *events) refusal(answer *ua.ExtensionObject) error {
	if e == nil || answer == nil {
		return nil
	}
	result, ok := answer.Value.(*ua.EventFilterResult)
	if !ok {
		return nil
	}
	var wrong []string
	for i, status := range result.SelectClauseResults {
		if isBad(status) && i < e.shown {
			wrong = append(wrong, fmt.Sprintf("field %q: %s", e.fields[i].name, statusName(status)))
		}
	}
	if result.WhereClauseResult != nil {
		for i, r := range result.WhereClauseResult.ElementResults {
			if at := i - max(0, len(e.types)-1); isBad(r.StatusCode) && at >= 0 && at < len(e.types) {
				wrong = append(wrong, fmt.Sprintf("event type %q: %s", e.types[at], statusName(r.StatusCode)))
			}
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("cannot subscribe to these events: %s", strings.Join(wrong, ", "))
}

// refused explains why the server made no item for events.
func (e *events) refused(r *ua.MonitoredItemCreateResult) error {
	if err := e.refusal(r.FilterResult); err != nil {
		return err
	}
	err := statusError(r.StatusCode)
	switch r.StatusCode {
	case ua.StatusBadAttributeIDInvalid, ua.StatusBadFilterNotAllowed:
		return fmt.Errorf("%w (%w)", errNoSource, err)
	case ua.StatusBadNotSupported:
		return fmt.Errorf("cannot subscribe to events: the server has none: %w", err)
	case ua.StatusBadEventFilterInvalid, ua.StatusBadMonitoredItemFilterInvalid, ua.StatusBadMonitoredItemFilterUnsupported:
		return fmt.Errorf("cannot subscribe to events: the server does not take these eventTypes and fields: %w", err)
	}
	return err
}

// checkSources refuses items for events of nodes that have none: a server may make such an item all
// the same, and then it is silent for ever.
func (p *publisher) checkSources(ctx context.Context, wanted []*wantedItem) {
	var sources []*wantedItem
	for _, w := range wanted {
		if w.item.point.events != nil {
			sources = append(sources, w)
		}
	}
	err := batch(ctx, &p.session.limits.read, sources, func(ctx context.Context, part []*wantedItem) error {
		nodes := make([]*ua.ReadValueID, len(part))
		for i, w := range part {
			nodes[i] = attributeOf(w.node, ua.AttributeIDEventNotifier)
		}
		values, err := p.session.readAttributes(ctx, nodes)
		for i, v := range values {
			bits, known := v.value.value.(uint8)
			if v.status == ua.StatusBadAttributeIDInvalid || known && bits&uint8(ua.EventNotifierTypeSubscribeToEvents) == 0 {
				part[i].err = errNoSource
			}
		}
		return err
	})
	if err != nil {
		p.session.log.Debug("whether nodes are sources of events cannot be read: their subscription tells", "error", named(err))
	}
}

var errNoSource = errors.New("cannot subscribe to events: the node is no source of them; the Server object, i=2253, usually is")

// toResult makes an object of an event's fields; a field that this event does not have is null.
// Unmapped are the fields whose values have no JSON form; they are null too.
func (e *events) toResult(values []variantValue) (r mapper.Result, unmapped error) {
	if len(values) != len(e.fields) {
		return mapper.Result{Time: time.Now(), Err: fmt.Errorf("cannot map an event of %d fields: %d were asked for", len(values), len(e.fields))}, nil
	}
	at, _ := values[e.time].value.(time.Time)
	if at.IsZero() {
		at = time.Now()
	}
	object := make(map[string]any, e.shown)
	for i, field := range e.fields[:e.shown] {
		value, err := fromAny(values[i].value)
		if err != nil {
			unmapped = cmp.Or(unmapped, fmt.Errorf("cannot map the event field %q: %w", field.name, err))
		}
		object[field.name] = value
	}
	return mapper.Result{Time: at, Value: object}, unmapped
}
