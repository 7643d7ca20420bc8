package loadgen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// run is one scenario under way.
type run struct {
	scenario Scenario
	wire     wire
	tag      string // of this run's client ids
	start    time.Time
	interval int64 // nanoseconds between two messages of one publisher; 0: no schedule

	publishers  []*publisher
	subscribers []*subscriber

	mu    sync.Mutex // guards the subscribers' links once they run
	ended bool
	away  bool // the subscribers have left, so that the server queues for them
}

// now returns the nanoseconds since the start.
func (r *run) now() int64 { return int64(time.Since(r.start)) }

// intended returns when publisher i's message n is to be sent. The publishers take turns.
func (r *run) intended(i int, n uint64) int64 {
	return int64(i)*r.interval/int64(r.scenario.Publishers) + int64(n)*r.interval
}

// scheduled returns how many messages publisher i should have sent by then.
func (r *run) scheduled(i int, then int64) uint64 {
	then -= r.intended(i, 0)
	if then < 0 {
		return 0
	}
	return uint64(then/r.interval) + 1
}

// Run runs one scenario. It fails where a client cannot connect or is cut off while it
// publishes; what the server loses is no error but in the result.
func Run(ctx context.Context, s Scenario) (*Result, error) {
	r, err := newRun(s)
	if err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		r.end()
		return nil, err
	}
	result, err := r.load(ctx)
	return result, errors.Join(err, r.forget(ctx))
}

// newRun prepares a run; nothing is connected.
func newRun(s Scenario) (*run, error) {
	s, err := s.withDefaults()
	if err != nil {
		return nil, err
	}
	w, err := wireOf(s.Server.Protocol)
	if err != nil {
		return nil, err
	}
	r := &run{scenario: s, wire: w, tag: rand.Text()[:8]}
	if s.Rate > 0 {
		r.interval = max(1, int64(float64(s.Publishers)*float64(time.Second)/s.Rate))
	}
	return r, nil
}

// connecting is how many connections are opened at a time.
const connecting = 64

