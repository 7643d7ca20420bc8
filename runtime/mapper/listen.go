package mapper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// listener is a mapping's subscription on an external broker.
type listener struct {
	filter  string
	qos     byte
	deliver func(Message)
	fault   *fault
	stands  func() // it is subscribed
	lost    func() // it no longer is, because the link has ended

	idle chan struct{} // under connection.lock: closed when nothing can be delivered any more; nil before
}

// addListener makes the connection serve a listener.
func (c *connection) addListener(x *listener) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.listeners[x] = true
	wake(c.pushKick)
}

// removeListener makes the connection serve it no more. What it returns is closed after the last delivery.
func (c *connection) removeListener(x *listener) <-chan struct{} {
	c.lock.Lock()
	defer c.lock.Unlock()
	delete(c.listeners, x)
	wake(c.pushKick)
	if x.idle == nil {
		x.idle = make(chan struct{})
		close(x.idle)
	}
	return x.idle
}

// begin notes that a listener is about to be subscribed, and reports false if nobody wants it any more.
func (c *connection) begin(x *listener) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	if !c.listeners[x] {
		return false
	}
	x.idle = make(chan struct{})
	return true
}

// ended notes that nothing is delivered to a listener any more.
func (c *connection) ended(x *listener) {
	c.lock.Lock()
	defer c.lock.Unlock()
	close(x.idle)
	if c.listeners[x] {
		x.idle = nil
	}
}

// listen makes the listeners on a link those that are wanted.
func (c *connection) listen(l *link, have map[*listener]*standing) {
	want := users(c, c.listeners)
	for x, s := range have {
		if !want[x] {
			delete(have, x)
			c.stopListening(x, s)
		}
	}
	for x := range want {
		s := have[x]
		if s != nil && (s.stop != nil || time.Now().Before(s.again)) {
			continue
		}
		if !c.begin(x) {
			continue
		}
		stop, err := c.subscribeTopic(l, x)
		if err != nil {
			c.ended(x)
		}
		if err == nil || l.ctx.Err() == nil {
			have[x] = c.listening(x, s, stop, err)
		}
	}
}

func (c *connection) subscribeTopic(l *link, x *listener) (func(), error) {
	ps, ok := l.Session.(PubSub)
	if !ok {
		return nil, spec.Errorf(spec.Invalid, "connection %q is none that a mapping can listen to", c.resource.ID)
	}
	type answer struct {
		stop func()
		err  error
	}
	deliver := func(m Message) {
		if l.ctx.Err() == nil {
			x.deliver(m)
		}
	}
	a, broken := callLink(c, l, func(ctx context.Context) answer {
		stop, err := ps.SubscribeTopic(ctx, x.filter, x.qos, deliver)
		return answer{stop, err}
	})
	return a.stop, errors.Join(broken, a.err)
}

// listening notes how a subscription went.
func (c *connection) listening(x *listener, before *standing, stop func(), err error) *standing {
	if err == nil {
		x.fault.clear()
		x.stands()
		return &standing{stop: stop}
	}
	x.fault.raise(fmt.Sprintf("cannot subscribe to %q on connection %q: %v", x.filter, c.resource.ID, err))
	if before == nil {
		pause := strategyPauses(c.strategy)
		before = &standing{pause: &pause}
	}
	before.again = time.Now().Add(before.pause.next())
	return before
}

// stopListening ends a subscription; it waits only a moment.
func (c *connection) stopListening(x *listener, s *standing) {
	if s.stop == nil {
		return
	}
	defer c.ended(x)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := call(ctx, c.m, func(context.Context) struct{} { s.stop(); return struct{}{} }, nil); err != nil {
		c.logPanic(err)
		c.log.Debug("ending a subscription failed", "error", err)
	}
}

// publish sends a mapping's message over the connection, a write to a machine.
func (c *connection) publish(ctx context.Context, msg Message) error {
	if c.m.opts.ReadOnly {
		return errReadOnly
	}
	l, err := c.current()
	if err != nil {
		return err
	}
	if l.over() { // a moment ago; the message is not to blame
		return spec.Errorf(spec.Unavailable, "connection %q was lost", c.resource.ID)
	}
	ps, ok := l.Session.(PubSub)
	if !ok {
		return spec.Errorf(spec.Invalid, "connection %q is none that a mapping can publish to", c.resource.ID)
	}
	err, broken := call(ctx, c.m, func(ctx context.Context) error { return ps.Publish(ctx, msg) }, nil)
	if broken != nil && ctx.Err() == nil {
		c.broken(l, broken)
	}
	err = errors.Join(err, broken)
	if err == nil || !l.over() {
		return err
	}
	return spec.Errorf(spec.Unavailable, "connection %q: %w", c.resource.ID, fmt.Errorf("%w: %w", errLinkLost, err))
}
