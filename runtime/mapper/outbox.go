package mapper

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// outboxLimit is how many messages one endpoint or mapping entry keeps in memory.
	outboxLimit = 1000
	// patience is how long a full outbox of a mapping holds back who fills it, before the oldest message is dropped.
	patience = time.Second
	// policyDelay is how long after a resource's start a refusal is tried again: the broker
	// may learn of a new service a moment later than the mapper.
	policyDelay = 5 * time.Second
	// lossesAllowed is how many links may be lost while one message is on its way. A broker that hangs
	// up on what it does not want would else be sent the same for ever.
	lossesAllowed = 3
)

// way is how an outbox publishes.
type way struct {
	publish func(context.Context, Message) error
	// suspects, on a connection, lets only one message at a time pass of those on which a link was lost:
	// then the one that ends links is not mistaken for another.
	suspects chan struct{}
	where    string // begins the errors, "" or with a space at its end
}

// outbox publishes messages in order. While the bus is unavailable it tries the oldest
// again and again; past a bound the oldest of those that wait is dropped and counted.
type outbox struct {
	way
	cell    *cell
	fault   *fault
	queue   *queue[Message]
	started time.Time
	stalled atomic.Bool     // it has held somebody back in vain, and has sent nothing since
	ctx     context.Context // ends when what is left is to be given up
	giveUp  context.CancelFunc
}

var (
	// errReadOnly refuses writes to machines.
	errReadOnly = spec.Errorf(spec.Forbidden, "this gateway is read-only: it writes to no machine")
	// errLinkLost marks that the link ended while the message was on its way.
	errLinkLost = errors.New("the connection was lost")
)

func newOutbox(ctx context.Context, c *cell, w way) *outbox {
	o := &outbox{way: w, cell: c, fault: c.newFault(), started: time.Now()}
	o.ctx, o.giveUp = context.WithCancel(ctx)
	o.queue = newQueue(outboxLimit, o.send)
	return o
}

// push takes a message over and returns at once.
func (o *outbox) push(msg Message) {
	if o.queue.force(msg) {
		o.drop(o.where + "cannot publish: the queue is full, the oldest message is dropped")
	}
}

// pushPatiently is push, but holds back the caller for a while when the outbox is full.
func (o *outbox) pushPatiently(msg Message) {
	if !o.stalled.Load() {
		if o.queue.push(o.ctx, msg, patience) {
			return
		}
		o.stalled.Store(true)
	}
	o.push(msg)
}

// finish waits until everything is published, or ctx ends.
func (o *outbox) finish(ctx context.Context) {
	hurry := context.AfterFunc(ctx, o.giveUp)
	defer hurry()
	o.queue.close()
	o.queue.wait()
	o.giveUp()
}

// send publishes one message, however long that takes.
func (o *outbox) send(msg Message) {
	pause := pauses{first: 50 * time.Millisecond, last: 5 * time.Second, factor: 2}
	losses := 0
	for {
		err := o.try(msg, losses > 0)
		if err == nil {
			o.sent()
			return
		}
		text := fmt.Sprintf("%scannot publish to %q: %v", o.where, msg.Topic, err)
		if errors.Is(err, errLinkLost) {
			losses++
		}
		if losses >= lossesAllowed {
			text = fmt.Sprintf("%s (dropped: the connection was lost %d times while it was sent)", text, losses)
			r := o.cell.resource
			o.cell.m.opts.Log.Warn("a message ends the connection, and is dropped",
				"service", r.Service, "resource", r.ID, "topic", msg.Topic, "bytes", len(msg.Payload), "error", err)
			o.drop(text)
			return
		}
		if o.ctx.Err() == nil && o.transient(err) {
			o.fault.raise(text)
			if sleep(o.ctx, pause.next()) {
				continue
			}
		}
		o.drop(text)
		return
	}
}

// try publishes once. A suspect waits until no other one is on its way.
func (o *outbox) try(msg Message, suspect bool) error {
	if suspect && o.suspects != nil {
		select {
		case o.suspects <- struct{}{}:
			defer func() { <-o.suspects }()
		case <-o.ctx.Done():
			return o.ctx.Err()
		}
	}
	return o.publish(o.ctx, msg)
}

func (o *outbox) sent() {
	o.cell.messages.Add(1)
	o.fault.clear()
	if o.stalled.Load() {
		o.stalled.Store(false)
	}
}

func (o *outbox) drop(text string) {
	o.cell.dropped.Add(1)
	o.fault.raise(text)
}

// transient reports whether the same message may go through later. An error that has a kind says so by
// its kind alone: after a Conflict some have got the message already.
func (o *outbox) transient(err error) bool {
	switch spec.KindOf(err) {
	case spec.Unavailable:
		return true
	case spec.Forbidden:
		return !errors.Is(err, errReadOnly) && time.Since(o.started) < policyDelay
	case spec.Internal:
		return errors.Is(err, context.DeadlineExceeded)
	}
	return false
}
