package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// goodbye bounds how long a close may take to tell the broker.
const goodbye = 500 * time.Millisecond

// errClosed is what calls on a closed session fail with.
var errClosed = errors.New("the session is closed")

// session is one log-in at a broker.
type session struct {
	client client
	conn   net.Conn
	routes *routes
	far    *farFilters // nil unless the broker keeps the session
	log    *slog.Logger
	opened chan struct{} // closed when the log-in has ended; then client is set unless it failed

	ending sync.Once
	done   chan struct{}
	err    error // valid when done is closed

	changing sync.Mutex // one subscribe or unsubscribe at a time
	topics   int        // names the subscriptions of SubscribeTopic
}

var (
	_ mapper.Session = (*session)(nil)
	_ mapper.PubSub  = (*session)(nil)
	_ mapper.Resumer = (*session)(nil)
)

func newSession(log *slog.Logger, conn net.Conn, far *farFilters) *session {
	s := &session{conn: conn, routes: newRoutes(far != nil), far: far, log: log, opened: make(chan struct{}), done: make(chan struct{})}
	s.routes.stray = func(topic string) {
		log.Warn("the broker sends messages that nobody subscribes to; this one and all that follow are dropped", "topic", topic)
	}
	return s
}

// Read fails: MQTT has nothing to ask for.
func (s *session) Read(_ context.Context, points []mapper.Point) []mapper.Result {
	results := make([]mapper.Result, len(points))
	for i := range results {
		results[i].Err = errors.New("MQTT has no read")
	}
	return results
}

// Write publishes the request's bytes.
func (s *session) Write(ctx context.Context, p mapper.Point, v mapper.Payload) mapper.Result {
	to := p.(point) //nolint:forcetypeassert // made by this driver's Point
	err := s.Publish(ctx, mapper.Message{Topic: to.topic, Payload: v.Raw, QoS: to.qos, Retain: to.retain})
	r := mapper.Result{Time: time.Now(), Value: v.Value, Err: err}
	if v.Value == nil && len(v.Raw) > 0 && string(v.Raw) != "null" {
		r.Value = string(v.Raw)
	}
	return r
}

// Publish sends a message to the broker.
func (s *session) Publish(ctx context.Context, m mapper.Message) error {
	if s.over() {
		return s.gone()
	}
	err := s.client.publish(ctx, m)
	if err != nil && s.over() {
		return s.gone()
	}
	return err
}

func (s *session) gone() error {
	if err := s.Err(); err != nil {
		return spec.Errorf(spec.Unavailable, "the session ended: %w", err)
	}
	return errClosed
}

// Subscribe starts pushed endpoints.
func (s *session) Subscribe(ctx context.Context, subs []mapper.Subscription) []error {
	routes := make([]*route, len(subs))
	for i, sub := range subs {
		p := sub.Point.(point) //nolint:forcetypeassert // made by this driver's Point
		routes[i] = &route{id: "endpoint:" + sub.ID, filter: p.topic, qos: p.qos, deliver: func(m mapper.Message) {
			sub.Deliver(mapper.Result{Time: time.Now(), Raw: m.Payload})
		}}
	}
	return s.add(ctx, routes)
}

// SubscribeTopic starts a mapping's subscription.
func (s *session) SubscribeTopic(ctx context.Context, filter string, qos byte, deliver func(mapper.Message)) (func(), error) {
	s.changing.Lock()
	s.topics++
	id := fmt.Sprintf("topic:%d", s.topics)
	s.changing.Unlock()
	r := &route{id: id, filter: filter, qos: qos, deliver: deliver}
	if err := s.add(ctx, []*route{r})[0]; err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		if err := s.remove(ctx, []string{id}); err != nil {
			s.log.Debug("cannot unsubscribe", "filter", filter, "error", err)
		}
	}, nil
}

// add routes messages, then asks for them: nothing that comes at once is missed.
func (s *session) add(ctx context.Context, routes []*route) []error {
	s.changing.Lock()
	defer s.changing.Unlock()
	errs := make([]error, len(routes))
	filters := make([]filter, len(routes))
	for i, r := range routes {
		filters[i] = s.routes.add(r)
	}
	if s.over() {
		for i := range errs {
			errs[i] = s.gone()
		}
	} else {
		errs = s.client.subscribe(ctx, filters)
	}
	for i, err := range errs {
		if err != nil {
			s.routes.remove(routes[i].id)
		} else {
			s.far.add(routes[i].filter)
		}
	}
	return errs
}

// Unsubscribe ends pushed endpoints. Ids that it does not know are no error.
func (s *session) Unsubscribe(ctx context.Context, ids []string) error {
	own := make([]string, len(ids))
	for i, id := range ids {
		own[i] = "endpoint:" + id
	}
	return s.remove(ctx, own)
}

// remove unsubscribes, then ends the routes: what the broker sends until it has heard is acknowledged, and so
// must be delivered.
func (s *session) remove(ctx context.Context, ids []string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	err := s.unsubscribe(ctx, s.routes.unused(ids))
	for _, id := range ids {
		s.routes.remove(id)
	}
	return err
}

func (s *session) unsubscribe(ctx context.Context, filters []string) error {
	if len(filters) == 0 || s.over() {
		return nil
	}
	err := s.client.unsubscribe(ctx, filters)
	if err == nil {
		s.far.remove(filters)
	}
	return err
}

// Resumed ends the subscriptions of earlier sessions that nobody wants any more: those that this process has
// made, and, of those from before, the ones without wildcards that messages came for.
func (s *session) Resumed(ctx context.Context) error {
	if s.far == nil {
		return nil
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	stale, dropped := s.routes.settle()
	if dropped > 0 {
		s.log.Warn("the broker has kept messages that nobody subscribes to any more; they are dropped", "messages", dropped, "topics", len(stale))
	}
	for _, filter := range s.far.all() {
		if !s.routes.wasAsked(filter) {
			stale = append(stale, filter)
		}
	}
	return s.unsubscribe(ctx, stale)
}

// Done is closed when the connection is lost or closed.
func (s *session) Done() <-chan struct{} { return s.done }

// Err says why the connection was lost.
func (s *session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// lost ends the session because of err. The library may call it several times.
func (s *session) lost(err error) { s.end(err) }

// Close ends the session and tells the broker in the background.
func (s *session) Close() error {
	s.end(nil)
	return nil
}

func (s *session) end(err error) {
	s.ending.Do(func() {
		s.err = err
		close(s.done)
		go func() {
			<-s.opened
			if s.client == nil {
				return // Dial closes the connection
			}
			late := time.AfterFunc(goodbye, func() { closeQuietly(s.conn) })
			defer late.Stop()
			s.client.hangUp()
			closeQuietly(s.conn)
		}()
	})
}
