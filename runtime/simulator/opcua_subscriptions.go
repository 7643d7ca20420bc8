package simulator

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
)

// subscriptions are all of the server's. Each has a goroutine, which alone sends for it.
type subscriptions struct {
	server *server.Server
	ctx    context.Context //nolint:containedctx // the server's life: its handlers get no context
	open   sync.WaitGroup

	mu      sync.Mutex
	lastID  uint32
	byID    map[uint32]*subscription
	watched map[string][]*item          // by node id
	waiting map[string][]publishRequest // by session
}

type publishRequest struct {
	channel *uasc.SecureChannel
	id      uint32
	request *ua.PublishRequest
}

// subscription belongs to a session, named by its authentication token. Guarded by subscriptions.mu.
type subscription struct {
	id        uint32
	session   string
	interval  time.Duration
	keepAlive uint32
	lifetime  uint32
	most      int // notifications in one message
	items     map[uint32]*item
	sequence  uint32
	stop      context.CancelFunc
	wake      chan struct{} // a publish request came
}

// item is a monitored item with its queue. Guarded by subscriptions.mu.
type item struct {
	id       uint32
	sub      *subscription
	node     string
	monitor  *ua.ReadValueID
	handle   uint32
	sampling time.Duration
	size     int
	queue    []*ua.DataValue
	sampled  time.Time
	held     bool // the value changed sooner than the sampling interval allows
}

func newSubscriptions(ctx context.Context, s *server.Server) *subscriptions {
	return &subscriptions{
		server: s, ctx: ctx, byID: map[uint32]*subscription{},
		watched: map[string][]*item{}, waiting: map[string][]publishRequest{},
	}
}

// close waits for the goroutines; the context must have ended.
func (s *subscriptions) close() { s.open.Wait() }

func session(h *ua.RequestHeader) string { return h.AuthenticationToken.String() }

func (s *subscriptions) create(_ *uasc.SecureChannel, r *ua.CreateSubscriptionRequest) (ua.Response, error) {
	if s.server.Session(r.RequestHeader) == nil {
		return nil, ua.StatusBadSessionIDInvalid
	}
	ctx, cancel := context.WithCancel(s.ctx)
	sub := &subscription{
		session: session(r.RequestHeader), items: map[uint32]*item{}, stop: cancel, wake: make(chan struct{}, 1),
		interval:  max(10*time.Millisecond, time.Duration(r.RequestedPublishingInterval*float64(time.Millisecond))),
		keepAlive: max(1, r.RequestedMaxKeepAliveCount),
		most:      int(cmp.Or(r.MaxNotificationsPerPublish, 10000)),
	}
	sub.lifetime = max(3*sub.keepAlive, r.RequestedLifetimeCount)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	sub.id = s.lastID
	s.byID[sub.id] = sub
	s.open.Go(func() { s.run(ctx, sub) })
	return &ua.CreateSubscriptionResponse{
		ResponseHeader: answered(r.RequestHeader), SubscriptionID: sub.id,
		RevisedPublishingInterval: float64(sub.interval) / float64(time.Millisecond),
		RevisedLifetimeCount:      sub.lifetime, RevisedMaxKeepAliveCount: sub.keepAlive,
	}, nil
}

// modify is refused: nobody needs it here.
func (s *subscriptions) modify(*uasc.SecureChannel, *ua.ModifySubscriptionRequest) (ua.Response, error) {
	return nil, ua.StatusBadServiceUnsupported
}

