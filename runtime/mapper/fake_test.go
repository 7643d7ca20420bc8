package mapper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
)

// fakeBus is a broker in memory.
type fakeBus struct {
	mu       sync.Mutex
	messages []Message
	subs     map[*fakeSub]bool
	refuse   func(as string, m Message) error // of Publish
	deny     func(filter string) error        // of Subscribe
	counted  map[string]int                   // messages by topic, when count is set
	count    bool
}

type fakeSub struct {
	filter string
	queue  chan Message
	done   chan struct{}
}

func newFakeBus() *fakeBus {
	return &fakeBus{subs: map[*fakeSub]bool{}, counted: map[string]int{}}
}

func (b *fakeBus) Publish(ctx context.Context, as string, m Message) error {
	b.mu.Lock()
	refuse := b.refuse
	b.mu.Unlock()
	if refuse != nil {
		if err := refuse(as, m); err != nil {
			return err
		}
	}
	b.mu.Lock()
	if b.count {
		b.counted[m.Topic]++
	} else {
		b.messages = append(b.messages, m)
	}
	var to []*fakeSub
	for s := range b.subs {
		if spec.TopicMatches(s.filter, m.Topic) {
			to = append(to, s)
		}
	}
	b.mu.Unlock()
	for _, s := range to {
		select {
		case s.queue <- m:
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *fakeBus) Subscribe(_ context.Context, _, filter string, _ byte, deliver func(Message)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deny != nil {
		if err := b.deny(filter); err != nil {
			return nil, err
		}
	}
	s := &fakeSub{filter: filter, queue: make(chan Message, 10), done: make(chan struct{})}
	b.subs[s] = true
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case m := <-s.queue:
				deliver(m)
			case <-s.done:
				return
			}
		}
	})
	return func() {
		b.mu.Lock()
		delete(b.subs, s)
		b.mu.Unlock()
		close(s.done)
		running.Wait()
	}, nil
}

// send publishes from outside.
func (b *fakeBus) send(t testing.TB, topic, payload string) {
	t.Helper()
	if err := b.Publish(t.Context(), "user:test", Message{Topic: topic, Payload: []byte(payload)}); err != nil {
		t.Error(err)
	}
}

// on returns the payloads on a topic.
func (b *fakeBus) on(topic string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for _, m := range b.messages {
		if m.Topic == topic {
			found = append(found, string(m.Payload))
		}
	}
	return found
}

func (b *fakeBus) setRefuse(f func(as string, m Message) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = f
}

func (b *fakeBus) setDeny(f func(filter string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deny = f
}

// values returns the "value" of each message on a topic, as JSON; errors are "!" and their text.
func (b *fakeBus) values(t testing.TB, topic string) []string {
	t.Helper()
	var found []string
	for _, payload := range b.on(topic) {
		var m struct {
			Timestamp int64
			Value     json.RawMessage
			Error     string
		}
		if err := json.Unmarshal([]byte(payload), &m); err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if m.Error != "" {
			found = append(found, "!"+m.Error)
			continue
		}
		found = append(found, string(m.Value))
	}
	return found
}

// fakeWatch plays desired states.
type fakeWatch struct {
	mu       sync.Mutex
	revision int64
	state    map[string]spec.Resource
	changed  chan struct{}
	asked    []string // the cursors that Watch was called with
	broken   error    // Watch fails at once
}

func newFakeWatch() *fakeWatch {
	return &fakeWatch{state: map[string]spec.Resource{}, changed: make(chan struct{})}
}

// set replaces resources; one without properties is deleted. It is one revision.
func (w *fakeWatch) set(resources ...spec.Resource) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range resources {
		if r.Properties == nil {
			delete(w.state, r.Key())
			continue
		}
		w.state[r.Key()] = r
	}
	w.revision++
	close(w.changed)
	w.changed = make(chan struct{})
}

// end makes the running Watch and all further ones fail; nil lets them work again.
func (w *fakeWatch) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *fakeWatch) cursor() string { return "s-" + strconv.FormatInt(w.revision, 10) }

