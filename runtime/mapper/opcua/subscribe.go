package opcua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

// item is one monitored item.
type item struct {
	sub    mapper.Subscription
	point  *point
	handle uint32
	group  *group
	server uint32 // the server's id of it

	warned sync.Once // that a field of its events has no JSON form

	mu   sync.Mutex
	gone bool
}

func (it *item) deliver(r mapper.Result) {
	it.mu.Lock()
	defer it.mu.Unlock()
	if !it.gone {
		it.sub.Deliver(r)
	}
}

// leave returns once nothing is being delivered any more.
func (it *item) leave() {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.gone = true
}

// Subscribe makes monitored items, in one of the server's subscriptions for each publishing
// interval. The first value of each comes at once.
func (s *session) Subscribe(ctx context.Context, subs []mapper.Subscription) []error {
	errs := make([]error, len(subs))
	p := s.pushed
	if err := p.lock(ctx); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer p.unlock()
	points := make([]mapper.Point, len(subs))
	for i, sub := range subs {
		points[i] = sub.Point
	}
	byInterval := map[time.Duration][]*wantedItem{}
	for i, found := range s.nodes.resolve(ctx, points) {
		if errs[i] = found.err; found.err != nil {
			continue
		}
		it, err := p.add(subs[i])
		if errs[i] = err; err == nil {
			byInterval[it.point.publish] = append(byInterval[it.point.publish], &wantedItem{item: it, node: found.node, at: i})
		}
	}
	var unwanted []*item
	for interval, wanted := range byInterval {
		p.monitorAll(ctx, interval, wanted)
		for _, w := range wanted {
			if errs[w.at] = w.err; w.err != nil {
				p.drop(w.item)
				unwanted = append(unwanted, w.item)
			}
		}
	}
	if err := p.release(ctx, unwanted); err != nil {
		p.session.log.Debug("an unwanted item cannot be deleted: what it sends is ignored", "error", named(err))
	}
	p.prune(ctx)
	return errs
}

// prune deletes subscriptions that were made for items which the server then refused.
func (p *publisher) prune(ctx context.Context) {
	p.mu.Lock()
	groups := slices.Clone(p.groups)
	p.mu.Unlock()
	for _, g := range groups {
		if g.items > 0 { // only who holds the lock changes it
			continue
		}
		if err := p.unmonitor(ctx, g, nil); err != nil {
			p.session.log.Debug("an empty subscription cannot be deleted", "error", named(err))
		}
	}
}

// wantedItem is an item on its way, and what became of it.
type wantedItem struct {
	item *item
	node *ua.NodeID
	at   int
	made bool
	err  error
}

