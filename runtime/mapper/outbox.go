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
	// outboxLimit is how many messages one endpoint or mapping keeps in memory.
	outboxLimit = 1000
	// patience is how long a full outbox holds back who fills it, before the oldest message is dropped.
	patience = time.Second
	// policyDelay is how long after a resource's start a refusal is tried again: the broker
	// may learn of a new service a moment later than the mapper.
	policyDelay = 5 * time.Second
)

// outbox publishes messages in order. While the bus is unavailable it tries the oldest
// again and again, and holds back who fills it; past a bound the oldest is dropped and counted.
type outbox struct {
	cell    *cell
	publish func(context.Context, Message) error
	fault   *fault
	queue   *queue[Message]
	started time.Time
	stalled *atomic.Bool    // shared by all that go the same way: it takes nothing at the moment
	ctx     context.Context // ends when what is left is to be given up
}

// errReadOnly refuses writes to machines.
var errReadOnly = spec.Errorf(spec.Forbidden, "this gateway is read-only: it writes to no machine")

func newOutbox(ctx context.Context, c *cell, stalled *atomic.Bool, publish func(context.Context, Message) error) *outbox {
	o := &outbox{cell: c, publish: publish, fault: c.newFault(), started: time.Now(), stalled: stalled, ctx: ctx}
	o.queue = newQueue(outboxLimit, o.send)
	return o
}

// push takes a message over; it returns at once unless the outbox is full.
func (o *outbox) push(msg Message) {
	wait := patience
	if o.stalled.Load() {
		wait = 0
	}
	if o.queue.push(o.ctx, msg, wait) {
		return
	}
	o.stalled.Store(true)
	if o.queue.force(msg) {
		o.drop("cannot publish: the queue is full, the oldest message is dropped")
	}
}

// send publishes one message, however long that takes.
func (o *outbox) send(msg Message) {
	pause := pauses{first: 50 * time.Millisecond, last: 5 * time.Second, factor: 2}
	for {
		err := o.publish(o.ctx, msg)
		if err == nil {
			o.sent()
			return
		}
		text := fmt.Sprintf("cannot publish to %q: %v", msg.Topic, err)
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

// transient reports whether the same message may go through later.
func (o *outbox) transient(err error) bool {
	switch spec.KindOf(err) {
	case spec.Unavailable:
		return true
	case spec.Forbidden:
		return !errors.Is(err, errReadOnly) && time.Since(o.started) < policyDelay
	}
	return errors.Is(err, context.DeadlineExceeded)
}