func (s *subscriptions) remove(_ *uasc.SecureChannel, r *ua.DeleteSubscriptionsRequest) (ua.Response, error) {
	response := &ua.DeleteSubscriptionsResponse{ResponseHeader: answered(r.RequestHeader)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, subscriptionID := range r.SubscriptionIDs {
		sub := s.byID[subscriptionID]
		status := ua.StatusBadSubscriptionIDInvalid
		if sub != nil && sub.session == session(r.RequestHeader) {
			s.forget(sub)
			status = ua.StatusOK
		}
		response.Results = append(response.Results, status)
	}
	return response, nil
}

// forget ends a subscription; mu is held.
func (s *subscriptions) forget(sub *subscription) {
	sub.stop()
	delete(s.byID, sub.id)
	for _, it := range sub.items {
		s.unwatch(it)
	}
	for _, other := range s.byID {
		if other.session == sub.session {
			return
		}
	}
	for _, request := range s.waiting[sub.session] {
		s.open.Go(func() {
			// a client that has gone does not hear it
			request.channel.SendResponseWithContext(s.ctx, request.id, &ua.ServiceFault{ //nolint:errcheck,gosec // see above
				ResponseHeader: refused(request.request.RequestHeader, ua.StatusBadNoSubscription),
			})
		})
	}
	delete(s.waiting, sub.session)
}

func (s *subscriptions) unwatch(it *item) {
	delete(it.sub.items, it.id)
	s.watched[it.node] = slices.DeleteFunc(s.watched[it.node], func(o *item) bool { return o == it })
	if len(s.watched[it.node]) == 0 {
		delete(s.watched, it.node)
	}
}

func (s *subscriptions) monitor(_ *uasc.SecureChannel, r *ua.CreateMonitoredItemsRequest) (ua.Response, error) {
	response := &ua.CreateMonitoredItemsResponse{ResponseHeader: answered(r.RequestHeader)}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.byID[r.SubscriptionID]
	if sub == nil || sub.session != session(r.RequestHeader) {
		return nil, ua.StatusBadSubscriptionIDInvalid
	}
	for _, wanted := range r.ItemsToCreate {
		response.Results = append(response.Results, s.monitorOne(sub, wanted))
	}
	return response, nil
}

func (s *subscriptions) monitorOne(sub *subscription, wanted *ua.MonitoredItemCreateRequest) *ua.MonitoredItemCreateResult {
	if wanted.ItemToMonitor.AttributeID == ua.AttributeIDEventNotifier { // the plant raises no events
		return &ua.MonitoredItemCreateResult{StatusCode: ua.StatusBadNotSupported, FilterResult: ua.NewExtensionObject(nil)}
	}
	first := s.read(wanted.ItemToMonitor)
	if first.EncodingMask&ua.DataValueStatusCode != 0 && first.Status != ua.StatusOK {
		return &ua.MonitoredItemCreateResult{StatusCode: first.Status, FilterResult: ua.NewExtensionObject(nil)}
	}
	parameters := wanted.RequestedParameters
	sampling := max(0, parameters.SamplingInterval)
	s.lastID++
	it := &item{
		id: s.lastID, sub: sub, node: wanted.ItemToMonitor.NodeID.String(), monitor: wanted.ItemToMonitor,
		handle: parameters.ClientHandle, sampling: time.Duration(sampling * float64(time.Millisecond)),
		size: int(max(1, min(parameters.QueueSize, 1000))), queue: []*ua.DataValue{first}, sampled: time.Now(),
	}
	sub.items[it.id] = it
	s.watched[it.node] = append(s.watched[it.node], it)
	return &ua.MonitoredItemCreateResult{
		MonitoredItemID: it.id, RevisedSamplingInterval: sampling,
		RevisedQueueSize: uint32(it.size), FilterResult: ua.NewExtensionObject(nil),
	}
}

func (s *subscriptions) unmonitor(_ *uasc.SecureChannel, r *ua.DeleteMonitoredItemsRequest) (ua.Response, error) {
	response := &ua.DeleteMonitoredItemsResponse{ResponseHeader: answered(r.RequestHeader)}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.byID[r.SubscriptionID]
	if sub == nil || sub.session != session(r.RequestHeader) {
		return nil, ua.StatusBadSubscriptionIDInvalid
	}
	for _, itemID := range r.MonitoredItemIDs {
		status := ua.StatusBadMonitoredItemIDInvalid
		if it := sub.items[itemID]; it != nil {
			s.unwatch(it)
			status = ua.StatusOK
		}
		response.Results = append(response.Results, status)
	}
	return response, nil
}

func (s *subscriptions) read(what *ua.ReadValueID) *ua.DataValue {
	ns, err := s.server.Namespace(int(what.NodeID.Namespace()))
	if err != nil {
		return badValue(ua.StatusBadNodeIDUnknown)
	}
	return ns.Attribute(what.NodeID, what.AttributeID)
}

// changed queues the new values of nodes for those who watch them.
func (s *subscriptions) changed(nodes []*node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, n := range nodes {
		for _, it := range s.watched[n.nodeID().String()] {
			it.sample(s, now)
		}
	}
}

// sample queues the current value, unless the item was sampled too short a time ago: then
// the next publishing cycle takes it. A full queue loses its oldest value.
func (it *item) sample(s *subscriptions, now time.Time) {
	if it.held = now.Sub(it.sampled) < it.sampling-tick/2; it.held {
		return
	}
	it.sampled = now
	if len(it.queue) == it.size {
		it.queue = slices.Delete(it.queue, 0, 1)
	}
	it.queue = append(it.queue, s.read(it.monitor))
}

// publish keeps the request until a subscription of its session has something to say.
func (s *subscriptions) publish(channel *uasc.SecureChannel, r ua.Request, requestID uint32) (ua.Response, error) {
	request, ok := r.(*ua.PublishRequest)
	if !ok {
		return nil, ua.StatusBadRequestTypeInvalid
	}
	if s.server.Session(request.RequestHeader) == nil {
		return nil, ua.StatusBadSessionIDInvalid
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := session(request.RequestHeader)
	var any bool
	for _, sub := range s.byID {
		if sub.session == key {
			any = true
			select {
			case sub.wake <- struct{}{}:
			default:
			}
		}
	}
	switch {
	case !any:
		return nil, ua.StatusBadNoSubscription
	case len(s.waiting[key]) >= 100:
		return nil, ua.StatusBadTooManyPublishRequests
	}
	s.waiting[key] = append(s.waiting[key], publishRequest{channel, requestID, request})
	return nil, nil //nolint:nilnil // no answer yet: a subscription sends it
}

// run is a subscription's life: a message in each interval that has values, a keep-alive
// after so many without, and the end when nobody asked for so many.
func (s *subscriptions) run(ctx context.Context, sub *subscription) {
	clock := time.NewTicker(sub.interval)
	defer clock.Stop()
	var quiet, unanswered uint32
	due := true // the first message does not wait for values
	for {
		select {
		case <-ctx.Done():
			return
		case <-sub.wake:
			if !due {
				continue
			}
		case <-clock.C:
			quiet++
			unanswered++
			due = true
		}
		sent, more := s.send(ctx, sub, quiet >= sub.keepAlive)
		for more {
			_, more = s.send(ctx, sub, false)
		}
		if sent {
			quiet, unanswered, due = 0, 0, false
		}
		if unanswered > sub.lifetime {
			s.mu.Lock()
			s.forget(sub)
			s.mu.Unlock()
		}
	}
}

// send answers one waiting publish request if there is a value, or a keep-alive is due. More
// says that values are left over and a request waits for them.
func (s *subscriptions) send(ctx context.Context, sub *subscription, keepAlive bool) (sent, more bool) {
	s.mu.Lock()
	requests := s.waiting[sub.session]
	if len(requests) == 0 {
		s.mu.Unlock()
		return false, false
	}
	values, more := s.collect(sub)
	if len(values) == 0 && !keepAlive {
		s.mu.Unlock()
		return false, false
	}
	answer := requests[0]
	s.waiting[sub.session] = requests[1:]
	more = more && len(requests) > 1
	response := sub.message(answer.request, values, more)
	s.mu.Unlock()
	if err := answer.channel.SendResponseWithContext(ctx, answer.id, response); err != nil {
		s.mu.Lock()
		s.forget(sub) // its client has gone
		s.mu.Unlock()
		return true, false
	}
	return true, more
}

// collect empties the items' queues, up to the message's limit; mu is held.
func (s *subscriptions) collect(sub *subscription) (values []*ua.MonitoredItemNotification, more bool) {
	now := time.Now()
	for _, itemID := range slices.Sorted(maps.Keys(sub.items)) {
		it := sub.items[itemID]
		if it.held || it.monitor.NodeID.Namespace() == 0 { // the server's own nodes tell nobody
			it.sample(s, now.Add(it.sampling))
			it.sampled = now
		}
		for len(it.queue) > 0 {
			if len(values) == sub.most {
				return values, true
			}
			values = append(values, &ua.MonitoredItemNotification{ClientHandle: it.handle, Value: it.queue[0]})
			it.queue = it.queue[1:]
		}
	}
	return values, false
}

// message makes the answer; without values it is a keep-alive, which does not count.
func (sub *subscription) message(r *ua.PublishRequest, values []*ua.MonitoredItemNotification, more bool) *ua.PublishResponse {
	notification := &ua.NotificationMessage{SequenceNumber: sub.sequence + 1, PublishTime: time.Now()}
	if len(values) > 0 {
		sub.sequence++
		notification.NotificationData = []*ua.ExtensionObject{{
			EncodingMask: ua.ExtensionObjectBinary,
			TypeID:       ua.NewFourByteExpandedNodeID(0, id.DataChangeNotification_Encoding_DefaultBinary),
			Value:        &ua.DataChangeNotification{MonitoredItems: values},
		}}
	}
	return &ua.PublishResponse{
		ResponseHeader: answered(r.RequestHeader), SubscriptionID: sub.id,
		NotificationMessage: notification, MoreNotifications: more,
		Results: make([]ua.StatusCode, len(r.SubscriptionAcknowledgements)),
	}
}
