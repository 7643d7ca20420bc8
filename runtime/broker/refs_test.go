package broker

import (
	"context"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal"
)

// references waits until the journal is referred to just so often, by its own count and by
// what the broker holds.
func (p *plant) references(t testing.TB, want int64) {
	t.Helper()
	eventually(t, "the broker to need what it should", func() bool { return p.needed() == want })
	if got := p.referred(t.Context()); got != want {
		t.Fatalf("%d references, want %d", got, want)
	}
}

// referred is how many references to what is on disk the journal counts.
func (b *Broker) referred(ctx context.Context) int64 {
	b.sweep()
	if err := b.journal.Await(ctx, b.journal.Append(0, nil)); err != nil {
		return -1
	}
	return b.journal.Stats().LiveRefs
}

// needed is how many there should be. One too few lets a segment be deleted that somebody
// needs; one too many keeps all that came after it.
func (b *Broker) needed() (n int64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.order.Lock()
	defer b.order.Unlock()
	count := func(at journal.Position) {
		if at != 0 {
			n++
		}
	}
	for _, s := range b.sessions {
		count(s.record)
		s.subscriptions.each(func(sub *subscription) { count(sub.record) })
		s.mu.Lock()
		s.box.positions(count)
		if s.durable {
			n += int64(len(s.received))
		}
		s.mu.Unlock()
	}
	return n + b.retained.count()
}

// A publisher whose session ends in the middle of a QoS 2 exchange takes nothing from those
// for whom the message waits.
func TestSessionEndKeepsOthersMessages(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	sleeper, _ := p.connectSession(t, "a", "sleeper", 5)
	sleeper.subscribe(2, "x")
	sleeper.nc.Close()
	p.awaitClients(t, 0)
	w := p.connect(t, "a", "passing")
	w.publish("x", "kept", 2, 1)
	w.expect(packets.Pubrec)
	p.references(t, 3) // the session, its subscription, the message
	w.nc.Close()
	p.awaitClients(t, 0)
	p.references(t, 3)
}

// A message that a compaction has moved twice is one message when the broker comes back.
func TestRecoveryTakesMovedMessageOnce(t *testing.T) {
	b := prepared(t, Limits{})
	s := newRecovery(b).lookup(1)
	s.keep(b.journal, stored{at: 100, seq: 5})
	s.keep(b.journal, stored{at: 200, seq: 2}) // moved
	s.done(b.journal, 5)
	s.keep(b.journal, stored{at: 300, seq: 2}) // and moved again
	s.sort()
	if s.box.tail.len() != 1 || s.box.tail.at(0).at != 300 {
		t.Errorf("waiting: %+v", s.box.tail.all())
	}
}

// What is new to a session does not look like something that was sent before the restart,
// though the journal has forgotten all that was acknowledged.
func TestRestoreKeepsCounting(t *testing.T) {
	var o outbox
	o.restore(7, 10)
	if o.seq != 7 || o.sentSeq != 7 {
		t.Errorf("goes on after %d, sent up to %d", o.seq, o.sentSeq)
	}
}
