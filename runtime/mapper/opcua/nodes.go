package opcua

import (
	"context"
	"fmt"
	"sync"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

// nodes remembers for a session what it found out about nodes. A server may change its address
// space at a restart, and then the session ends too.
type nodes struct {
	session *session

	mu      sync.Mutex
	byPath  map[string]*ua.NodeID
	types   map[string]valueType
	methods map[string]*method
}

func newNodes(s *session) *nodes {
	return &nodes{
		session: s, byPath: map[string]*ua.NodeID{}, types: map[string]valueType{}, methods: map[string]*method{},
	}
}

// resolved is a point's node, or why there is none.
type resolved struct {
	node *ua.NodeID
	err  error
}

// resolve finds the nodes of points, those with browse paths by asking the server once.
func (n *nodes) resolve(ctx context.Context, points []mapper.Point) []resolved {
	found := make([]resolved, len(points))
	missing := map[string]*point{}
	for i, each := range points {
		p, ok := each.(*point)
		switch {
		case !ok:
			found[i].err = fmt.Errorf("cannot use a point of another protocol, a %T", each)
		case p.node != nil:
			found[i].node = p.node
		default:
			if found[i].node = n.known(p.path); found[i].node == nil {
				missing[p.path] = p
			}
		}
	}
	if len(missing) == 0 {
		return found
	}
	failed := n.translate(ctx, missing)
	for i, each := range points {
		if p, ok := each.(*point); ok && found[i].node == nil {
			found[i] = resolved{n.known(p.path), failed[p.path]}
		}
	}
	return found
}

func (n *nodes) known(path string) *ua.NodeID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byPath[path]
}

// translate asks the server for the nodes of paths, and returns why some have none.
func (n *nodes) translate(ctx context.Context, missing map[string]*point) map[string]error {
	points := make([]*point, 0, len(missing))
	for _, p := range missing {
		points = append(points, p)
	}
	failed := map[string]error{}
	err := batch(ctx, &n.session.limits.translate, points, func(ctx context.Context, part []*point) error {
		return n.translatePart(ctx, part, failed)
	})
	for _, p := range points {
		if failed[p.path] == nil && n.known(p.path) == nil {
			failed[p.path] = fmt.Errorf("cannot follow browsePath %q: %w", p.path, named(err))
		}
	}
	return failed
}

func (n *nodes) translatePart(ctx context.Context, part []*point, failed map[string]error) error {
	request := &ua.TranslateBrowsePathsToNodeIDsRequest{}
	for _, p := range part {
		request.BrowsePaths = append(request.BrowsePaths, &ua.BrowsePath{
			StartingNode: ua.NewNumericNodeID(0, id.RootFolder),
			RelativePath: &ua.RelativePath{Elements: p.elements},
		})
	}
	response, err := ask[*ua.TranslateBrowsePathsToNodeIDsResponse](ctx, n.session, request)
	if err != nil {
		return err
	}
	if len(response.Results) != len(part) {
		return errCount
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, r := range response.Results {
		switch path := part[i].path; {
		case isBad(r.StatusCode):
			failed[path] = fmt.Errorf("cannot follow browsePath %q: %w", path, statusError(r.StatusCode))
		case len(r.Targets) == 0 || r.Targets[0].TargetID == nil:
			failed[path] = fmt.Errorf("cannot follow browsePath %q: %w", path, statusError(ua.StatusBadNoMatch))
		default:
			n.byPath[path] = r.Targets[0].TargetID.NodeID
		}
	}
	return nil
}
