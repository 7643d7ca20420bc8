package opcua

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/internal/spec"
)

// BrowseOptions bound a walk; zero bounds stand for their defaults.
type BrowseOptions struct {
	Login Credentials
	Depth int // levels below the root, 20 by default
	Most  int // nodes, 10,000 by default
}

// Browsed is what a walk found.
type Browsed struct {
	URL            string `json:"url"`
	Root           string `json:"root"`
	RootName       string `json:"rootName,omitempty"` // its browse name, without namespace
	Username       string `json:"username,omitempty"`
	SecurityMode   string `json:"securityMode"`
	SecurityPolicy string `json:"securityPolicy"`
	Nodes          []Node `json:"nodes"`     // each after its parent, in the server's order
	Truncated      bool   `json:"truncated"` // a bound ended the walk
}

// Node is an object, a variable or a method below the root.
type Node struct {
	NodeID   string   `json:"nodeId"`
	Path     []string `json:"path"` // browse names from the root down, without namespaces
	Class    string   `json:"class"`
	DataType string   `json:"dataType,omitempty"` // of a variable: a built-in type, or a node id
	Array    bool     `json:"array,omitempty"`
	Readable bool     `json:"readable,omitempty"`
	Writable bool     `json:"writable,omitempty"`
}

const (
	objects      = "i=85" // the root of what a server holds
	defaultDepth = 20
	defaultMost  = 10000
)

// Browse walks the address space of the server at url below the node root (empty: Objects, and
// there without what the standard puts into every server).
func Browse(ctx context.Context, url, root string, opts BrowseOptions) (Browsed, error) {
	c, err := newProber(url, opts.Login)
	if err != nil {
		return Browsed{}, err
	}
	start := ua.NewNumericNodeID(0, id.ObjectsFolder)
	if root != "" {
		if start, err = ua.ParseNodeID(root); err != nil {
			return Browsed{}, spec.Errorf(spec.Invalid, "cannot parse the root %q: write it as in ns=2;s=Press", root)
		}
	}
	endpoints, err := c.discover(ctx)
	if err != nil {
		return Browsed{}, err
	}
	if err := c.prefer(endpoints); err != nil {
		return Browsed{}, err
	}
	s, err := c.open(ctx)
	if err != nil {
		return Browsed{}, err
	}
	defer s.Close() //nolint:errcheck // never fails
	w := &walk{
		session: s, depth: cmp.Or(opts.Depth, defaultDepth), most: cmp.Or(opts.Most, defaultMost),
		seen: map[string]bool{start.String(): true}, plain: root == "",
	}
	top := &branch{id: start}
	if err := w.run(ctx, top); err != nil {
		return Browsed{}, spec.Errorf(spec.Unavailable, "cannot browse %q below %q: %w", c.target.url(), start, named(err))
	}
	name, err := s.browseName(ctx, start)
	if err != nil {
		return Browsed{}, spec.Errorf(spec.Unavailable, "cannot read the name of %q at %q: %w", start, c.target.url(), named(err))
	}
	found := Browsed{
		URL: c.target.url(), Root: start.String(), RootName: name, Username: opts.Login.Username,
		SecurityMode: modeName(c.mode), SecurityPolicy: policyName(c.policy), Nodes: []Node{}, Truncated: w.truncated,
	}
	top.appendTo(&found.Nodes)
	return found, nil
}

// browseName reads a node's name, without its namespace; "" if the server does not give it.
func (s *session) browseName(ctx context.Context, node *ua.NodeID) (string, error) {
	read, err := s.readAttributes(ctx, []*ua.ReadValueID{attributeOf(node, ua.AttributeIDBrowseName)})
	if err != nil {
		return "", err
	}
	if name, ok := read[0].value.value.(*ua.QualifiedName); ok {
		return name.Name, nil
	}
	return "", nil
}

// walk goes down level by level, many nodes in a request.
type walk struct {
	session   *session
	depth     int
	most      int
	plain     bool // leave out the namespace of the standard
	seen      map[string]bool
	count     int
	truncated bool
}

// branch is a node with what is below it.
type branch struct {
	id       *ua.NodeID
	node     Node
	children []*branch
}

func (b *branch) appendTo(nodes *[]Node) {
	for _, child := range b.children {
		*nodes = append(*nodes, child.node)
		child.appendTo(nodes)
	}
}

func (w *walk) run(ctx context.Context, top *branch) error {
	level := []*branch{top}
	var variables []*branch
	for range w.depth {
		var next []*branch
		err := batch(ctx, &w.session.limits.browse, level, func(ctx context.Context, part []*branch) error {
			return w.expand(ctx, part)
		})
		if err != nil {
			return err
		}
		for _, b := range level {
			for _, child := range b.children {
				next = append(next, child)
				if child.node.Class == "Variable" {
					variables = append(variables, child)
				}
			}
		}
		if level = next; len(level) == 0 {
			break
		}
	}
	w.truncated = w.truncated || len(level) > 0 && w.anyBelow(ctx, level)
	return w.describe(ctx, variables)
}

// anyBelow tells whether the depth cut something off.
func (w *walk) anyBelow(ctx context.Context, level []*branch) bool {
	for _, b := range level {
		found, err := w.session.references(ctx, b.id, ua.BrowseDirectionForward, id.HierarchicalReferences)
		if err != nil || len(w.wanted(found)) > 0 {
			return true
		}
	}
	return false
}