func (w *fakeWatch) Watch(ctx context.Context, after string, handle func(spec.Event[spec.Resource]) error) error {
	w.mu.Lock()
	w.asked = append(w.asked, after)
	w.mu.Unlock()
	for {
		w.mu.Lock()
		group, changed, broken := w.group(after), w.changed, w.broken
		after = w.cursor()
		w.mu.Unlock()
		if broken != nil {
			return broken
		}
		for _, e := range group {
			if err := handle(e); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// group is a snapshot behind another cursor than the newest, for simplicity.
func (w *fakeWatch) group(after string) []spec.Event[spec.Resource] {
	if after == w.cursor() {
		return nil
	}
	group := []spec.Event[spec.Resource]{{Type: spec.EventSnapshot}}
	for _, key := range sortedKeys(w.state) {
		group = append(group, spec.Event[spec.Resource]{Type: spec.EventPut, Key: key, Value: w.state[key]})
	}
	return append(group, spec.Event[spec.Resource]{Type: spec.EventSynced, Cursor: w.cursor(), Revision: w.revision})
}

// fakeMachine is what the fake driver talks to.
type fakeMachine struct {
	mu         sync.Mutex
	session    *fakeSession
	refuse     error
	hang       chan struct{} // not nil: Dial, Read and Close hang until it is closed
	values     map[string]Result
	writes     []string
	reads      []string // "at: names"
	subscribes []string // names of each call
	unsubs     int      // ids in Unsubscribe calls
	bad        map[string]error
	began      time.Time
	delay      time.Duration // of a read
	panics     bool
	dials      int
	listeners  map[string]func(Message)
	published  []Message
	resumed    []string  // subscribe calls and listeners at each call of Resumed
	poison     string    // a message with this payload ends the link
	parting    []Message // comes while a listener is being stopped
}

func newFakeMachine() *fakeMachine {
	return &fakeMachine{values: map[string]Result{}, bad: map[string]error{}, began: time.Now(), listeners: map[string]func(Message){}}
}

func (m *fakeMachine) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// lose cuts the session.
func (m *fakeMachine) lose(err error) {
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s != nil {
		s.end(err)
	}
}

// push delivers a value to every subscription of the name.
func (m *fakeMachine) push(name string, r Result) {
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	var to []func(Result)
	for _, sub := range s.subs {
		if sub.Point.(fakePoint).Name == name {
			to = append(to, sub.Deliver)
		}
	}
	s.mu.Unlock()
	for _, deliver := range to {
		deliver(r)
	}
}

func (m *fakeMachine) driver() Driver {
	return Driver{Spec: protocol.Spec{Name: "Fake"}, New: func(c Config) (Connector, error) {
		if bytes.Contains(c.Properties, []byte("impossible")) {
			return nil, errors.New("the properties are impossible")
		}
		return m, nil
	}}
}

type fakePoint struct {
	Name     string
	Interval int64
	Cron     string
	Bytes    bool
	Calls    bool
}

func (p fakePoint) Schedule() Schedule {
	return Schedule{Interval: time.Duration(p.Interval) * time.Millisecond, Cron: p.Cron}
}
func (p fakePoint) Passthrough() bool { return p.Bytes }
func (p fakePoint) Callable() bool    { return p.Calls }

func (m *fakeMachine) Point(_ Operation, address json.RawMessage) (Point, error) {
	var p fakePoint
	if err := json.Unmarshal(address, &p); err != nil {
		return nil, err
	}
	if p.Name == "" {
		return nil, errors.New("the address has no name")
	}
	return p, nil
}

func (m *fakeMachine) Dial(context.Context) (Session, error) {
	m.mu.Lock()
	m.dials++
	hang, refuse, panics := m.hang, m.refuse, m.panics
	m.mu.Unlock()
	if panics {
		panic("dial")
	}
	if hang != nil {
		<-hang
	}
	if refuse != nil {
		return nil, refuse
	}
	s := &fakeSession{m: m, done: make(chan struct{}), subs: map[string]Subscription{}}
	m.do(func() { m.session = s })
	return s, nil
}

type fakeSession struct {
	m    *fakeMachine
	done chan struct{}
	once sync.Once
	err  error
	mu   sync.Mutex
	subs map[string]Subscription
}

func (s *fakeSession) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

func (s *fakeSession) Read(ctx context.Context, points []Point) []Result {
	m := s.m
	m.mu.Lock()
	names := make([]string, len(points))
	results := make([]Result, len(points))
	for i, p := range points {
		names[i] = p.(fakePoint).Name
		results[i] = m.values[names[i]]
		if err := m.bad[names[i]]; err != nil {
			results[i] = Result{Err: err}
		}
	}
	slices.Sort(names)
	m.reads = append(m.reads, fmt.Sprintf("%v: %s", time.Since(m.began), strings.Join(names, " ")))
	delay, panics, hang := m.delay, m.panics, m.hang
	m.mu.Unlock()
	if panics {
		panic("read")
	}
	if hang != nil {
		<-hang
	}
	if delay > 0 {
		sleep(ctx, delay)
	}
	return results
}

func (s *fakeSession) Write(_ context.Context, p Point, v Payload) Result {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	name := p.(fakePoint).Name
	if err := s.m.bad[name]; err != nil {
		return Result{Err: err}
	}
	s.m.writes = append(s.m.writes, fmt.Sprintf("%s=%v|%s", name, v.Value, v.Raw))
	return Result{Value: v.Value}
}

func (s *fakeSession) Subscribe(_ context.Context, subs []Subscription) []error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(subs))
	var names []string
	for i, sub := range subs {
		name := sub.Point.(fakePoint).Name
		names = append(names, name)
		if errs[i] = s.m.bad[name]; errs[i] == nil {
			s.subs[sub.ID] = sub
		}
	}
	slices.Sort(names)
	s.m.subscribes = append(s.m.subscribes, strings.Join(names, " "))
	return errs
}

func (s *fakeSession) Unsubscribe(_ context.Context, ids []string) error {
	s.m.do(func() { s.m.unsubs += len(ids) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.subs, id)
	}
	return nil
}

func (s *fakeSession) Publish(_ context.Context, m Message) error {
	s.m.mu.Lock()
	poison := s.m.poison
	s.m.mu.Unlock()
	if poison != "" && string(m.Payload) == poison {
		s.end(errors.New("the broker hung up"))
		return errors.New("the broker hung up")
	}
	s.m.do(func() { s.m.published = append(s.m.published, m) })
	return nil
}

func (s *fakeSession) Resumed(context.Context) error {
	s.m.do(func() { s.m.resumed = append(s.m.resumed, fmt.Sprint(len(s.m.subscribes), len(s.m.listeners))) })
	return nil
}

func (s *fakeSession) SubscribeTopic(_ context.Context, filter string, _ byte, deliver func(Message)) (func(), error) {
	s.m.do(func() { s.m.listeners[filter] = deliver })
	return func() {
		s.m.mu.Lock()
		delete(s.m.listeners, filter)
		parting := s.m.parting
		s.m.mu.Unlock()
		for _, m := range parting {
			time.Sleep(10 * time.Millisecond)
			deliver(m)
		}
	}, nil
}

func (s *fakeSession) Done() <-chan struct{} { return s.done }

func (s *fakeSession) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

func (s *fakeSession) Close() error {
	s.m.mu.Lock()
	hang := s.m.hang
	s.m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	s.end(nil)
	return nil
}

// rig is a mapper among fakes, in a synctest bubble.
type rig struct {
	t       testing.TB
	bus     *fakeBus
	watch   *fakeWatch
	machine *fakeMachine
	opts    Options
	*Mapper
	stop func()

	mu      sync.Mutex
	reports []spec.AgentStatus
	reject  error
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, bus: newFakeBus(), watch: newFakeWatch(), machine: newFakeMachine()}
	r.opts = Options{
		Agent: "protocol-mapper", Dir: t.TempDir(), Key: bytes.Repeat([]byte{7}, 32),
		Drivers: []Driver{r.machine.driver()}, Bus: r.bus, Watch: r.watch,
		Report: r.report, Log: slog.New(slog.DiscardHandler),
	}
	return r
}