func (p *publisher) lock(ctx context.Context) error {
	select {
	case <-p.serial:
		return nil
	case <-p.session.done:
		return errors.New("the session has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *publisher) unlock() { p.serial <- struct{}{} }

// add registers an item before the server knows it: its first value may overtake the answer.
func (p *publisher) add(sub mapper.Subscription) (*item, error) {
	at, ok := sub.Point.(*point)
	if !ok || at.method {
		return nil, errors.New("cannot subscribe to a method")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, twice := p.named[sub.ID]; twice {
		return nil, fmt.Errorf("cannot subscribe %q twice", sub.ID)
	}
	it := &item{sub: sub, point: at, handle: p.nextHandle()}
	p.items[it.handle], p.named[sub.ID] = it, it.handle
	return it, nil
}

func (p *publisher) nextHandle() uint32 {
	p.handle++
	return p.handle
}

func (p *publisher) drop(it *item) {
	p.mu.Lock()
	delete(p.items, it.handle)
	delete(p.named, it.sub.ID)
	p.mu.Unlock()
	it.leave()
}

// monitorAll makes the items of one publishing interval; each gets its own error.
func (p *publisher) monitorAll(ctx context.Context, interval time.Duration, wanted []*wantedItem) {
	p.checkSources(ctx, wanted)
	for range len(wanted) + 1 { // each round makes items, blames one, or finds a subscription full
		left := slices.DeleteFunc(slices.Clone(wanted), func(w *wantedItem) bool { return w.made || w.err != nil })
		if len(left) == 0 {
			return
		}
		g, err := p.group(ctx, interval)
		if err == nil {
			err = batch(ctx, &p.session.limits.monitor, left, func(ctx context.Context, part []*wantedItem) error {
				return p.monitor(ctx, g, part)
			})
		}
		switch {
		case errors.Is(err, errFull):
		case err != nil:
			p.blame(left, err)
		}
	}
}

// blame fails the one item that is too much even alone, or all that are left.
func (p *publisher) blame(left []*wantedItem, err error) {
	err = fmt.Errorf("cannot subscribe: %w", named(err))
	for _, w := range left {
		if w.made || w.err != nil {
			continue
		}
		w.err = err
		if tooMuch(err) {
			return
		}
	}
}

var errFull = errors.New("the subscription takes no more items")

// monitor is one CreateMonitoredItems request.
func (p *publisher) monitor(ctx context.Context, g *group, part []*wantedItem) error {
	request := &ua.CreateMonitoredItemsRequest{SubscriptionID: g.id, TimestampsToReturn: ua.TimestampsToReturnBoth}
	for _, w := range part {
		request.ItemsToCreate = append(request.ItemsToCreate, w.item.create(w.node))
	}
	response, err := ask[*ua.CreateMonitoredItemsResponse](ctx, p.session, request)
	if err != nil {
		return err
	}
	if len(response.Results) != len(part) {
		return errCount
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var full bool
	for i, r := range response.Results {
		w := part[i]
		switch {
		case r.StatusCode == ua.StatusBadTooManyMonitoredItems && g.items > 0:
			full, g.full = true, true // another subscription may take it
		case isBad(r.StatusCode):
			w.err = refusedItem(w.item.point, r)
		default:
			w.made, w.err = true, w.item.point.events.refusal(r.FilterResult)
			w.item.group, w.item.server = g, r.MonitoredItemID
			g.items++
		}
	}
	if full {
		return errFull
	}
	return nil
}

func refusedItem(p *point, r *ua.MonitoredItemCreateResult) error {
	if p.events != nil {
		return p.events.refused(r)
	}
	err := statusError(r.StatusCode)
	switch r.StatusCode {
	case ua.StatusBadFilterNotAllowed, ua.StatusBadMonitoredItemFilterUnsupported, ua.StatusBadDeadbandFilterInvalid:
		return fmt.Errorf("cannot subscribe with a deadband of %v: %w", p.deadband, err)
	}
	return err
}

func (it *item) create(node *ua.NodeID) *ua.MonitoredItemCreateRequest {
	r := &ua.MonitoredItemCreateRequest{
		ItemToMonitor:  attributeOf(node, it.point.attribute),
		MonitoringMode: ua.MonitoringModeReporting,
		RequestedParameters: &ua.MonitoringParameters{
			ClientHandle: it.handle, SamplingInterval: float64(it.point.sampling) / float64(time.Millisecond),
			QueueSize: it.point.queue, DiscardOldest: true,
		},
	}
	switch {
	case it.point.events != nil:
		r.RequestedParameters.Filter = it.point.events.filter()
	case it.point.deadband > 0:
		r.RequestedParameters.Filter = ua.NewExtensionObject(&ua.DataChangeFilter{
			Trigger: ua.DataChangeTriggerStatusValue, DeadbandType: uint32(ua.DeadbandTypeAbsolute), DeadbandValue: it.point.deadband,
		})
	}
	return r
}

// group returns the server's subscription for an interval, a new one if there is none yet.
func (p *publisher) group(ctx context.Context, interval time.Duration) (*group, error) {
	p.mu.Lock()
	for _, g := range p.groups {
		if g.wanted == interval && !g.full {
			p.mu.Unlock()
			return g, nil
		}
	}
	handle := p.nextHandle()
	p.mu.Unlock()
	beats := max(1, uint32(quietest/interval))
	response, err := ask[*ua.CreateSubscriptionResponse](ctx, p.session, &ua.CreateSubscriptionRequest{
		RequestedPublishingInterval: float64(interval) / float64(time.Millisecond), PublishingEnabled: true,
		RequestedMaxKeepAliveCount: beats, RequestedLifetimeCount: 6 * max(beats, 10),
	})
	if err != nil {
		return nil, err
	}
	revised := time.Duration(response.RevisedPublishingInterval * float64(time.Millisecond))
	g := &group{
		id: response.SubscriptionID, wanted: interval, interval: revised, watch: handle, heard: time.Now(),
		keepAlive: revised * time.Duration(max(1, response.RevisedMaxKeepAliveCount)),
	}
	if revised > interval+interval/10 {
		p.session.log.Info("the server publishes more slowly than asked for", "asked", interval, "revised", revised)
	}
	p.mu.Lock()
	p.groups = append(p.groups, g)
	p.byID[g.id] = g
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	p.watchClock(ctx, g)
	return g, nil
}

// watchClock subscribes to the server's clock, which tells a subscription that fell silent
// from one that has nothing to say. A server without it still sends keep-alive messages.
func (p *publisher) watchClock(ctx context.Context, g *group) {
	it := &item{handle: g.watch, point: &point{
		attribute: ua.AttributeIDValue, queue: 1, sampling: max(g.interval, p.session.pace.beat),
	}}
	_, err := ask[*ua.CreateMonitoredItemsResponse](ctx, p.session, &ua.CreateMonitoredItemsRequest{
		SubscriptionID: g.id, TimestampsToReturn: ua.TimestampsToReturnNeither,
		ItemsToCreate: []*ua.MonitoredItemCreateRequest{it.create(serverTime())},
	})
	if err != nil {
		p.session.log.Debug("the server's clock cannot be watched", "error", named(err))
	}
}

// Unsubscribe deletes monitored items, and subscriptions that are empty then. Ids that it does
// not know are ignored.
func (s *session) Unsubscribe(ctx context.Context, ids []string) error {
	p := s.pushed
	items := p.forget(ids)
	for _, it := range items {
		it.leave()
	}
	if err := p.lock(ctx); err != nil {
		return fmt.Errorf("cannot unsubscribe: %w", err)
	}
	defer p.unlock()
	if err := p.release(ctx, items); err != nil {
		return fmt.Errorf("cannot unsubscribe: %w", named(err))
	}
	return nil
}

// release deletes those items that the server has made.
func (p *publisher) release(ctx context.Context, items []*item) error {
	byGroup := map[*group][]uint32{}
	for _, it := range items {
		if it.group != nil {
			byGroup[it.group] = append(byGroup[it.group], it.server)
		}
	}
	var errs []error
	for g, servers := range byGroup {
		errs = append(errs, p.unmonitor(ctx, g, servers))
	}
	return errors.Join(errs...)
}

func (p *publisher) forget(ids []string) []*item {
	p.mu.Lock()
	defer p.mu.Unlock()
	var items []*item
	for _, id := range ids {
		handle, ok := p.named[id]
		if !ok {
			continue
		}
		items = append(items, p.items[handle])
		delete(p.items, handle)
		delete(p.named, id)
	}
	return items
}

// unmonitor deletes items of one subscription, or all of it.
func (p *publisher) unmonitor(ctx context.Context, g *group, servers []uint32) error {
	p.mu.Lock()
	g.items -= len(servers)
	g.full = false
	empty := g.items == 0
	if empty {
		p.groups = slices.DeleteFunc(p.groups, func(o *group) bool { return o == g })
		delete(p.byID, g.id)
	}
	p.mu.Unlock()
	if empty {
		_, err := ask[*ua.DeleteSubscriptionsResponse](ctx, p.session, &ua.DeleteSubscriptionsRequest{SubscriptionIDs: []uint32{g.id}})
		return err
	}
	return batch(ctx, &p.session.limits.monitor, servers, func(ctx context.Context, part []uint32) error {
		_, err := ask[*ua.DeleteMonitoredItemsResponse](ctx, p.session, &ua.DeleteMonitoredItemsRequest{
			SubscriptionID: g.id, MonitoredItemIDs: part,
		})
		return err
	})
}
