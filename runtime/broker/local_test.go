package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/millwright/millwright/internal/spec"
)

func TestInProcess(t *testing.T) {
	p := start(t, Limits{}, identityOf("service:press", "rw services/press/#", "r plant/+/state"))
	got := p.collect(t, "service:press", "services/press/#")
	for i := range 1000 {
		p.publish(t, "service:press", Message{Topic: "services/press/temp", Payload: fmt.Append(nil, i), QoS: byte(i % 3)})
	}
	for i := range 1000 {
		if m := next(t, got); string(m.Payload) != fmt.Sprint(i) || m.QoS != byte(i%3) || m.Retain {
			t.Fatalf("message %d is %q, QoS %d, retain %v", i, m.Payload, m.QoS, m.Retain)
		}
	}
}

func TestInProcessRefused(t *testing.T) {
	p := start(t, Limits{}, identityOf("service:press", "rw services/press/#", "r plant/+/state", "rw #"), identityOf("reader", "r a/+/c"))
	for _, tc := range []struct {
		as, topic string
		kind      spec.Kind
	}{
		{"reader", "a/b/c", spec.Forbidden},
		{"nobody", "a/b/c", spec.Forbidden},
		{"service:press", "$SYS/broker/uptime", spec.Forbidden},
		{"service:press", "$share/g/x", spec.Forbidden},
		{"service:press", "$other", spec.Forbidden}, // "#" does not match it
		{"service:press", "", spec.Invalid},
		{"service:press", "a/+", spec.Invalid},
		{"service:press", "a/\xff", spec.Invalid},
	} {
		wantKind(t, p.Publish(t.Context(), tc.as, Message{Topic: tc.topic}), tc.kind)
	}
	wantKind(t, p.Publish(t.Context(), "service:press", Message{Topic: "a", QoS: 3}), spec.Invalid)
	for _, tc := range []struct {
		as, filter string
		kind       spec.Kind
	}{
		{"reader", "a/#", spec.Forbidden},
		{"reader", "a/b/d", spec.Forbidden},
		{"reader", "$share/g/a/#", spec.Forbidden},
		{"reader", "$SYS/#", spec.Forbidden},
		{"service:press", "$SYS/#", spec.Forbidden},
		{"nobody", "a/b/c", spec.Forbidden},
		{"reader", "", spec.Invalid},
		{"reader", "a/#/c", spec.Invalid},
		{"reader", "$share/g", spec.Invalid},
		{"reader", "$share//a/b/c", spec.Invalid},
		{"reader", "$share/+/a/b/c", spec.Invalid},
	} {
		_, err := p.Subscribe(t.Context(), tc.as, tc.filter, 0, func(Message) {})
		wantKind(t, err, tc.kind)
	}
	_, err := p.Subscribe(t.Context(), "reader", "a/+/c", 3, func(Message) {})
	wantKind(t, err, spec.Invalid)
	if got := p.Stats().Refused; got != 11 {
		t.Errorf("Refused is %d, want 11", got)
	}
}

// Retained first, then live; none missing, none twice, while a publisher runs.
func TestInProcessRetainedThenLive(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	ctx, cancel := context.WithCancel(t.Context())
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := p.Publish(t.Context(), "a", Message{Topic: "x", Payload: fmt.Append(nil, i), Retain: true}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 50 {
		got := make(chan Message, 10)
		enough := make(chan struct{})
		stop, err := p.Subscribe(ctx, "a", "x", 0, func(m Message) {
			select {
			case got <- m:
			case <-enough:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		first := next(t, got) // retained, but perhaps the first of all
		var n int
		if _, err := fmt.Sscan(string(first.Payload), &n); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < 10; i++ {
			if m := next(t, got); string(m.Payload) != fmt.Sprint(n+i) || m.Retain {
				t.Fatalf("after %d came %q, retain %v", n+i-1, m.Payload, m.Retain)
			}
		}
		close(enough)
		stop()
	}
	cancel()
	publisher.Wait()
}

func TestInProcessRetained(t *testing.T) {
	p := start(t, Limits{RetainedMessages: 2}, identityOf("a", "rw #"))
	for _, topic := range []string{"r/1", "r/2", "r/3"} {
		p.publish(t, "a", Message{Topic: topic, Payload: []byte(topic), QoS: 1, Retain: true})
	}
	if s := p.Stats(); s.Retained != 2 || s.MessagesDropped != 1 {
		t.Errorf("%d retained, %d dropped; want 2 and 1", s.Retained, s.MessagesDropped)
	}
	p.publish(t, "a", Message{Topic: "r/1", Retain: true}) // removes it
	got := p.collect(t, "a", "r/#")
	if m := next(t, got); m.Topic != "r/2" || !m.Retain || m.QoS != 1 {
		t.Errorf("got %+v", m)
	}
	p.nothingMore(t, "a", "r/2", got)
}

// A full queue holds the publisher back until there is room; nothing is lost.
func TestInProcessBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := offline(t, Limits{LocalMessages: 4}, identityOf("a", "rw #"))
		gate := make(chan struct{})
		var got []string
		stop, err := b.Subscribe(t.Context(), "a", "x", 0, func(m Message) {
			<-gate
			got = append(got, string(m.Payload))
		})
		if err != nil {
			t.Fatal(err)
		}
		published := 0
		go func() {
			for i := range 1000 {
				if err := b.Publish(t.Context(), "a", Message{Topic: "x", Payload: fmt.Append(nil, i)}); err != nil {
					t.Error(err)
				}
				published++
			}
		}()
		synctest.Wait()
		if published > 40 {
			t.Errorf("%d published while the subscriber stands still", published)
		}
		close(gate)
		synctest.Wait()
		stop()
		if len(got) != 1000 || got[999] != "999" {
			t.Errorf("%d of 1000 arrived", len(got))
		}
	})
}

func TestInProcessPublisherGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := offline(t, Limits{LocalMessages: 1}, identityOf("a", "rw #"))
		gate := make(chan struct{})
		stop, err := b.Subscribe(t.Context(), "a", "x", 0, func(Message) { <-gate })
		if err != nil {
			t.Fatal(err)
		}
		fill(t, b, "x")
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() { failed <- b.Publish(ctx, "a", Message{Topic: "x"}) }()
		synctest.Wait()
		cancel()
		err = <-failed
		wantKind(t, err, spec.Conflict)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the cause is lost: %v", err)
		}
		if err := b.Publish(t.Context(), "a", Message{Topic: "x"}); err != nil { // after stallLimit
			t.Errorf("the publisher is blamed for a stuck subscriber: %v", err)
		}
		if got := b.Stats().MessagesDropped; got != 2 {
			t.Errorf("%d dropped, want 2", got)
		}
		close(gate)
		stop()
	})
}

