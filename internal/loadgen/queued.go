package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Queued is a load that waits on a server for subscribers that are away.
type Queued struct {
	run *run
	// Filled is what became of the sending.
	Filled *Result
}

// Fill lets the subscribers of the scenario subscribe and leave, and sends Scenario.Count
// messages for each publisher, which the server keeps. Scenario.Persistent is taken for granted.
func Fill(ctx context.Context, s Scenario) (*Queued, error) {
	s.Persistent = true
	if s.Count == 0 || s.QoS == 0 {
		return nil, errors.New("cannot fill a queue without a count of messages and QoS 1 or 2")
	}
	r, err := newRun(s)
	if err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		r.end()
		return nil, err
	}
	for _, sub := range r.subscribers {
		if err := sub.leave(); err != nil {
			r.end()
			return nil, fmt.Errorf("cannot leave as client %q: %w", sub.id, err)
		}
	}
	r.away = true
	filled, err := r.load(ctx)
	return &Queued{run: r, Filled: filled}, err
}

// Collected is what the subscribers got when they came back.
type Collected struct {
	Result *Result
	First  time.Duration // from Collect's call to the first message
	All    time.Duration // to the last one
}

// Collect brings the subscribers back and takes what waits for them, until all of it is there
// or nothing has come for ten seconds.
func (q *Queued) Collect(ctx context.Context) (*Collected, error) {
	r := q.run
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.ended, r.away = false, false
	r.mu.Unlock()
	var receivers sync.WaitGroup
	for i, sub := range r.subscribers {
		l, err := r.subscribe(ctx, i, sub.id, false)
		if err != nil {
			cancel()
			r.end()
			receivers.Wait()
			return nil, err
		}
		r.replace(sub, l)
		receivers.Go(func() {
			if err := sub.receive(ctx); err != nil {
				sub.reason = errors.Join(sub.reason, err)
			}
		})
	}
	from := r.snapshot()
	c := &Collected{}
	c.First, c.All = q.await(ctx, began)
	till := r.snapshot()
	err := ctx.Err()
	cancel()
	r.end()
	receivers.Wait()
	c.Result = r.result(from, till)
	return c, err
}

// await returns when the first message came and when the last one did.
func (q *Queued) await(ctx context.Context, began time.Time) (first, last time.Duration) {
	const look, quiet = time.Millisecond, 10 * time.Second
	tick := time.NewTicker(look)
	defer tick.Stop()
	got := uint64(0)
	for moved := time.Now(); time.Since(moved) < quiet; {
		select {
		case <-ctx.Done():
			return first, last
		case <-tick.C:
		}
		s := q.run.snapshot()
		if s.received == got {
			continue
		}
		moved, last = time.Now(), time.Since(began)
		if got == 0 {
			first = last
		}
		if got = s.received; q.run.settled(s) {
			return first, last
		}
	}
	return first, last
}

// Forget removes the sessions from the server.
func (q *Queued) Forget(ctx context.Context) error { return q.run.forget(ctx) }

// Moved says that the server that keeps the messages is at another address now.
func (q *Queued) Moved(to Server) { q.run.scenario.Server = to }
