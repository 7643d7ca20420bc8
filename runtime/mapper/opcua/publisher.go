package opcua

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"
)

// publisher keeps Publish requests waiting at the server and hands out what comes back, in
// the server's order, from one goroutine.
type publisher struct {
	session *session
	answers chan answer
	wake    chan struct{} // a subscription was made
	serial  chan struct{} // holds one element while nobody changes subscriptions
	orphans int           // requests in a row that no subscription answered; run's own

	mu     sync.Mutex
	groups []*group
	byID   map[uint32]*group
	items  map[uint32]*item  // by client handle
	named  map[string]uint32 // client handle by subscription id
	handle uint32
	acks   []*ua.SubscriptionAcknowledgement
}

// group is one of the server's subscriptions: all items with the same publishing interval.
type group struct {
	id        uint32
	wanted    time.Duration
	interval  time.Duration // as the server revised it
	keepAlive time.Duration // the longest time without a message
	items     int           // the watch item not counted
	full      bool          // the server takes no more items
	watch     uint32        // client handle of the item that watches the server's clock
	beats     int           // how often the clock came
	heard     time.Time
	sequence  uint32
}

const (
	mostPublish     = 10 // requests that wait at the server
	quietest        = 10 * time.Second
	publishPatience = 10 * time.Minute
)

func newPublisher(s *session) *publisher {
	p := &publisher{
		session: s, answers: make(chan answer, mostPublish), wake: make(chan struct{}, 1), serial: make(chan struct{}, 1),
		byID: map[uint32]*group{}, items: map[uint32]*item{}, named: map[string]uint32{},
	}
	p.serial <- struct{}{}
	return p
}

// run ends with the session.
func (p *publisher) run() {
	defer func() {
		if r := recover(); r != nil {
			p.session.log.Error("a subscription's delivery failed", "panic", r, "stack", string(debug.Stack()))
			p.session.end(fmt.Errorf("cannot deliver what the server published: %v", r))
		}
	}()
	waiting, most := 0, mostPublish
	for {
		for waiting < min(most, p.target()) {
			if !p.request() {
				return
			}
			waiting++
		}
		select {
		case <-p.session.done:
			return
		case <-p.session.channel.done:
			return
		case <-p.wake:
		case a := <-p.answers:
			waiting--
			if !p.take(a, &most, waiting) {
				return
			}
		}
	}
}

// target is how many requests should wait: one more than there are subscriptions.
func (p *publisher) target() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		return 0
	}
	return min(mostPublish, len(p.groups)+1)
}

// request sends one Publish with the acknowledgements that are due.
func (p *publisher) request() bool {
	p.mu.Lock()
	acks := p.acks
	p.acks = nil
	p.mu.Unlock()
	request := &ua.PublishRequest{SubscriptionAcknowledgements: acks}
	header := p.session.header()
	header.TimeoutHint = uint32(publishPatience / time.Millisecond)
	request.SetHeader(header)
	ctx, cancel := context.WithTimeoutCause(context.Background(), writePatience, errUnresponsive)
	defer cancel()
	_, err := p.session.channel.send(ctx, request, func(a answer) { p.answers <- a }) // never more than fit
	if err != nil {
		p.session.end(named(err))
	}
	return err == nil
}

// take handles one answer and tells whether the session goes on.
func (p *publisher) take(a answer, most *int, waiting int) bool {
	if a.err == nil {
		response, ok := a.response.(*publishResponse)
		if !ok {
			p.session.end(fmt.Errorf("the server answers a Publish with a %T", a.response))
			return false
		}
		p.orphans = 0
		return p.notify(response)
	}
	status, _ := statusOf(a.err)
	switch {
	case status == ua.StatusBadTooManyPublishRequests && waiting > 0:
		*most = max(1, waiting)
	case status == ua.StatusBadNoSubscription && p.orphans < 2*mostPublish:
		p.orphans++ // they waited when the last subscription was deleted
	case status == ua.StatusBadTimeout:
	case errors.Is(a.err, errDecode):
		p.session.log.Error("a message of a subscription is lost", "error", a.err)
	default:
		p.session.end(fmt.Errorf("the server ends the subscriptions: %w", named(a.err)))
		return false
	}
	return true
}

// notify delivers one message and notes its acknowledgement.
func (p *publisher) notify(r *publishResponse) bool {
	p.mu.Lock()
	g := p.byID[r.subscription]
	if g == nil { // deleted meanwhile
		p.mu.Unlock()
		return true
	}
	g.heard = time.Now()
	if r.data {
		p.acks = append(p.acks, &ua.SubscriptionAcknowledgement{SubscriptionID: g.id, SequenceNumber: r.sequence})
		if lost := r.sequence - g.sequence - 1; g.sequence != 0 && lost > 0 {
			p.session.log.Warn("messages of a subscription are lost", "count", lost)
		}
		g.sequence = r.sequence
	}
	p.mu.Unlock()
	for _, n := range r.values {
		p.deliver(g, n)
	}
	for _, n := range r.events {
		p.deliverEvent(n)
	}
	if r.ended != 0 {
		p.session.end(fmt.Errorf("the server ended a subscription: %w", statusError(r.ended)))
		return false
	}
	return true
}

// deliver gives a value to its item, or counts a beat of the server's clock.
func (p *publisher) deliver(g *group, n notification) {
	p.mu.Lock()
	it := p.items[n.handle]
	if n.handle == g.watch {
		g.beats++
	}
	p.mu.Unlock()
	if it != nil {
		it.deliver(toResult(n.value))
	}
}

// deliverEvent gives an event to its item.
func (p *publisher) deliverEvent(n eventNotification) {
	p.mu.Lock()
	it := p.items[n.handle]
	p.mu.Unlock()
	if it == nil || it.point.events == nil {
		return // unsubscribed meanwhile, or a server that mixes up its items
	}
	result, unmapped := it.point.events.toResult(n.fields)
	if unmapped != nil {
		it.warned.Do(func() { p.session.log.Warn("an event field stays null", "endpoint", it.sub.ID, "error", unmapped) })
	}
	it.deliver(result)
}

var errSilent = errors.New("a subscription fell silent although the server answers")

// silent returns errSilent when a subscription should have been heard of by now. Until the
// server's clock has come twice, only its keep-alive messages are expected.
func (p *publisher) silent(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		limit := 3 * g.keepAlive
		if g.beats >= 2 {
			limit = min(limit, 3*max(g.interval, p.session.pace.beat))
		}
		if now.Sub(g.heard) > max(limit, p.session.pace.silence) {
			return errSilent
		}
	}
	return nil
}
