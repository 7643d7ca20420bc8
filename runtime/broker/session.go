package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/journal"
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
	key     sessionKey
	num     uint32 // names it in the journal
	durable bool   // it outlives its connection, and so stands on disk

	// guarded by Broker.mu
	subscriptions subscriptionSet
	filterBytes   int
	conn          *conn     // nil while not connected
	expiry        uint32    // seconds that it outlives its connection
	endsAt        time.Time // while not connected; zero: never
	will          *will     // waits for its delay, while not connected

	record journal.Position // of its last record; Broker.order guards it

	mu       sync.Mutex
	link     *conn // where messages go, nil while not connected
	box      outbox
	received map[uint16]journal.Position // QoS 2 packet ids taken in and not released
}

// subscriptionSet holds a session's subscriptions by the filter as the client wrote it. Few
// of them are a list, many a map.
type subscriptionSet struct {
	few  []*subscription
	many map[string]*subscription
}

// fewSubscriptions are searched one by one.
const fewSubscriptions = 8

func (s *subscriptionSet) len() int { return len(s.few) + len(s.many) }

func (s *subscriptionSet) get(name string) *subscription {
	if s.many != nil {
		return s.many[name]
	}
	for _, sub := range s.few {
		if sub.name() == name {
			return sub
		}
	}
	return nil
}

func (s *subscriptionSet) put(sub *subscription) {
	name := sub.name()
	if s.many == nil {
		s.remove(name)
		if len(s.few) < fewSubscriptions {
			s.few = append(s.few, sub)
			return
		}
		s.many = make(map[string]*subscription, 2*fewSubscriptions)
		for _, other := range s.few {
			s.many[other.name()] = other
		}
		s.few = nil
	}
	s.many[name] = sub
}

func (s *subscriptionSet) remove(name string) {
	delete(s.many, name)
	s.few = slices.DeleteFunc(s.few, func(sub *subscription) bool { return sub.name() == name })
}

func (s *subscriptionSet) each(f func(*subscription)) {
	for _, sub := range s.few {
		f(sub)
	}
	for _, sub := range s.many {
		f(sub)
	}
}

// will is a message to be published when its connection ends without DISCONNECT.
type will struct {
	as       string
	msg      *message
	delay    time.Duration
	lifetime time.Duration // of the message, from its publishing; 0: for ever
	at       time.Time     // when the delay is over
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
	if s != nil && (clean || s.over(time.Now())) {
		c.former = s.will
		b.endSession(s)
		s = nil
	}
	resumed = s != nil
	if s == nil {
		if len(b.sessions) >= b.limits.Sessions {
			return false, errTooManySessions
		}
		s = b.newSession(key, expiry > 0)
	}
	s.conn, s.expiry, s.will, s.endsAt = c, expiry, nil, time.Time{}
	s.identity.Store(id)
	s.online.Store(true)
	c.session = s
	b.saveSession(s)
	s.mu.Lock()
	s.box.resume()
	s.link = c
	s.mu.Unlock()
	b.stats.clients.Add(1)
	b.stats.clientsTotal.Add(1)
	return resumed, nil
}

// newSession makes and registers a session. The caller holds Broker.mu.
func (b *Broker) newSession(key sessionKey, durable bool) *session {
	for b.lastSession++; b.lastSession == 0 || b.numbered[b.lastSession] != nil; b.lastSession++ {
		continue // the numbers have gone round
	}
	s := &session{key: key, num: b.lastSession, durable: durable}
	b.register(s)
	return s
}

func (b *Broker) register(s *session) {
	s.session = s
	s.name, s.client = s.key.user, logged(s.key.client)
	b.sessions[s.key] = s
	b.numbered[s.num] = s
}