// connect opens all connections, subscribers first.
func (r *run) connect(ctx context.Context) error {
	s := &r.scenario
	r.subscribers = make([]*subscriber, s.Subscribers)
	r.publishers = make([]*publisher, s.Publishers)
	g, ctx1 := errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for i := range r.subscribers {
		g.Go(func() error {
			sub := &subscriber{run: r, number: i, id: r.id("s", i), notes: newNotes(s.Publishers, s.Topics)}
			sub.notes.from = int64(s.Warmup)
			var err error
			if sub.link, err = r.subscribe(ctx1, i, sub.id, true); err == nil {
				r.subscribers[i] = sub
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, ctx1 = errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for i := range r.publishers {
		g.Go(func() error {
			l, err := s.connect(ctx1, r.wire, r.id("p", i), !s.Persistent || s.QoS < 2, narrowBuffer)
			if err != nil {
				return err
			}
			if r.publishers[i], err = newPublisher(r, l, i); err != nil {
				return closing(l, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *run) id(role string, i int) string { return fmt.Sprintf("load-%s-%s%05d", r.tag, role, i) }

// subscribe connects subscriber i; a session that the server still has keeps its filters.
func (r *run) subscribe(ctx context.Context, i int, id string, first bool) (*link, error) {
	s := &r.scenario
	l, err := s.connect(ctx, r.wire, id, !s.Persistent, wideBuffer)
	if err != nil {
		return nil, err
	}
	if !first && l.present {
		return l, nil
	}
	if err := l.subscribe(s.filters(r.wire, i), s.QoS); err != nil {
		return nil, fmt.Errorf("cannot subscribe as client %q: %w", id, closing(l, err))
	}
	return l, nil
}

// load starts everybody, measures, and waits for what is under way.
func (r *run) load(ctx context.Context) (*Result, error) {
	s := &r.scenario
	live, fail := context.WithCancelCause(ctx) // ends the connections
	defer fail(nil)
	sending, stop := context.WithCancel(live) // ends the sending
	defer stop()
	var receivers, senders sync.WaitGroup
	r.start = time.Now()
	guarded := func(what string, i int, do func() error) func() {
		return func() {
			if err := do(); err != nil && live.Err() == nil {
				fail(fmt.Errorf("%s %d: %w", what, i, err))
			}
		}
	}
	if !r.away {
		for i, sub := range r.subscribers {
			receivers.Go(guarded("subscriber", i, func() error { return sub.receive(live) }))
		}
	}
	for i, p := range r.publishers {
		receivers.Go(guarded("publisher", i, p.confirmations))
		senders.Go(guarded("publisher", i, func() error { return p.send(sending) }))
	}
	if r.interval > 0 {
		receivers.Go(guarded("schedule", 0, func() error { return r.pace(sending) }))
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()

	from := r.snapshotAfter(live, s.Warmup, nil)
	till := from
	if s.Count == 0 {
		till = r.snapshotAfter(live, s.Duration, nil)
	} else {
		r.snapshotAfter(live, max(s.Duration, time.Hour), done)
	}
	stop()
	r.drain(live, done)
	if s.Count > 0 {
		till = r.snapshotAfter(live, 0, nil)
	}
	err := context.Cause(live)
	fail(nil)
	r.end()
	err = errors.Join(err, from.err, till.err)
	receivers.Wait()
	<-done
	if err != nil {
		return nil, err
	}
	return r.result(from, till), nil
}

// pace wakes each publisher when its next message is due.
func (r *run) pace(ctx context.Context) error {
	const shortest = 50 * time.Microsecond
	all := len(r.publishers)
	p, err := r.scenario.environment.pulse(max(shortest, time.Duration(r.interval)/time.Duration(all)))
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	release := context.AfterFunc(ctx, func() { stopped <- p.stop() })
	turn := uint64(0)
	for ctx.Err() == nil {
		if err := p.wait(); err != nil {
			if release() {
				return errors.Join(err, p.stop())
			}
			return errors.Join(err, <-stopped)
		}
		now := r.now()
		for i := int(turn) % all; r.intended(i, turn/uint64(all)) <= now; i = int(turn) % all {
			r.publishers[i].signal()
			turn++
		}
	}
	return <-stopped
}

// drain waits until the senders are done and everything is acknowledged and delivered, or
// nothing has come for a second, or for Scenario.Drain.
func (r *run) drain(ctx context.Context, done <-chan struct{}) {
	const look, quiet = 5 * time.Millisecond, time.Second
	ctx, cancel := context.WithTimeout(ctx, r.scenario.Drain)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	moved := time.Now()
	for before := r.snapshot(); time.Since(moved) < quiet && !r.settled(before); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := r.snapshot()
		if s.acked != before.acked || s.received != before.received {
			moved = time.Now()
		}
		before = s
	}
}

// settled reports whether nothing is under way any more.
func (r *run) settled(s snapshot) bool {
	expected := s.sent
	if !r.scenario.Pairs {
		expected *= uint64(len(r.subscribers))
	}
	return (r.away || s.received >= expected) && (r.scenario.QoS == 0 || s.acked == s.sent)
}

// replace gives a subscriber its next connection.
func (r *run) replace(s *subscriber, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.link = l
	if r.ended {
		s.reason = errors.Join(s.reason, l.Close())
	}
}

// end closes all connections. What then fails in closing one that the server has ended
// before is of no interest.
func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	var links []*link
	for _, p := range r.publishers {
		if p != nil {
			links = append(links, p.link)
		}
	}
	for _, s := range r.subscribers {
		if s != nil {
			links = append(links, s.link)
		}
	}
	for _, l := range links {
		_ = l.leave()
	}
}

// forget removes the sessions that a persistent run has left on the server.
func (r *run) forget(ctx context.Context) error {
	if !r.scenario.Persistent {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for _, id := range r.lasting() {
		g.Go(func() error {
			l, err := r.scenario.connect(ctx, r.wire, id, true, narrowBuffer)
			if err != nil {
				return err
			}
			return l.leave()
		})
	}
	return g.Wait()
}

// lasting returns the clients whose sessions outlive their connections.
func (r *run) lasting() (ids []string) {
	for i := range r.subscribers {
		ids = append(ids, r.id("s", i))
	}
	for i := range r.publishers {
		if r.scenario.QoS == 2 {
			ids = append(ids, r.id("p", i))
		}
	}
	return ids
}
