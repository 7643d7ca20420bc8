package simulator

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
)

// space is a namespace of the server with a lock of its own: the library's changes values and
// maps that other goroutines read.
type space struct {
	uri     string
	index   uint16
	roots   []*node
	changed func([]*node)

	mu    sync.RWMutex
	nodes map[string]*node
}

var _ server.NameSpace = (*space)(nil)

// node is an object, a variable or a method. Everything but value is fixed before the start.
type node struct {
	id       string
	class    ua.NodeClass
	dataType uint32 // a built-in type's id
	writable bool
	parent   *node
	children []*node
	call     func() []*ua.Variant
	space    *space
	value    *ua.DataValue // guarded by space.mu
}

func newSpace(uri string, changed func([]*node)) *space {
	return &space{uri: uri, changed: changed, index: 2, nodes: map[string]*node{}}
}

func (s *space) object(name string) *node {
	n := s.add(nil, name, ua.NodeClassObject)
	s.roots = append(s.roots, n)
	return n
}

func (s *space) variable(parent *node, name string, dataType uint32, value any) *node {
	n := s.add(parent, name, ua.NodeClassVariable)
	n.dataType, n.value = dataType, dataValue(value)
	return n
}

func (s *space) method(parent *node, name string, call func() []*ua.Variant) {
	s.add(parent, name, ua.NodeClassMethod).call = call
}

func (s *space) add(parent *node, name string, class ua.NodeClass) *node {
	n := &node{id: name, class: class, parent: parent, space: s}
	s.nodes[n.nodeID().String()] = n
	if parent != nil {
		parent.children = append(parent.children, n)
	}
	return n
}

func (s *space) find(nodeID *ua.NodeID) *node {
	if nodeID == nil {
		return nil
	}
	return s.nodes[nodeID.String()]
}

// update changes values together and reports them; change gets the setter.
func (s *space) update(change func(set func(*node, any))) {
	var moved []*node
	s.mu.Lock()
	change(func(n *node, value any) {
		n.value = dataValue(value)
		moved = append(moved, n)
	})
	s.mu.Unlock()
	s.changed(moved)
}

func dataValue(value any) *ua.DataValue {
	now := time.Now()
	return &ua.DataValue{
		EncodingMask: ua.DataValueValue | ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp,
		Value:        ua.MustVariant(value), SourceTimestamp: now, ServerTimestamp: now,
	}
}

func (n *node) nodeID() *ua.NodeID { return ua.NewStringNodeID(n.space.index, n.id) }

// stored is the value inside update.
func (n *node) stored() any { return n.value.Value.Value() }

// name is the browse name: what follows the parent's.
func (n *node) name() string {
	if n.parent == nil {
		return n.id
	}
	return strings.TrimPrefix(n.id, n.parent.id+".")
}

func (n *node) browseName() *ua.QualifiedName {
	return &ua.QualifiedName{NamespaceIndex: n.space.index, Name: n.name()}
}

func (n *node) accessLevel() byte {
	if n.writable {
		return byte(ua.AccessLevelTypeCurrentRead | ua.AccessLevelTypeCurrentWrite)
	}
	return byte(ua.AccessLevelTypeCurrentRead)
}

// described is the node as the library's own namespace wants to see it.
func (n *node) described() *server.Node {
	return server.NewNode(n.nodeID(), server.Attributes{
		ua.AttributeIDNodeClass:   server.DataValueFromValue(uint32(n.class)),
		ua.AttributeIDBrowseName:  server.DataValueFromValue(n.browseName()),
		ua.AttributeIDDisplayName: server.DataValueFromValue(ua.NewLocalizedText(n.name())),
		ua.AttributeIDDataType:    server.DataValueFromValue(n.typeDefinition()),
	}, nil, nil)
}

func (n *node) typeDefinition() *ua.ExpandedNodeID {
	definition := uint32(id.BaseObjectType)
	if n.class == ua.NodeClassVariable {
		definition = id.BaseDataVariableType
	}
	return ua.NewNumericExpandedNodeID(0, definition)
}

// attribute returns nil where the node's class has no such attribute.
func (n *node) attribute(attribute ua.AttributeID) *ua.DataValue {
	switch attribute {
	case ua.AttributeIDNodeID:
		return dataValue(n.nodeID())
	case ua.AttributeIDNodeClass:
		return dataValue(int32(n.class))
	case ua.AttributeIDBrowseName:
		return dataValue(n.browseName())
	case ua.AttributeIDDisplayName, ua.AttributeIDDescription:
		return dataValue(ua.NewLocalizedText(n.name()))
	case ua.AttributeIDExecutable, ua.AttributeIDUserExecutable:
		if n.class == ua.NodeClassMethod {
			return dataValue(true)
		}
	}
	if n.class == ua.NodeClassVariable {
		return n.variableAttribute(attribute)
	}
	return nil
}

