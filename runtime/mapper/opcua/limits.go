package opcua

import (
	"context"
	"sync"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// defaultLimit is used where a server states none: every server has one.
const defaultLimit = 1000

// limit is how many operations one request may hold. It shrinks when the server refuses.
type limit struct {
	mu   sync.Mutex
	most int
}

func (l *limit) get() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most
}

func (l *limit) set(n uint32) {
	if n > 0 && n < defaultLimit {
		l.lower(int(n))
	}
}

func (l *limit) lower(to int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.most = max(1, min(l.most, to))
}

// limits are a server's OperationLimits.
type limits struct {
	read, write, monitor, browse, translate limit
}

func newLimits() *limits {
	l := &limits{}
	for _, each := range []*limit{&l.read, &l.write, &l.monitor, &l.browse, &l.translate} {
		each.most = defaultLimit
	}
	return l
}

// readLimits asks the server. One that does not answer this has the default limits.
func (s *session) readLimits(ctx context.Context) error {
	targets := []struct {
		node  uint32
		limit *limit
	}{
		{id.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead, &s.limits.read},
		{id.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite, &s.limits.write},
		{id.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall, &s.limits.monitor},
		{id.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse, &s.limits.browse},
		{id.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIDs, &s.limits.translate},
	}
	nodes := make([]*ua.ReadValueID, len(targets))
	for i, t := range targets {
		nodes[i] = valueOf(ua.NewNumericNodeID(0, t.node))
	}
	values := make([]dataValue, 0, len(nodes))
	err := batch(ctx, &s.limits.read, nodes, func(ctx context.Context, part []*ua.ReadValueID) error {
		read, err := s.readAttributes(ctx, part)
		values = append(values, read...)
		return err
	})
	for i, v := range values {
		if n, ok := v.value.value.(uint32); ok && !isBad(v.status) {
			targets[i].limit.set(n)
		}
	}
	if _, answered := statusOf(err); answered {
		return nil
	}
	return err
}

// batch gives items to do in parts that keep to the limit. A part that is too much is halved
// and tried again, down to one item; where it was the count that the server refused, the limit
// stays lowered. Any other error ends it.
func batch[T any](ctx context.Context, l *limit, items []T, do func(context.Context, []T) error) error {
	size := len(items)
	for len(items) > 0 {
		part := items[:min(size, l.get(), len(items))]
		err := do(ctx, part)
		if err == nil {
			items = items[len(part):]
			continue
		}
		if !tooMuch(err) || len(part) == 1 {
			return err
		}
		size = len(part) / 2
		if status, ok := statusOf(err); ok && status == ua.StatusBadTooManyOperations {
			l.lower(size)
		}
	}
	return nil
}
