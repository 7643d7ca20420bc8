package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	press  = "service:press"
	secret = "a generated secret of many random bits"
)

// policy is a watch that never changes.
type policy []spec.Identity

func (p policy) Watch(ctx context.Context, _ string, handle func(spec.Event[spec.Identity]) error) error {
	if err := handle(spec.Event[spec.Identity]{Type: spec.EventSnapshot}); err != nil {
		return err
	}
	for _, id := range p {
		if err := handle(spec.Event[spec.Identity]{Type: spec.EventPut, Key: id.Name, Value: id}); err != nil {
			return err
		}
	}
	if err := handle(spec.Event[spec.Identity]{Type: spec.EventSynced, Cursor: "s-1", Revision: 1}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// plant is a broker that comes and goes at one address, and a bus to it.
type plant struct {
	*testing.T
	dir  string
	addr string
	stop func() // the broker
	bus  *Bus
	quit func() // the bus
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{T: t, dir: t.TempDir(), addr: "127.0.0.1:0", log: &lockedBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	p.start()
	return p
}

func (p *plant) logger(part string) *slog.Logger {
	return slog.New(slog.NewTextHandler(p.log, nil)).With("part", part)
}

// start runs the broker.
func (p *plant) start() {
	p.Helper()
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.Fatal(err)
	}
	p.addr = listener.Addr().String()
	b, err := broker.New(broker.Options{
		Dir: filepath.Join(p.dir, "broker"), Log: p.logger("broker"), Login: credential.NewLogins(credential.NewVerifier()).Verify,
		Watch: policy{{Name: press, Credentials: []string{credential.HashGenerated(secret)}, Permissions: []spec.Permission{
			{Resource: "services/press/#", Operation: spec.ReadWrite, Context: spec.MQTT},
		}}},
	})
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, listener) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.Error(err)
		}
	})
	p.Cleanup(p.stop)
}

// connect runs a bus with the queue in its folder.
func (p *plant) connect(change ...func(*Options)) {
	p.Helper()
	addr := p.addr
	opts := Options{
		Dial:   func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) },
		Secret: func() (string, error) { return secret, nil },
		Client: "mapper", Dir: filepath.Join(p.dir, "bus"), Log: p.logger("bus"),
	}
	for _, f := range change {
		f(&opts)
	}
	b, err := Open(opts)
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	p.bus = b
	p.quit = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.Error(err)
		}
	})
	p.Cleanup(p.quit)
	until(p.T, "the bus runs", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.ctx != nil })
}

// until waits for a condition that nothing else tells of.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (p *plant) publish(qos byte, from, to int) {
	p.Helper()
	for n := from; n < to; n++ {
		if err := p.bus.Publish(p.Context(), press, mapper.Message{Topic: "services/press/temp", Payload: fmt.Append(nil, n), QoS: qos}); err != nil {
			p.Fatalf("message %d: %v", n, err)
		}
	}
}

// subscribe collects what arrives.
func (p *plant) subscribe(filter string, qos byte) *inbox {
	p.Helper()
	in := &inbox{T: p.T}
	var stop func()
	until(p.T, "subscribed", func() (ok bool) {
		var err error
		stop, err = p.bus.Subscribe(p.Context(), press, filter, qos, in.take)
		return err == nil
	})
	p.Cleanup(stop)
	return in
}

type inbox struct {
	*testing.T
	mu  sync.Mutex
	got []mapper.Message
}

func (in *inbox) take(m mapper.Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.got = append(in.got, m)
}

func (in *inbox) payloads() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := make([]string, len(in.got))
	for i, m := range in.got {
		all[i] = string(m.Payload)
	}
	return all
}

// all waits for every number below n, in order; one may come again where the link was lost.
func (in *inbox) all(n int, twice bool) {
	in.Helper()
	until(in.T, fmt.Sprintf("all %d", n), func() bool {
		got := in.payloads()
		return len(got) > 0 && got[len(got)-1] == fmt.Sprint(n-1) && len(got) >= n
	})
	next, again := 0, 0
	for _, text := range in.payloads() {
		switch {
		case text == fmt.Sprint(next):
			next++
		case twice:
			var number int
			if _, err := fmt.Sscan(text, &number); err != nil || number >= next {
				in.Fatalf("%s comes where %d should", text, next)
			}
			next, again = number+1, again+1
		default:
			in.Fatalf("%s comes where %d should", text, next)
		}
	}
	if next != n {
		in.Fatalf("%d of %d arrived", next, n)
	}
	in.Logf("%d messages, %d repetitions", n, again)
}