// saveSession writes the session as it is now, if it is one that outlives its connection.
// The caller holds Broker.mu.
func (b *Broker) saveSession(s *session) {
	if !s.durable {
		return
	}
	b.order.Lock()
	defer b.order.Unlock()
	s.mu.Lock()
	r := sessionRecord{num: s.num, key: s.key, expiry: s.expiry, connected: s.conn != nil, endsAt: s.endsAt, sent: s.box.sentSeq, will: s.will}
	s.mu.Unlock()
	if s.conn != nil {
		r.will = s.conn.will
	}
	former := s.record
	b.scratch = appendSession(b.scratch[:0], &r)
	s.record = b.journal.Append(1, b.scratch)
	if former != 0 {
		b.journal.Release(former)
	}
}

// detach parts the ended connection from its session and returns the will to publish now.
func (b *Broker) detach(c *conn, w *will) *will {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.session
	s.conn = nil
	s.online.Store(false)
	s.mu.Lock()
	s.link = nil
	s.box.suspend()
	b.account(s)
	s.mu.Unlock()
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
		s.will, w = w, nil
	}
	b.saveSession(s)
	return w
}

// endSession forgets a session without a connection. The caller holds Broker.mu.
func (b *Broker) endSession(s *session) {
	s.subscriptions.each(func(sub *subscription) { b.unsubscribe(sub) })
	b.filterBytes -= s.filterBytes
	delete(b.sessions, s.key)
	delete(b.numbered, s.num)
	b.order.Lock()
	defer b.order.Unlock()
	if s.durable {
		b.scratch = appendNumbers(b.scratch[:0], recordEnd, uint64(s.num))
		b.journal.Append(0, b.scratch)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	left := leftover{box: s.box, record: s.record, subscriptions: s.subscriptions}
	if s.durable {
		left.received = s.received // else they only say until where the disk must be for PUBREC
	}
	b.garbage = append(b.garbage, left)
	s.box, s.received, s.record, s.subscriptions = outbox{counted: s.box.counted}, nil, 0, subscriptionSet{}
	b.account(s)
}

// leftover is what an ended session referred to in the journal. There may be a million of
// them, so it is released aside.
type leftover struct {
	box           outbox
	received      map[uint16]journal.Position
	record        journal.Position
	subscriptions subscriptionSet
}

// sweep releases what ended sessions have left.
func (b *Broker) sweep() {
	b.order.Lock()
	garbage := b.garbage
	b.garbage = nil
	b.order.Unlock()
	release := func(at journal.Position) {
		if at != 0 {
			b.journal.Release(at)
		}
	}
	for i := range garbage {
		g := &garbage[i]
		release(g.record)
		g.box.positions(release)
		for _, at := range g.received {
			release(at)
		}
		g.subscriptions.each(func(s *subscription) { release(s.record) })
	}
}

// over reports whether the time of a session without a connection is over.
func (s *session) over(now time.Time) bool { return !s.endsAt.IsZero() && !now.Before(s.endsAt) }

// expire ends the sessions whose time is over and returns the wills that are due, by delay
// or because their session ended.
func (b *Broker) expire(now time.Time) (due []*will) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		if s.conn != nil {
			continue
		}
		over := s.over(now)
		if s.will != nil && (over || !now.Before(s.will.at)) {
			due = append(due, s.will)
			s.will = nil
			if !over {
				b.saveSession(s)
			}
		}
		if over {
			b.endSession(s)
		}
	}
	return due
}

// publishWill publishes as the client would: if the policy of now permits it.
func (b *Broker) publishWill(ctx context.Context, w *will, how manner) {
	err := guard(func() error {
		if err := b.mayPublish(w.as, w.msg.Topic); err != nil {
			return err
		}
		if w.lifetime > 0 {
			w.msg.expires = time.Now().Add(w.lifetime)
		}
		b.stats.received.Add(1)
		if w.msg.QoS == 0 {
			how = brisk
		}
		_, err := b.route(ctx, w.msg, how)
		return err
	})
	if err != nil {
		b.log.Warn("cannot publish a client's will", "identity", w.as, "topic", w.msg.Topic, "kind", spec.KindOf(err), "error", err)
	}
}
