package bus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/packets"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// subscriber is one subscription with its connection. The broker keeps its session while the link
// is lost, also where this process starts anew meanwhile: nothing of QoS 1 and 2 is missed.
type subscriber struct {
	b       *Bus
	as      string
	filter  string
	qos     byte
	client  string
	expiry  uint32 // seconds for which the broker keeps the session; 0: not at all
	deliver func(mapper.Message)

	first  chan error // capacity 1: how the first attempt went
	done   chan struct{}
	asked  bool            // this process has sent SUBSCRIBE
	halves map[uint16]bool // messages of QoS 2 that were delivered and not released
	queued chan mapper.Message
}

// waitingDeliveries is how many messages wait for a subscriber that is slow, before its
// connection, and so the broker, has to wait.
const waitingDeliveries = 1000

// newSubscriber gives the subscription a client id of its own, and the same one after a restart.
// The caller has Bus.mu.
func newSubscriber(b *Bus, as, filter string, qos byte, deliver func(mapper.Message)) *subscriber {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", qos, filter))
	var client string
	for n := 1; client == "" || b.clients[client]; n++ {
		client = fmt.Sprintf("%s/%s/%x-%d", b.o.Client, as, sum[:8], n)
	}
	b.clients[client] = true
	expiry := uint32(sessionExpiry)
	if b.o.Fleeting != nil && b.o.Fleeting(filter) {
		expiry = 0
	}
	return &subscriber{
		b: b, as: as, filter: filter, qos: qos, deliver: deliver, client: client, expiry: expiry,
		first: make(chan error, 1), done: make(chan struct{}), halves: map[uint16]bool{},
		queued: make(chan mapper.Message, waitingDeliveries),
	}
}

// run keeps the subscription until ctx ends. A first attempt that fails ends it.
func (s *subscriber) run(ctx context.Context) {
	defer close(s.done)
	defer func() {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		delete(s.b.clients, s.client)
	}()
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		for {
			select {
			case <-ctx.Done():
				return
			case m := <-s.queued:
				s.deliver(m)
			}
		}
	}()
	defer func() { <-delivered }()
	var pause backoff
	stood := false
	for ctx.Err() == nil {
		err := s.link(ctx, func() { stood, pause.next = true, 0 })
		if !lost(ctx, err) {
			break
		}
		if !stood {
			s.first <- err
			<-ctx.Done() // of stop, which Subscribe calls
			return
		}
		s.b.log.Warn("a subscription's link to the broker is lost", "identity", s.as, "filter", s.filter, "error", err)
		if !pause.wait(ctx) {
			break
		}
	}
	if !stood {
		s.first <- spec.Errorf(spec.Unavailable, "cannot subscribe to %q: the bus has stopped", s.filter)
	}
}

// link is one connection; stands is called when the broker has the subscription.
func (s *subscriber) link(ctx context.Context, stands func()) error {
	w, err := s.b.login(ctx, s.as, s.client, s.expiry > 0, s.expiry)
	if err != nil {
		return kindOf(err)
	}
	left := make(chan struct{})
	end := context.AfterFunc(ctx, func() { // where the process ends, another one may go on
		defer close(left)
		w.leave(s.keep())
	})
	defer func() {
		if end() {
			_ = w.close() // lost already
			return
		}
		<-left
	}()
	linked, cancel := context.WithCancel(ctx)
	defer cancel()
	if !w.resumed {
		clear(s.halves)
	}
	if w.resumed && s.asked {
		s.stand(stands)
	} else if err := s.subscribe(w); err != nil { // the first time also for the retained messages
		return err
	}
	s.asked = true
	go w.ping(linked)
	for {
		p, err := w.receive()
		if err != nil {
			return spec.Errorf(spec.Unavailable, "%w", err)
		}
		if err := s.handle(ctx, w, p, stands); err != nil {
			return err
		}
	}
}

// keep is how long the session is to be kept when the subscription ends; nil: as long as when the
// link is lost.
func (s *subscriber) keep() *uint32 {
	expiry := uint32(leftExpiry)
	if s.expiry == 0 || s.b.stops() {
		return nil
	}
	return &expiry
}

// stand tells, once, that the subscription stands.
func (s *subscriber) stand(stands func()) {
	stands()
	select {
	case s.first <- nil:
	default:
	}
}

func (s *subscriber) subscribe(w *wire) error {
	p := packets.NewControlPacket(packets.SUBSCRIBE)
	c := p.Content.(*packets.Subscribe) //nolint:forcetypeassert // NewControlPacket makes it
	c.PacketID = 1
	c.Subscriptions = []packets.SubOptions{{Topic: s.filter, QoS: s.qos}}
	return w.send(p)
}

func (s *subscriber) handle(ctx context.Context, w *wire, p *packets.ControlPacket, stands func()) error {
	switch c := p.Content.(type) {
	case *packets.Suback:
		if len(c.Reasons) != 1 {
			return spec.Errorf(spec.Unavailable, "the broker answers %d subscriptions instead of one", len(c.Reasons))
		}
		if c.Reasons[0] >= 0x80 {
			return kindOf(&refusedError{fmt.Sprintf("refused the subscription to %q", s.filter), c.Reasons[0], c.Reason(0)})
		}
		s.stand(stands)
	case *packets.Publish:
		return s.publish(ctx, w, c)
	case *packets.Pubrel:
		delete(s.halves, c.PacketID)
		return w.send(ack(packets.PUBCOMP, c.PacketID))
	}
	return nil
}

func (s *subscriber) publish(ctx context.Context, w *wire, c *packets.Publish) error {
	if !s.halves[c.PacketID] || c.QoS < 2 {
		m := mapper.Message{Topic: c.Topic, Payload: c.Payload, QoS: c.QoS, Retain: c.Retain}
		select {
		case s.queued <- m: // where that is full the broker has to wait
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch c.QoS {
	case 1:
		return w.send(ack(packets.PUBACK, c.PacketID))
	case 2:
		s.halves[c.PacketID] = true
		return w.send(ack(packets.PUBREC, c.PacketID))
	}
	return nil
}

// kindOf gives a refusal the kind that mapper.Bus tells of.
func kindOf(err error) error {
	var refused *refusedError
	if !errors.As(err, &refused) {
		return spec.Errorf(spec.Unavailable, "%w", err)
	}
	switch refused.code {
	case packets.ConnackNotAuthorized, packets.ConnackBadUsernameOrPassword:
		return spec.Errorf(spec.Forbidden, "%w", refused)
	}
	return spec.Errorf(spec.Unavailable, "%w", refused)
}