func TestMessagesArriveInOrder(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			p := newPlant(t)
			p.connect()
			in := p.subscribe("services/press/#", 2)
			p.publish(qos, 0, 500)
			in.all(500, false)
			if m := in.got[7]; m.QoS != qos || m.Topic != "services/press/temp" {
				t.Errorf("message 7 is %+v", m)
			}
			until(t, "nothing waits", func() bool { return p.bus.Stats().Queued == 0 })
			if s := p.bus.Stats(); s.Sent != 500 || s.Dropped != 0 || s.QueuedBytes != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What is published while the broker is away arrives afterwards: in order, none missing, also
// when the mapper's process has ended in between.
func TestNothingIsLostWhileTheBrokerIsAway(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			p := newPlant(t)
			p.connect()
			p.publish(qos, 0, 100)
			until(t, "nothing waits", func() bool { return p.bus.Stats().Queued == 0 })
			p.stop()
			p.publish(qos, 100, 400)
			p.quit()
			p.connect()
			p.publish(qos, 400, 500)
			if s := p.bus.Stats(); s.Queued != 400 || s.QueuedBytes == 0 {
				t.Errorf("%+v wait", s)
			}
			p.quit()
			p.start()
			mapperDir := p.dir
			p.dir = t.TempDir() // the reader has a queue of its own
			p.connect(func(o *Options) { o.Client = "reader" })
			in := p.subscribe("services/press/temp", 2)
			p.dir = mapperDir
			p.connect()
			p.publish(qos, 500, 600)
			until(t, "all arrived", func() bool { got := in.payloads(); return len(got) > 0 && got[len(got)-1] == "599" })
			if got := in.payloads(); len(got) != 500 || got[0] != "100" {
				t.Errorf("%d arrived, from %s on", len(got), got[0])
			}
			for i, text := range in.payloads() {
				if text != fmt.Sprint(100+i) {
					t.Fatalf("%s is in place %d", text, i)
				}
			}
		})
	}
}

// The link is lost again and again while values flow.
func TestLinkIsLostWhileValuesFlow(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			p := newPlant(t)
			var mu sync.Mutex
			var conns []net.Conn
			p.connect(func(o *Options) {
				dial := o.Dial
				o.Dial = func(ctx context.Context) (net.Conn, error) {
					c, err := dial(ctx)
					mu.Lock()
					defer mu.Unlock()
					conns = append(conns, c)
					return c, err
				}
			})
			reader, stopReader := p.bus, p.quit
			publisher := p.dir
			p.dir = t.TempDir()
			p.connect(func(o *Options) { o.Client = "reader" })
			in := p.subscribe("services/press/temp", 2)
			p.dir, p.bus, p.quit = publisher, reader, stopReader
			for n := range 10 {
				p.publish(qos, n*100, n*100+100)
				mu.Lock()
				if len(conns) > 0 && conns[len(conns)-1] != nil {
					conns[len(conns)-1].Close()
				}
				mu.Unlock()
			}
			in.all(1000, qos < 2)
		})
	}
}

func TestSubscriptionOutlivesTheLink(t *testing.T) {
	p := newPlant(t)
	p.connect()
	in := p.subscribe("services/press/+", 1)
	p.stop()
	p.start()
	p.publish(1, 0, 100)
	in.all(100, false)
}

// What was published while the process of a subscriber started anew arrives.
func TestSubscriptionOutlivesTheProcess(t *testing.T) {
	p := newPlant(t)
	p.connect()
	p.subscribe("services/press/+", 1)
	p.quit()
	mapperDir := p.dir
	p.dir = t.TempDir()
	p.connect(func(o *Options) { o.Client = "writer" })
	p.publish(1, 0, 100)
	p.dir = mapperDir
	p.connect()
	p.subscribe("services/press/+", 1).all(100, false)
}

// A request that came while nobody heard is not carried out later.
func TestRequestsDoNotWait(t *testing.T) {
	p := newPlant(t)
	fleeting := func(o *Options) { o.Fleeting = func(filter string) bool { return filter == "services/press/set" } }
	p.connect(fleeting)
	p.subscribe("services/press/set", 1)
	p.quit()
	mapperDir := p.dir
	p.dir = t.TempDir()
	p.connect(func(o *Options) { o.Client = "writer" })
	send := func(text string) {
		t.Helper()
		if err := p.bus.Publish(t.Context(), press, mapper.Message{Topic: "services/press/set", Payload: []byte(text), QoS: 1}); err != nil {
			t.Fatal(err)
		}
		until(t, "taken", func() bool { return p.bus.Stats().Queued == 0 })
	}
	send("late")
	writer := p.bus
	p.dir = mapperDir
	p.connect(fleeting)
	in := p.subscribe("services/press/set", 1)
	p.bus = writer
	send("in time")
	until(t, "a request", func() bool { return len(in.payloads()) > 0 })
	if got := in.payloads(); got[0] != "in time" {
		t.Errorf("carried out: %q", got)
	}
}