// A callback that publishes to its own filter waits for itself, but not for ever.
func TestInProcessLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := offline(t, Limits{LocalMessages: 8}, identityOf("a", "rw #"))
		enough := make(chan struct{})
		delivered := 0
		stop, err := b.Subscribe(t.Context(), "a", "x", 0, func(m Message) {
			for range 2 { // grows until the queue is full
				if err := b.Publish(t.Context(), "a", m); err != nil {
					t.Error(err)
				}
			}
			if delivered++; delivered == 500 {
				close(enough)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), "a", Message{Topic: "x"}); err != nil {
			t.Fatal(err)
		}
		<-enough
		stop()
		if b.Stats().MessagesDropped == 0 {
			t.Error("nothing is counted as dropped")
		}
	})
}

// Two callbacks that publish into each other's filter.
func TestInProcessCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := offline(t, Limits{LocalMessages: 8}, identityOf("a", "rw #"), identityOf("b", "rw #"))
		var delivered atomic.Int64
		enough := make(chan struct{})
		bounce := func(as, to string) func(Message) {
			return func(Message) {
				for range 2 {
					if err := b.Publish(t.Context(), as, Message{Topic: to}); err != nil {
						t.Error(err)
					}
				}
				if delivered.Add(1) == 500 {
					close(enough)
				}
			}
		}
		stopX, err := b.Subscribe(t.Context(), "a", "x", 0, bounce("a", "y"))
		if err != nil {
			t.Fatal(err)
		}
		stopY, err := b.Subscribe(t.Context(), "b", "y", 0, bounce("b", "x"))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), "a", Message{Topic: "x"}); err != nil {
			t.Fatal(err)
		}
		<-enough
		stopX()
		stopY()
	})
}

func TestInProcessStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := offline(t, Limits{LocalMessages: 1}, identityOf("a", "rw #"))
		gate, begun := make(chan struct{}), make(chan struct{}, 100)
		stop, err := b.Subscribe(t.Context(), "a", "x", 0, func(Message) {
			begun <- struct{}{}
			<-gate
		})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, b, "x")
		released := make(chan error)
		go func() { released <- b.Publish(t.Context(), "a", Message{Topic: "x"}) }()
		<-begun
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		if err := <-released; err != nil { // a publisher that waits is let go
			t.Error(err)
		}
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("stop returned while deliver runs")
		default:
		}
		close(gate)
		<-stopped
		if len(begun) != 0 {
			t.Error("delivered after stop")
		}
		stop() // again is harmless
		if got := b.Stats().Subscriptions; got != 0 {
			t.Errorf("%d subscriptions left", got)
		}
	})
}

func TestInProcessShared(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	one, two := p.collect(t, "a", "$share/g/x/#"), p.collect(t, "a", "$share/g/x/#")
	other := p.collect(t, "a", "$share/h/x/#")
	for range 100 {
		p.publish(t, "a", Message{Topic: "x/y"})
	}
	eventually(t, "all to be shared out", func() bool { return len(one)+len(two) == 100 && len(other) == 100 })
	if len(one) != 50 {
		t.Errorf("shared %d to %d", len(one), len(two))
	}
}

// offline returns a broker with the identities, of which only the journal runs.
func offline(t testing.TB, limits Limits, ids ...spec.Identity) *Broker {
	t.Helper()
	b := prepared(t, limits, ids...)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.journal.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

// prepared returns a broker with the identities, before its Run.
func prepared(t testing.TB, limits Limits, ids ...spec.Identity) *Broker {
	t.Helper()
	b, err := New(Options{Dir: t.TempDir(), Login: loginPlain, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]spec.Identity{}
	for _, id := range ids {
		set[id.Name] = id
	}
	b.apply(set, "", 1)
	return b
}

// fill publishes until the next publisher to topic would wait.
func fill(t testing.TB, b *Broker, topic string) {
	t.Helper()
	b.mu.RLock()
	subs := b.index.match(topic, nil)
	b.mu.RUnlock()
	for {
		synctest.Wait()
		q := subs[0].owner.queue
		if q.items.len() >= q.maxMessages {
			return
		}
		if err := b.Publish(t.Context(), "a", Message{Topic: topic}); err != nil {
			t.Fatal(err)
		}
	}
}
