package broker

import (
	"context"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// stallLimit is how long a publisher waits for an in-process subscriber that delivers nothing.
const stallLimit = 30 * time.Second

// subscribeLocal registers an in-process subscriber with its retained messages and starts its goroutine.
func (b *Broker) subscribeLocal(ctx context.Context, as string, s *subscription, deliver func(Message)) (stop func(), err error) {
	to := &subscriber{
		name: as, client: s.name(),
		queue:   newQueue(b.limits.LocalMessages, b.limits.LocalBytes),
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	to.online.Store(true)
	s.owner = to
	if err := b.registerLocal(to, s); err != nil {
		return nil, err
	}
	go b.deliverLocal(to, deliver)
	release := context.AfterFunc(ctx, func() { b.removeLocal(to, s) })
	return func() {
		release()
		b.removeLocal(to, s)
		<-to.done
	}, nil
}

func (b *Broker) registerLocal(to *subscriber, s *subscription) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return spec.Errorf(spec.Unavailable, "cannot subscribe to %q: the broker has stopped", s.name())
	}
	id := b.policy.Load().identities[to.name]
	if !id.maySubscribe(s.filter) {
		b.stats.refused.Add(1)
		return spec.Errorf(spec.Forbidden, "cannot subscribe to %q: %q has no permission that covers it", s.name(), to.name)
	}
	to.identity.Store(id)
	b.locals[to] = s
	b.subscribe(s)
	b.queueRetained(s)
	return nil
}

// subscribe adds to the index. The caller holds Broker.mu.
func (b *Broker) subscribe(s *subscription) {
	if replaced := b.index.add(s); replaced == nil {
		s.owner.filters++
		b.stats.subscriptions.Add(1)
	}
}

// queueRetained gives an in-process subscriber the retained messages. The caller holds Broker.mu.
func (b *Broker) queueRetained(s *subscription) {
	if s.group != "" {
		return
	}
	id := s.owner.identity.Load()
	for _, m := range b.retained.match(s.filter, b.retained.mark()) {
		if id.may(spec.Read, m.Topic) {
			s.owner.queue.force(delivery{msg: m, qos: min(m.QoS, s.qos), retain: true, checked: id})
		}
	}
}

// unsubscribe undoes subscribe. The caller holds Broker.mu.
func (b *Broker) unsubscribe(s *subscription) {
	b.index.remove(s)
	s.owner.filters--
	b.stats.subscriptions.Add(-1)
}

// removeLocal ends an in-process subscription; it may be called again.
func (b *Broker) removeLocal(to *subscriber, s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.locals[to]; !there {
		return
	}
	delete(b.locals, to)
	b.unsubscribe(s)
	close(to.stopped)
	to.queue.close()
}

// deliverLocal is the goroutine of one in-process subscriber.
func (b *Broker) deliverLocal(to *subscriber, deliver func(Message)) {
	defer close(to.done)
	var batch [32]delivery
	for {
		n := to.queue.pop(batch[:])
		for i := range n {
			if !b.deliverOne(to, &batch[i], deliver) {
				return
			}
			batch[i] = delivery{}
		}
		if n > 0 {
			continue
		}
		select {
		case <-to.stopped:
			return
		case <-to.queue.ready:
		}
	}
}

// deliverOne reports false when the subscription has ended.
func (b *Broker) deliverOne(to *subscriber, d *delivery, deliver func(Message)) bool {
	select {
	case <-to.stopped:
		return false
	default:
	}
	if to.deliverable(d) {
		m := d.msg.Message
		m.QoS, m.Retain = d.qos, d.retain
		deliver(m)
		b.stats.sent.Add(1)
	}
	to.progress.Add(1)
	return true
}

// wait queues d once the full in-process subscriber has room. Where it never has, d is
// dropped and counted; the error, of kind Conflict, is for a publisher that gave up. So a
// circle of callbacks that publish into each other's full queues goes on after stallLimit.
func (b *Broker) wait(ctx context.Context, to *subscriber, d delivery) error {
	seen := to.progress.Load()
	stall := time.NewTimer(stallLimit)
	defer stall.Stop()
	for {
		r, room := to.queue.pushOrRoom(d)
		if r != full {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			b.drop(to, d.msg, "its queue is full and the publisher waits no longer")
			return spec.Errorf(spec.Conflict, "cannot deliver %q to subscriber %q of %q: its queue is full: %w", d.msg.Topic, to.client, to.name, context.Cause(ctx))
		case <-stall.C:
			now := to.progress.Load()
			if now == seen {
				b.drop(to, d.msg, "its queue is full and it delivered nothing for "+stallLimit.String())
				return nil // the subscriber's failure, not the publisher's
			}
			seen = now
			stall.Reset(stallLimit)
		}
	}
}
