package mapper

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// subscriptions are one resource's on the bus and on connections. Those that fail are tried again until
// they stand. While all of them do the resource is enabled, else pending.
type subscriptions struct {
	cell   *cell
	trying sync.WaitGroup
	cancel []context.CancelFunc

	mu      sync.Mutex
	missing int
	stops   []func()
}

// newSubscriptions makes an empty set. It is not complete before stands was called once more than for
// what was added: by who has added all.
func newSubscriptions(c *cell) *subscriptions { return &subscriptions{cell: c, missing: 1} }

// add makes one more subscription, in the background. All adds come before stop.
func (s *subscriptions) add(ctx context.Context, bus Bus, filter string, qos byte, deliver func(Message)) {
	ctx, cancel := context.WithCancel(ctx)
	s.cancel = append(s.cancel, cancel)
	s.lacks()
	broken := s.cell.newFault()
	s.trying.Go(func() {
		pause := pauses{first: 100 * time.Millisecond, last: 5 * time.Second, factor: 2}
		for {
			stop, err := bus.Subscribe(ctx, "service:"+s.cell.resource.Service, filter, qos, deliver)
			if err == nil {
				broken.clear()
				s.mu.Lock()
				s.stops = append(s.stops, stop)
				s.mu.Unlock()
				s.stands()
				return
			}
			if ctx.Err() != nil {
				return
			}
			broken.raise(fmt.Sprintf("cannot subscribe to %q: %v", filter, err))
			if !sleep(ctx, pause.next()) {
				return
			}
		}
	})
}

// lacks notes that one more subscription is wanted, or was lost.
func (s *subscriptions) lacks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing++
	s.cell.is(spec.StatePending)
}

// stands notes that one of those is there.
func (s *subscriptions) stands() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing--
	if s.missing == 0 {
		s.cell.is(spec.StateEnabled)
	}
}

// stop ends all subscriptions and returns after the last message was delivered.
func (s *subscriptions) stop() {
	for _, cancel := range s.cancel {
		cancel()
	}
	s.trying.Wait()
	s.mu.Lock()
	stops := s.stops
	s.stops = nil
	s.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}
