package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// sessionKey names a session. Client ids are each identity's own, so that nobody can take
// over, or keep out, the session of another.
type sessionKey struct{ user, client string }

// neverExpires is the session expiry interval that means so (MQTT 5.0, 3.1.2.11.2).
const neverExpires = 0xFFFFFFFF

// session is what the broker knows of one network client, connected or not.
type session struct {
	subscriber
	key sessionKey

	// guarded by Broker.mu
	subscriptions map[string]*subscription // by the filter as the client wrote it
	conn          *conn                    // nil while not connected
	expiry        uint32                   // seconds that it outlives its connection
	endsAt        time.Time                // while not connected; zero: never
	will          *will                    // waits for its delay, while not connected

	// of the one connection's goroutines
	received map[uint16]struct{} // QoS 2 packet ids taken in and not released; the reader's
	backlog  []delivery          // popped from the queue, not yet sent; the writer's
	batch    [32]delivery        // what backlog is a part of

	mu       sync.Mutex
	inflight []*outgoing // in the order of sending
	window   int         // of inflight, those that this connection has sent
	lastID   uint16
}

// outgoing is one QoS 1 or 2 message that the client has not acknowledged in full.
type outgoing struct {
	delivery
	id       uint16
	sent     bool // on this connection
	released bool // PUBREC came: what is repeated is PUBREL
	dup      bool // sent on an earlier connection
}

// will is a message to be published when its connection ends without DISCONNECT.
type will struct {
	as    string
	msg   *message
	delay time.Duration
	at    time.Time // when the delay is over
}

// errTaken says that another connection of the same client must end first.
type errTaken struct{ by *conn }

func (errTaken) Error() string { return "the session is connected" }

// attach gives the connection its session, new or resumed.
func (b *Broker) attach(c *conn, key sessionKey, clean bool, expiry uint32) (resumed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := b.policy.Load().identities[key.user]
	if id == nil || !slices.Contains(id.Credentials, c.credential) {
		return false, errBadLogin // a policy has come since the password was checked
	}
	s := b.sessions[key]
	if s != nil && s.conn != nil {
		return false, errTaken{s.conn}
	}
	if s != nil && clean {
		c.former = s.will
		b.endSession(s)
		s = nil
	}
	resumed = s != nil
	if s == nil {
		if len(b.sessions) >= b.limits.Sessions {
			return false, errTooManySessions
		}
		s = b.newSession(key)
	}
	s.resume()
	s.conn, s.expiry, s.will = c, expiry, nil
	s.identity.Store(id)
	s.online.Store(true)
	c.session = s
	b.stats.clients.Add(1)
	b.stats.clientsTotal.Add(1)
	return resumed, nil
}

func (b *Broker) newSession(key sessionKey) *session {
	s := &session{key: key, subscriptions: map[string]*subscription{}, received: map[uint16]struct{}{}}
	s.name, s.client = key.user, logged(key.client)
	s.queue = newQueue(b.limits.QueueMessages, b.limits.QueueBytes, &b.queued)
	b.sessions[key] = s
	return s
}

// resume marks what was sent before to be sent again.
func (s *session) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = 0
	for _, o := range s.inflight {
		o.dup = o.dup || o.sent
		o.sent = false
	}
}

// detach parts the ended connection from its session and returns the will to publish now.
func (b *Broker) detach(c *conn, w *will) *will {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.session
	s.conn = nil
	s.online.Store(false)
	b.stats.clients.Add(-1)
	switch s.expiry {
	case 0:
		b.endSession(s)
		return w
	case neverExpires:
		s.endsAt = time.Time{}
	default:
		s.endsAt = time.Now().Add(time.Duration(s.expiry) * time.Second)
	}
	if w != nil && w.delay > 0 {
		w.at = time.Now().Add(w.delay)
		s.will = w
		return nil
	}
	return w
}

// endSession forgets a session without a connection. The caller holds Broker.mu.
func (b *Broker) endSession(s *session) {
	for _, sub := range s.subscriptions {
		b.unsubscribe(sub)
	}
	delete(b.sessions, s.key)
	s.queue.close()
}

// expire ends the sessions whose time is over and returns the wills that are due, by delay
// or because their session ended.
func (b *Broker) expire(now time.Time) (due []*will) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		if s.conn != nil {
			continue
		}
		over := !s.endsAt.IsZero() && !now.Before(s.endsAt)
		if s.will != nil && (over || !now.Before(s.will.at)) {
			due = append(due, s.will)
			s.will = nil
		}
		if over {
			b.endSession(s)
		}
	}
	return due
}

// publishWill publishes as the client would: if the policy of now permits it.
func (b *Broker) publishWill(ctx context.Context, w *will) {
	err := b.mayPublish(w.as, w.msg.Topic)
	if err == nil {
		b.stats.received.Add(1)
		err = b.route(ctx, w.msg, w.msg.QoS == 0)
	}
	if err != nil {
		b.log.Warn("cannot publish a client's will", "identity", w.as, "topic", w.msg.Topic, "kind", spec.KindOf(err), "error", err)
	}
}
