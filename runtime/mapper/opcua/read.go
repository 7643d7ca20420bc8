package opcua

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

// Read reads points in as few requests as the server's limits allow.
func (s *session) Read(ctx context.Context, points []mapper.Point) []mapper.Result {
	results := make([]mapper.Result, len(points))
	var wanted []wantedRead
	for i, resolved := range s.nodes.resolve(ctx, points) {
		if resolved.err != nil {
			results[i] = mapper.Result{Time: time.Now(), Err: resolved.err}
			continue
		}
		wanted = append(wanted, wantedRead{i, attributeOf(resolved.node, points[i].(*point).attribute)})
	}
	for len(wanted) > 0 {
		read, err := s.readPart(ctx, wanted, results)
		if err != nil { // the first of what is left is to blame, or all of it
			read = len(wanted)
			if tooMuch(err) {
				read = 1
			}
			for _, w := range wanted[:read] {
				results[w.at] = mapper.Result{Time: time.Now(), Err: fmt.Errorf("cannot read: %w", named(err))}
			}
		}
		wanted = wanted[read:]
	}
	return results
}

// wantedRead is one node to read and where its result belongs.
type wantedRead struct {
	at   int
	node *ua.ReadValueID
}

// readPart reads as many as it can and returns how many those are.
func (s *session) readPart(ctx context.Context, wanted []wantedRead, results []mapper.Result) (int, error) {
	var done int
	err := batch(ctx, &s.limits.read, wanted, func(ctx context.Context, part []wantedRead) error {
		nodes := make([]*ua.ReadValueID, len(part))
		for i, w := range part {
			nodes[i] = w.node
		}
		values, err := s.readAttributes(ctx, nodes)
		if err != nil {
			return err
		}
		for i, w := range part {
			results[w.at] = toResult(values[i])
		}
		done += len(part)
		return nil
	})
	if done > 0 {
		return done, nil // an error shows again with what is left
	}
	return 0, err
}

var errCount = errors.New("the server answers with another number of results than were asked for")

// readAttributes is one Read request.
func (s *session) readAttributes(ctx context.Context, nodes []*ua.ReadValueID) ([]dataValue, error) {
	response, err := ask[*readResponse](ctx, s, &ua.ReadRequest{
		TimestampsToReturn: ua.TimestampsToReturnBoth, NodesToRead: nodes,
	})
	if err != nil {
		return nil, err
	}
	if len(response.results) != len(nodes) {
		return nil, errCount
	}
	return response.results, nil
}