// expand browses the nodes of one request, and the further pages of each.
func (w *walk) expand(ctx context.Context, part []*branch) error {
	request := &ua.BrowseRequest{View: &ua.ViewDescription{ViewID: ua.NewTwoByteNodeID(0)}}
	for _, b := range part {
		request.NodesToBrowse = append(request.NodesToBrowse, browseForward(b.id))
	}
	response, err := ask[*ua.BrowseResponse](ctx, w.session, request)
	if err != nil {
		return err
	}
	if len(response.Results) != len(part) {
		return errCount
	}
	for i, result := range response.Results {
		found, err := w.session.pages(ctx, result)
		if err != nil {
			if len(part[i].node.Path) == 0 {
				return err // the root itself
			}
			continue // one that may not be browsed has no children for us
		}
		w.grow(part[i], found)
	}
	return nil
}

func browseForward(node *ua.NodeID) *ua.BrowseDescription {
	return &ua.BrowseDescription{
		NodeID: node, BrowseDirection: ua.BrowseDirectionForward,
		ReferenceTypeID: ua.NewNumericNodeID(0, id.HierarchicalReferences), IncludeSubtypes: true,
		ResultMask: uint32(ua.BrowseResultMaskAll),
	}
}

func (w *walk) grow(b *branch, found []*ua.ReferenceDescription) {
	for _, r := range w.wanted(found) {
		if w.count == w.most {
			w.truncated = true
			return
		}
		w.count++
		node := r.NodeID.NodeID
		w.seen[node.String()] = true
		b.children = append(b.children, &branch{id: node, node: Node{
			NodeID: node.String(), Class: className(r.NodeClass),
			Path: append(append([]string{}, b.node.Path...), r.BrowseName.Name),
		}})
	}
}

// wanted leaves out properties, types, nodes of other servers, and what was seen before.
func (w *walk) wanted(found []*ua.ReferenceDescription) []*ua.ReferenceDescription {
	var kept []*ua.ReferenceDescription
	for _, r := range found {
		switch {
		case r.NodeID == nil || r.NodeID.NodeID == nil || r.BrowseName == nil || r.NodeID.ServerIndex != 0:
		case className(r.NodeClass) == "" || r.ReferenceTypeID != nil && r.ReferenceTypeID.Namespace() == 0 && r.ReferenceTypeID.IntID() == id.HasProperty:
		case w.seen[r.NodeID.NodeID.String()] || w.plain && r.NodeID.NodeID.Namespace() == 0:
		default:
			kept = append(kept, r)
		}
	}
	return kept
}

func className(class ua.NodeClass) string {
	switch class {
	case ua.NodeClassObject:
		return "Object"
	case ua.NodeClassVariable:
		return "Variable"
	case ua.NodeClassMethod:
		return "Method"
	}
	return ""
}

// pages follows a browse result to its end.
func (s *session) pages(ctx context.Context, result *ua.BrowseResult) ([]*ua.ReferenceDescription, error) {
	found := result.References
	for len(result.ContinuationPoint) > 0 && !isBad(result.StatusCode) {
		next, err := ask[*ua.BrowseNextResponse](ctx, s, &ua.BrowseNextRequest{ContinuationPoints: [][]byte{result.ContinuationPoint}})
		if err != nil {
			return nil, err
		}
		if len(next.Results) != 1 {
			return nil, errCount
		}
		result = next.Results[0]
		found = append(found, result.References...)
	}
	if isBad(result.StatusCode) {
		return nil, statusError(result.StatusCode)
	}
	return found, nil
}

// describe reads the variables' types and access rights.
func (w *walk) describe(ctx context.Context, variables []*branch) error {
	attributes := []ua.AttributeID{ua.AttributeIDDataType, ua.AttributeIDValueRank, ua.AttributeIDUserAccessLevel}
	var wanted []*ua.ReadValueID
	for _, v := range variables {
		for _, a := range attributes {
			wanted = append(wanted, attributeOf(v.id, a))
		}
	}
	values := make([]dataValue, 0, len(wanted))
	err := batch(ctx, &w.session.limits.read, wanted, func(ctx context.Context, part []*ua.ReadValueID) error {
		read, err := w.session.readAttributes(ctx, part)
		values = append(values, read...)
		return err
	})
	if err != nil {
		return err
	}
	for i, v := range variables {
		v.node.describe(values[3*i], values[3*i+1], values[3*i+2])
	}
	return nil
}

func (n *Node) describe(dataType, rank, access dataValue) {
	if t, ok := dataType.value.value.(*ua.NodeID); ok {
		n.DataType = t.String()
		if t.Namespace() == 0 && t.IntID() > 0 && t.IntID() <= id.Structure {
			n.DataType = typeName(ua.TypeID(t.IntID()))
		}
	}
	if r, ok := rank.value.value.(int32); ok {
		n.Array = r >= 0
	}
	level, ok := access.value.value.(uint8)
	n.Readable = !ok || level&uint8(ua.AccessLevelTypeCurrentRead) != 0
	n.Writable = ok && level&uint8(ua.AccessLevelTypeCurrentWrite) != 0
}

// WriteText prints the tree.
func (b Browsed) WriteText(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, below %s\n", b.URL, b.Root)
	for _, n := range b.Nodes {
		fmt.Fprintf(&out, "%s%s  %s", strings.Repeat("  ", len(n.Path)), n.Path[len(n.Path)-1], n.NodeID)
		switch n.Class {
		case "Variable":
			fmt.Fprintf(&out, "  %s%s", n.DataType, n.marks())
		case "Method":
			out.WriteString("  Method")
		}
		out.WriteByte('\n')
	}
	if b.Truncated {
		out.WriteString("(there is more: a bound ended the walk)\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (n Node) marks() string {
	var marks strings.Builder
	if n.Array {
		marks.WriteString("[]")
	}
	if n.Writable {
		marks.WriteString(", writable")
	}
	if !n.Readable {
		marks.WriteString(", not readable")
	}
	return marks.String()
}