func TestRefusals(t *testing.T) {
	p := newPlant(t)
	p.connect()
	until(t, "connected", func() bool {
		return p.bus.Publish(t.Context(), press, mapper.Message{Topic: "services/press/x", QoS: 1}) == nil && p.bus.Stats().Queued == 0
	})
	if err := p.bus.Publish(t.Context(), press, mapper.Message{Topic: "services/other/x", QoS: 1}); spec.KindOf(err) != spec.Forbidden {
		t.Errorf("a topic of another service: %v", err)
	}
	for _, m := range []mapper.Message{{Topic: "a/#"}, {Topic: ""}, {Topic: "a", QoS: 3}} {
		if err := p.bus.Publish(t.Context(), press, m); spec.KindOf(err) != spec.Invalid {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if _, err := p.bus.Subscribe(t.Context(), press, "services/other/#", 1, nil); err == nil {
		t.Error("another service's topics can be read")
	}
	if _, err := p.bus.Subscribe(t.Context(), "service:unknown", "x", 1, nil); spec.KindOf(err) != spec.Forbidden {
		t.Errorf("nobody subscribes: %v", err)
	}
	p.publish(1, 0, 1) // the connection still stands
	if s := p.bus.Stats(); s.Refused != 1 {
		t.Errorf("%+v", s)
	}
}

// With the broker away, a message of QoS 1 is on disk when Publish returns.
func TestPublishWaitsForTheDisk(t *testing.T) {
	p := newPlant(t)
	p.stop()
	p.connect()
	for n := range 20 {
		p.publish(1, n, n+1)
		p.bus.mu.Lock()
		entries := p.bus.lanes[press].entries
		at := entries[len(entries)-1].at
		p.bus.mu.Unlock()
		if at == 0 || p.bus.journal.Durable() <= at {
			t.Fatalf("message %d is not on disk", n)
		}
	}
}

func TestBounds(t *testing.T) {
	p := newPlant(t)
	p.stop()
	p.connect(func(o *Options) { o.MaxBytes = 10_000 })
	p.publish(0, 0, 1000)
	s := p.bus.Stats()
	if s.QueuedBytes > 10_000 || s.Dropped == 0 || s.Queued+s.Dropped != 1000 {
		t.Errorf("%+v", s)
	}
	p.bus.mu.Lock()
	p.bus.expire(p.bus.lanes[press], time.Now().Add(defaultMaxAge+time.Hour))
	p.bus.mu.Unlock()
	if s := p.bus.Stats(); s.Queued != 0 || s.Dropped != 1000 || s.QueuedBytes != 0 {
		t.Errorf("a week later: %+v", s)
	}
}

func TestWithoutDisk(t *testing.T) {
	p := newPlant(t)
	p.connect(func(o *Options) { o.Dir = "" })
	in := p.subscribe("services/press/#", 1)
	p.publish(0, 0, 100)
	in.all(100, false)
	p.stop()
	until(t, "the memory is full", func() bool {
		return spec.KindOf(p.bus.Publish(t.Context(), press, mapper.Message{Topic: "services/press/y"})) == spec.Unavailable
	})
}

func TestRecords(t *testing.T) {
	e := &entry{seq: 1 << 40, since: time.UnixMilli(1700000000123), message: &mapper.Message{Topic: "a/b", Payload: []byte("{}"), QoS: 2, Retain: true}}
	record := encode(e, press)
	s, err := decode(record)
	if err != nil || s.seq != e.seq || !s.since.Equal(e.since) || s.as != press || s.message.Topic != "a/b" || string(s.message.Payload) != "{}" || s.message.QoS != 2 || !s.message.Retain {
		t.Errorf("%+v, %v", s, err)
	}
	mark, err := decode(encodeMark(7, press))
	if err != nil || mark.kind != kindMark || mark.seq != 7 || mark.as != press {
		t.Errorf("%+v, %v", mark, err)
	}
	for n := range len(record) - len("{}") {
		if _, err := decode(record[:n]); !errors.Is(err, errRecord) {
			t.Errorf("cut after %d: %v", n, err)
		}
	}
}
