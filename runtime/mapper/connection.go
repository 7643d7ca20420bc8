package mapper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

const (
	// dialTimeout bounds one attempt to open a session.
	dialTimeout = 30 * time.Second
	// callTimeout bounds one call to read or subscribe; machines with many slow units need minutes.
	callTimeout = 5 * time.Minute
	// requestsAtOnce bounds the requests that are under way on one connection.
	requestsAtOnce = 32
)

// connection keeps one session with a machine open, and knows who uses it.
type connection struct {
	*cell
	log       *slog.Logger
	connector Connector
	strategy  commissioning.Strategy
	requests  chan struct{} // a slot for each request under way
	suspects  chan struct{} // see way
	pushKick  chan struct{} // capacity 1: who is pushed to, or listens, changed
	pollKick  chan struct{} // capacity 1: who is polled changed

	stop context.CancelFunc
	done chan struct{} // closed when run has returned

	lock      sync.Mutex
	link      *link // nil while there is none
	reason    string
	linkSince time.Time // when link last came or went
	pushed    map[*endpoint]bool
	polled    map[*endpoint]bool
	listeners map[*listener]bool
}

// link is one open session and the context of everything that uses it.
type link struct {
	Session
	ctx context.Context
	end context.CancelCauseFunc
}

var _ unit = (*connection)(nil)

func newConnection(m *Mapper, r spec.Resource, starts uint64, cfg commissioning.Connection, connector Connector, log *slog.Logger) *connection {
	return &connection{
		cell:      newCell(m, r, starts, string(spec.StateDisconnected)),
		log:       log,
		connector: connector,
		strategy:  cfg.Strategy,
		requests:  make(chan struct{}, requestsAtOnce),
		suspects:  make(chan struct{}, 1),
		pushKick:  make(chan struct{}, 1),
		pollKick:  make(chan struct{}, 1),
		linkSince: time.Now(),
		pushed:    map[*endpoint]bool{},
		polled:    map[*endpoint]bool{},
		listeners: map[*listener]bool{},
	}
}

func (c *connection) start(ctx context.Context) {
	ctx, c.stop = context.WithCancel(ctx)
	c.done = make(chan struct{})
	c.is(string(spec.StateConnecting))
	go c.run(ctx)
}

func (c *connection) halt() { c.stop() }

func (c *connection) finish(ctx context.Context) {
	select {
	case <-c.done:
	case <-ctx.Done():
	}
}

func (c *connection) status() spec.ResourceStatus {
	s := c.cell.status()
	c.lock.Lock()
	defer c.lock.Unlock()
	s.Error = c.reason
	s.OnTarget = c.link != nil
	return s
}

// down returns why the connection's users cannot work ("" if they can) and since when that is so.
// Opening is true while the very first attempt is under way.
func (c *connection) down() (why string, opening bool, since time.Time) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.link != nil {
		return "", false, c.linkSince
	}
	state := c.cell.current()
	text := fmt.Sprintf("connection %q is %s", c.resource.ID, state)
	if c.reason != "" {
		text += ": " + c.reason
	}
	return text, c.reason == "" && state == string(spec.StateConnecting), c.linkSince
}

// current returns the open session, or an error that names the connection.
func (c *connection) current() (*link, error) {
	c.lock.Lock()
	l := c.link
	c.lock.Unlock()
	if l != nil {
		return l, nil
	}
	why, _, _ := c.down()
	return nil, spec.Errorf(spec.Unavailable, "%s", why)
}

// run dials, serves and dials again until ctx ends.
func (c *connection) run(ctx context.Context) {
	defer close(c.done)
	pause := strategyPauses(c.strategy)
	for {
		if s, err := c.dial(ctx); err != nil {
			c.failed(ctx, spec.StateConnectFailed, err)
		} else {
			opened := time.Now()
			err := c.serve(ctx, s)
			if time.Since(opened) > pause.now { // else it may be a machine that hangs up at once
				pause.reset()
			}
			c.failed(ctx, spec.StateConnectLost, err)
		}
		if ctx.Err() != nil || !sleep(ctx, pause.next()) {
			c.is(string(spec.StateDisconnected))
			return
		}
		c.is(string(spec.StateReconnecting))
	}
}