func (r *rig) report(_ context.Context, s spec.AgentStatus) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reject != nil {
		return r.reject
	}
	r.reports = append(r.reports, s)
	return nil
}

func (r *rig) reported() []spec.AgentStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reports)
}

// run starts the mapper; it stops with the test or by stop.
func (r *rig) run() {
	r.t.Helper()
	m, err := New(r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Mapper = m
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// scenario runs f in a bubble with a running mapper.
func scenario(t *testing.T, f func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer func() { r.stop() }()
		f(t, r)
	})
}

// pass lets virtual time go by, and then everything settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) of(id string) spec.ResourceStatus {
	r.t.Helper()
	for _, s := range r.Status() {
		if s.ID == id {
			return s
		}
	}
	r.t.Fatalf("there is no resource %q", id)
	return spec.ResourceStatus{}
}

func resource(typ, id, properties string) spec.Resource {
	return spec.Resource{Service: "press", ID: id, Type: typ, Properties: json.RawMessage(properties)}
}

func plc() spec.Resource {
	return resource("Connection", "plc", `{"protocol":"Fake","connection":{"host":"h","connectionStrategy":{"initialDelay":1000,"maxDelay":8000,"incrementFactor":2}},"targetState":"connected"}`)
}

func gone(r spec.Resource) spec.Resource {
	r.Properties = nil
	return r
}

// pushed, polled, reader and writer make endpoints; more is further JSON properties.
func pushed(id string, more ...string) spec.Resource { return point(id, "subscribe", "", more) }

func polled(id string, interval int, more ...string) spec.Resource {
	return point(id, "subscribe", fmt.Sprintf(`,"interval":%d`, interval), more)
}

func reader(id string, more ...string) spec.Resource { return point(id, "read", "", more) }
func writer(id string, more ...string) spec.Resource { return point(id, "write", "", more) }

func point(id, op, address string, more []string) spec.Resource {
	return resource("Endpoint", id, fmt.Sprintf(`{"protocol":"Fake","connection":"plc","%s":{"name":%q%s},"topic":"services/press/%s","targetState":"enabled"%s}`,
		op, id, address, id, strings.Join(append([]string{""}, more...), ",")))
}

func check[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// line joins with spaces.
func line(words ...any) string { return strings.TrimSuffix(fmt.Sprintln(words...), "\n") }