func (n *node) variableAttribute(attribute ua.AttributeID) *ua.DataValue {
	switch attribute {
	case ua.AttributeIDValue:
		return n.value
	case ua.AttributeIDDataType:
		return dataValue(ua.NewNumericNodeID(0, n.dataType))
	case ua.AttributeIDValueRank:
		if n.value.Value.Has(ua.VariantArrayValues) {
			return dataValue(int32(1))
		}
		return dataValue(int32(-1))
	case ua.AttributeIDAccessLevel, ua.AttributeIDUserAccessLevel:
		return dataValue(n.accessLevel())
	}
	return nil
}

// Name returns the namespace's URI.
func (s *space) Name() string { return s.uri }

// ID returns the namespace's index.
func (s *space) ID() uint16 { return s.index }

// SetID is called once, by the server.
func (s *space) SetID(index uint16) {
	s.index = index
	nodes := map[string]*node{}
	for _, n := range s.nodes {
		nodes[n.nodeID().String()] = n
	}
	s.nodes = nodes
}

// AddNode is not supported: the address space is fixed.
func (s *space) AddNode(*server.Node) *server.Node { return nil }

// Node describes a node to the server.
func (s *space) Node(nodeID *ua.NodeID) *server.Node {
	if n := s.find(nodeID); n != nil {
		return n.described()
	}
	return nil
}

// Objects returns nil: the plant's objects are below the server's own folder.
func (s *space) Objects() *server.Node { return nil }

// Root returns nil, as Objects does.
func (s *space) Root() *server.Node { return nil }

// Attribute reads one attribute of a node.
func (s *space) Attribute(nodeID *ua.NodeID, attribute ua.AttributeID) *ua.DataValue {
	n := s.find(nodeID)
	if n == nil {
		return badValue(ua.StatusBadNodeIDUnknown)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v := n.attribute(attribute); v != nil {
		return v
	}
	return badValue(ua.StatusBadAttributeIDInvalid)
}

func badValue(status ua.StatusCode) *ua.DataValue {
	return &ua.DataValue{
		EncodingMask: ua.DataValueStatusCode | ua.DataValueServerTimestamp,
		Status:       status, ServerTimestamp: time.Now(),
	}
}

// SetAttribute writes a variable's value; the type must be the variable's own.
func (s *space) SetAttribute(nodeID *ua.NodeID, attribute ua.AttributeID, value *ua.DataValue) ua.StatusCode {
	n := s.find(nodeID)
	switch {
	case n == nil:
		return ua.StatusBadNodeIDUnknown
	case attribute != ua.AttributeIDValue || !n.writable:
		return ua.StatusBadNotWritable
	case value == nil || value.Value == nil || uint32(value.Value.Type()) != n.dataType || value.Value.Has(ua.VariantArrayValues):
		return ua.StatusBadTypeMismatch
	}
	s.update(func(set func(*node, any)) { set(n, value.Value.Value()) })
	return ua.StatusOK
}

// Browse lists a node's children and its parent.
func (s *space) Browse(request *ua.BrowseDescription) *ua.BrowseResult {
	n := s.find(request.NodeID)
	if n == nil {
		return &ua.BrowseResult{StatusCode: ua.StatusBadNodeIDUnknown}
	}
	var found []*ua.ReferenceDescription
	if request.BrowseDirection != ua.BrowseDirectionInverse {
		for _, child := range n.children {
			found = append(found, child.reference(true))
		}
	}
	if request.BrowseDirection != ua.BrowseDirectionForward && n.parent != nil {
		found = append(found, n.parent.reference(false))
	}
	return &ua.BrowseResult{References: slices.DeleteFunc(found, func(r *ua.ReferenceDescription) bool {
		return !wanted(request, r)
	})}
}

func (n *node) reference(forward bool) *ua.ReferenceDescription {
	return &ua.ReferenceDescription{
		ReferenceTypeID: ua.NewNumericNodeID(0, id.HasComponent), IsForward: forward,
		NodeID: ua.NewExpandedNodeID(n.nodeID(), "", 0), BrowseName: n.browseName(),
		DisplayName: ua.NewLocalizedText(n.name()), NodeClass: n.class, TypeDefinition: n.typeDefinition(),
	}
}

// wanted filters by class and by the reference types that HasComponent is or descends from.
func wanted(request *ua.BrowseDescription, r *ua.ReferenceDescription) bool {
	if request.NodeClassMask != 0 && request.NodeClassMask&uint32(r.NodeClass) == 0 {
		return false
	}
	if request.ReferenceTypeID == nil {
		return true
	}
	switch request.ReferenceTypeID.IntID() {
	case 0, id.HasComponent:
		return true
	case id.References, id.HierarchicalReferences, id.HasChild, id.Aggregates:
		return request.IncludeSubtypes
	}
	return false
}