func (c *connection) dial(ctx context.Context) (Session, error) {
	type answer struct {
		session Session
		err     error
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	a, err := call(ctx, c.m, func(ctx context.Context) answer {
		s, err := c.connector.Dial(ctx)
		return answer{s, err}
	}, func(a answer) {
		if a.err == nil {
			c.hangUp(a.session)
		}
	})
	if err = errors.Join(err, a.err); err != nil {
		c.logPanic(err)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("no answer within %v (%w)", dialTimeout, err)
		}
		return nil, err
	}
	return a.session, nil
}

// failed notes why there is no session.
func (c *connection) failed(ctx context.Context, state spec.ConnectionState, err error) {
	if ctx.Err() != nil {
		return
	}
	c.lock.Lock()
	c.reason = err.Error()
	c.lock.Unlock()
	c.errors.Add(1)
	c.remember(err.Error())
	c.is(string(state))
	c.log.Warn("connection is down", "state", state, "error", err)
}

// serve uses an open session until it or ctx ends, and returns why.
func (c *connection) serve(ctx context.Context, s Session) error {
	l := &link{Session: s}
	l.ctx, l.end = context.WithCancelCause(ctx)
	c.up(l)
	var users sync.WaitGroup
	users.Go(func() { c.pushLoop(l) })
	users.Go(func() { c.pollLoop(l) })
	select {
	case <-s.Done():
	case <-l.ctx.Done():
	}
	err := c.cause(ctx, l)
	if ctx.Err() != nil {
		c.is(string(spec.StateDisconnecting))
	}
	c.lost(l, err)
	c.hangUp(s)
	users.Wait()
	return err
}

// cause says why a link has ended.
func (c *connection) cause(ctx context.Context, l *link) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := context.Cause(l.ctx); err != nil {
		return err
	}
	var err error
	if panicked := guard(func() { err = l.Err() }); panicked != nil {
		return panicked
	}
	if err == nil {
		return errors.New("the session ended")
	}
	return err
}

func (c *connection) up(l *link) {
	c.lock.Lock()
	c.link, c.reason, c.linkSince = l, "", time.Now()
	c.lock.Unlock()
	c.connects.Add(1)
	c.is(string(spec.StateConnected))
	c.log.Info("connected")
}

// lost ends the link, and tells those who got values that no more are coming.
func (c *connection) lost(l *link, err error) {
	l.end(err)
	c.lock.Lock()
	c.link, c.linkSince = nil, time.Now()
	users := make([]*endpoint, 0, len(c.pushed)+len(c.polled))
	for e := range c.pushed {
		users = append(users, e)
	}
	for e := range c.polled {
		users = append(users, e)
	}
	c.lock.Unlock()
	text := fmt.Sprintf("connection %q is %s: %v", c.resource.ID, spec.StateConnectLost, err)
	for _, e := range users {
		e.lost(text)
	}
}

// hangUp closes a session and waits for that only a moment.
func (c *connection) hangUp(s Session) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // the grace is all that it gets
	err, panicked := call(ctx, c.m, func(context.Context) error { return s.Close() }, nil)
	if err = errors.Join(err, panicked); err != nil {
		c.logPanic(err)
		c.log.Debug("closing the session failed", "error", err)
	}
}

// broken ends a link whose driver misbehaved.
func (c *connection) broken(l *link, err error) {
	c.logPanic(err)
	l.end(err)
}

func (c *connection) logPanic(err error) {
	var p *panicError
	if errors.As(err, &p) {
		c.log.Error("a driver panicked", "panic", p.value, "stack", string(p.stack))
	}
}

// attach makes the connection serve a subscribe endpoint.
func (c *connection) attach(e *endpoint) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if e.polled() {
		c.polled[e] = true
		wake(c.pollKick)
		return
	}
	c.pushed[e] = true
	wake(c.pushKick)
}

func (c *connection) detach(e *endpoint) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if e.polled() {
		delete(c.polled, e)
		wake(c.pollKick)
		return
	}
	delete(c.pushed, e)
	wake(c.pushKick)
}

// users returns a copy of one of the sets of users.
func users[K comparable](c *connection, set map[K]bool) map[K]bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	clone := make(map[K]bool, len(set))
	for k := range set {
		clone[k] = true
	}
	return clone
}

// idleConnection is a connection that is not to be open.
type idleConnection struct {
	*connection
}

var _ unit = idleConnection{}

func (c idleConnection) start(context.Context)  {}
func (c idleConnection) halt()                  {}
func (c idleConnection) finish(context.Context) {}

func (c idleConnection) status() spec.ResourceStatus {
	s := c.connection.status()
	s.OnTarget = true
	return s
}
