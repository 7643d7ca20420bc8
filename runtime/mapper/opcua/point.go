package opcua

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// point is one attribute of one node, a method, or a source of events.
type point struct {
	node      *ua.NodeID // nil: path leads to it
	path      string     // as written, the prefix included
	elements  []*ua.RelativePathElement
	attribute ua.AttributeID
	method    bool
	events    *events // not nil: the node's events, not a value
	schedule  mapper.Schedule

	publish  time.Duration
	sampling time.Duration
	queue    uint32
	deadband float64
}

// Schedule is not zero where the file asks for polling.
func (p *point) Schedule() mapper.Schedule { return p.schedule }

// Callable is true of methods: one without arguments is called without a value.
func (p *point) Callable() bool { return p.method }

func (p *point) String() string {
	if p.node != nil {
		return p.node.String()
	}
	return p.path
}

// How many values and events the server keeps between two publications where the file says
// nothing: alarms come in bursts.
const (
	valueQueue = 10
	eventQueue = 1000
)

func parsePoint(op mapper.Operation, raw json.RawMessage) (*point, error) {
	a := protocol.OpcuaAddress{
		SamplingInterval: 500, PublishInterval: 1000, AttributeID: int(ua.AttributeIDValue), NodeType: "Variable",
	}
	if err := unmarshal(raw, &a); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the address: %w", err)
	}
	if err := checkAddress(op, a); err != nil {
		return nil, err
	}
	p := &point{
		attribute: ua.AttributeID(a.AttributeID), method: a.NodeType == "Method",
		publish:  time.Duration(a.PublishInterval) * time.Millisecond,
		sampling: time.Duration(a.SamplingInterval) * time.Millisecond,
		queue:    uint32(min(cmp.Or(a.QueueSize, valueQueue), 1<<31)), deadband: a.Deadband,
	}
	if op == mapper.OpSubscribe {
		p.schedule = mapper.Schedule{Interval: time.Duration(a.Interval) * time.Millisecond, Cron: a.CronExpression}
	}
	if wantsEvents(a) {
		var err error
		if p.events, err = parseEvents(op, a); err != nil {
			return nil, err
		}
		p.attribute, p.sampling = ua.AttributeIDEventNotifier, 0
		p.queue = uint32(min(cmp.Or(a.QueueSize, eventQueue), 1<<31))
	}
	return p, p.locate(a)
}

func checkAddress(op mapper.Operation, a protocol.OpcuaAddress) error {
	switch {
	case (a.NodeID == "") == (a.BrowsePath == ""):
		return spec.Errorf(spec.Invalid, "cannot find the node: give nodeId or browsePath, and not both")
	case a.NodeType != "Variable" && a.NodeType != "Method":
		return spec.Errorf(spec.Invalid, "cannot use nodeType %q: choose Variable or Method", a.NodeType)
	case a.NodeType == "Method" && op != mapper.OpWrite:
		return spec.Errorf(spec.Invalid, "cannot %s a method: only a write calls it", op)
	case op == mapper.OpSubscribe && a.AttributeID == int(ua.AttributeIDEventNotifier) && a.Interval == 0 && a.CronExpression == "" && !wantsEvents(a):
		return spec.Errorf(spec.Invalid, "cannot subscribe to attributeId 12 as to a value: for the node's events, give eventTypes, such as [BaseEventType]")
	case a.AttributeID < 1 || a.AttributeID > 27:
		return spec.Errorf(spec.Invalid, "cannot use attributeId %d: it must be 1 to 27, 13 is the value", a.AttributeID)
	case a.PublishInterval < 1 || a.SamplingInterval < 0 || a.QueueSize < 0 || a.Interval < 0 || a.Deadband < 0:
		return spec.Errorf(spec.Invalid, "cannot use an interval, queueSize or deadband below zero")
	}
	return nil
}

// locate parses nodeId or browsePath.
func (p *point) locate(a protocol.OpcuaAddress) error {
	if a.NodeID != "" {
		node, err := ua.ParseNodeID(a.NodeID)
		if err != nil {
			return spec.Errorf(spec.Invalid, "cannot parse nodeId %q: write it as in ns=2;s=Press.Temperature", a.NodeID)
		}
		p.node = node
		return nil
	}
	p.path = a.BrowsePathPrefix + a.BrowsePath
	elements, err := parsePath(p.path)
	p.elements = elements
	return err
}

// parsePath reads /Objects/2:Press/2:Temperature: browse names from the root, each with the
// index of its namespace (0 when left out). An & takes away the meaning of what follows it.
func parsePath(path string) ([]*ua.RelativePathElement, error) {
	names := splitPath(path)
	if len(names) > 1 && names[0] == "" {
		names = names[1:]
	}
	var elements []*ua.RelativePathElement
	for _, name := range names {
		qualified := qualifiedName(name)
		if qualified.Name == "" {
			return nil, spec.Errorf(spec.Invalid, "cannot parse browsePath %q: a name between its slashes is empty", path)
		}
		elements = append(elements, &ua.RelativePathElement{
			ReferenceTypeID: ua.NewNumericNodeID(0, id.HierarchicalReferences), IncludeSubtypes: true, TargetName: qualified,
		})
	}
	if names[0] == "Root" || names[0] == "0:Root" {
		elements = elements[1:]
	}
	if len(elements) == 0 {
		return nil, spec.Errorf(spec.Invalid, "cannot parse browsePath %q: it leads nowhere", path)
	}
	return elements, nil
}

// splitPath cuts at slashes that no & precedes; the & stay.
func splitPath(path string) []string {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '&' && i+1 < len(path):
			name.WriteString(path[i : i+2])
			i++
		case path[i] == '/':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(path[i])
		}
	}
	return append(names, name.String())
}

func qualifiedName(text string) *ua.QualifiedName {
	name := &ua.QualifiedName{}
	if before, after, ok := strings.Cut(text, ":"); ok {
		if ns, err := strconv.ParseUint(before, 10, 16); err == nil {
			name.NamespaceIndex, text = uint16(ns), after
		}
	}
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '&' && i+1 < len(text) {
			i++
		}
		plain.WriteByte(text[i])
	}
	name.Name = plain.String()
	return name
}
