package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

// identityOf makes an identity whose password is "pw-" and its name. Grants are written
// "r FILTER", "w FILTER" and "rw FILTER".
func identityOf(name string, grants ...string) spec.Identity {
	id := spec.Identity{Name: name, Credentials: []string{"plain$pw-" + name}}
	ops := map[string]spec.Operation{"r": spec.Read, "w": spec.Write, "rw": spec.ReadWrite}
	for _, g := range grants {
		op, filter, _ := strings.Cut(g, " ")
		id.Permissions = append(id.Permissions, spec.Permission{Resource: filter, Operation: ops[op], Context: spec.MQTT})
	}
	return id
}

// loginPlain stands in for package credential: a hash is "plain$" and the secret.
func loginPlain(_ context.Context, a credential.Attempt, hashes []string) (string, error) {
	if slices.Contains(hashes, "plain$"+a.Secret) {
		return "plain$" + a.Secret, nil
	}
	return "", nil
}

// control is a control plane in the test: each set is sent as one group of events.
type control struct {
	mu       sync.Mutex
	groups   [][]spec.Event[spec.Identity]
	changed  chan struct{}
	revision int64
	fail     error // what the next Watch returns at once
	watches  []string
}

func newControl(ids ...spec.Identity) *control {
	c := &control{changed: make(chan struct{})}
	c.set(ids...)
	return c
}

// set makes ids all there is.
func (c *control) set(ids ...spec.Identity) {
	group := []spec.Event[spec.Identity]{{Type: spec.EventSnapshot}}
	for _, id := range ids {
		group = append(group, spec.Event[spec.Identity]{Type: spec.EventPut, Key: id.Name, Value: id})
	}
	c.send(group...)
}

func (c *control) send(events ...spec.Event[spec.Identity]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
	events = append(events, spec.Event[spec.Identity]{
		Type: spec.EventSynced, Cursor: "test-" + strconv.FormatInt(c.revision, 10), Revision: c.revision,
	})
	c.groups = append(c.groups, events)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *control) Watch(ctx context.Context, after string, handle func(spec.Event[spec.Identity]) error) error {
	c.mu.Lock()
	c.watches = append(c.watches, after)
	fail := c.fail
	c.fail = nil
	c.mu.Unlock()
	if fail != nil {
		return fail
	}
	at := 0
	if n, resumed := strings.CutPrefix(after, "test-"); resumed {
		var err error
		if at, err = strconv.Atoi(n); err != nil {
			return err
		}
	}
	for {
		c.mu.Lock()
		var group []spec.Event[spec.Identity]
		if at < len(c.groups) {
			group = c.groups[at]
			at++
		}
		changed := c.changed
		c.mu.Unlock()
		for _, e := range group {
			if err := handle(e); err != nil {
				return err
			}
		}
		if group != nil {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// plant is a broker that runs, with one listener.
type plant struct {
	*Broker
	*control
	addr string
	stop func() // ends Run and waits for it
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a broker with the identities, stopped with the test.
func start(t testing.TB, limits Limits, ids ...spec.Identity) *plant {
	t.Helper()
	return startOptions(t, Options{Dir: t.TempDir(), Limits: limits}, newControl(ids...))
}

func startOptions(t testing.TB, opts Options, c *control) *plant {
	t.Helper()
	opts.Watch = c
	if opts.Login == nil {
		opts.Login = loginPlain
	}
	b, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	p := &plant{Broker: b, control: c, addr: l.Addr().String(), stop: stop}
	p.awaitRevision(t, c.revision)
	return p
}

// awaitRevision waits until the policy's revision is in force.
func (p *plant) awaitRevision(t testing.TB, revision int64) {
	t.Helper()
	eventually(t, "the policy", func() bool { return p.Revision() >= revision })
}

// eventually waits for a condition; only a broken test waits to the end.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s", what)
		}
		pause := time.NewTimer(2 * time.Millisecond)
		<-pause.C
	}
}

// collect subscribes and passes on what is delivered.
func (p *plant) collect(t testing.TB, as, filter string) <-chan Message {
	t.Helper()
	out := make(chan Message, 100_000)
	stop, err := p.Subscribe(t.Context(), as, filter, 2, func(m Message) { out <- m })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return out
}

func next(t testing.TB, messages <-chan Message) Message {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no message")
		return Message{}
	}
}

// nothingMore publishes a last message through the same subscription and fails if another comes before it.
func (p *plant) nothingMore(t testing.TB, as, topic string, messages <-chan Message) {
	t.Helper()
	p.publish(t, as, Message{Topic: topic, Payload: []byte("the last")})
	if m := next(t, messages); string(m.Payload) != "the last" {
		t.Fatalf("unexpected message %q on %q", m.Payload, m.Topic)
	}
}

func (p *plant) publish(t testing.TB, as string, m Message) {
	t.Helper()
	if err := p.Publish(t.Context(), as, m); err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind spec.Kind) {
	t.Helper()
	var e *spec.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v (%s), want kind %s", err, spec.KindOf(err), kind)
	}
}
