package mapper

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// subscriptions are one resource's on the bus. Those that fail are tried again until they stand.
type subscriptions struct {
	cell   *cell
	all    func() // called whenever all of them stand
	trying sync.WaitGroup
	cancel []context.CancelFunc

	mu      sync.Mutex
	missing int
	stops   []func()
}

func newSubscriptions(c *cell, all func()) *subscriptions { return &subscriptions{cell: c, all: all} }

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
}

// stands notes that one of those is there.
func (s *subscriptions) stands() {
	s.mu.Lock()
	s.missing--
	complete := s.missing == 0
	s.mu.Unlock()
	if complete {
		s.all()
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
