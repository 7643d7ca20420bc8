package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

// connectSession logs in with a session that outlives the connection.
func (p *plant) connectSession(t testing.TB, user, client string, version byte) (w *wire, resumed bool) {
	t.Helper()
	w = p.dial(t)
	w.version = version
	pk := connectPacket(user, client)
	pk.Connect.Clean = false
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
	w.send(pk)
	ack := w.expect(packets.Connack)
	if ack.ReasonCode != 0 {
		t.Fatalf("refused with %#x", ack.ReasonCode)
	}
	return w, ack.SessionPresent
}

func (p *plant) awaitClients(t testing.TB, n int64) {
	t.Helper()
	eventually(t, "the clients", func() bool { return p.Stats().Clients == n })
}

// What a client did not acknowledge comes again, in order, before what came meanwhile.
func TestSessionResumed(t *testing.T) {
	for _, version := range []byte{4, 5} {
		p := start(t, Limits{}, identityOf("line1", "rw #"))
		w, resumed := p.connectSession(t, "line1", "c", version)
		if resumed {
			t.Error("a new session is called resumed")
		}
		w.subscribe(2, "a/#")
		for i := range 6 {
			p.publish(t, "line1", Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: byte(i%2) + 1})
		}
		ids := map[int]uint16{}
		for i := range 6 {
			ids[i] = w.expectMessage("a/b", fmt.Sprint(i)).PacketID
		}
		w.ack(packets.Puback, ids[2])
		w.ack(packets.Pubrec, ids[3])
		w.expect(packets.Pubrel)
		w.nc.Close()
		p.awaitClients(t, 0)
		for i := 6; i < 300; i++ { // more than are in flight at once
			p.publish(t, "line1", Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: 1})
		}
		p.publish(t, "line1", Message{Topic: "a/b", Payload: []byte("not kept")})

		w, resumed = p.connectSession(t, "line1", "c", version)
		if !resumed {
			t.Error("the session is gone")
		}
		for _, i := range []int{0, 1, 3, 4, 5} {
			if i == 3 {
				if rel := w.expect(packets.Pubrel); rel.PacketID != ids[3] {
					t.Errorf("PUBREL for %d, want %d", rel.PacketID, ids[3])
				}
				w.ack(packets.Pubcomp, ids[3])
				continue
			}
			if pk := w.expectMessage("a/b", fmt.Sprint(i)); !pk.FixedHeader.Dup || pk.PacketID != ids[i] {
				t.Errorf("message %d: id %d, DUP %v; want id %d and DUP", i, pk.PacketID, pk.FixedHeader.Dup, ids[i])
			}
		}
		for i := 6; i < 300; i++ {
			pk := w.expectMessage("a/b", fmt.Sprint(i))
			if pk.FixedHeader.Dup {
				t.Fatalf("message %d is marked DUP", i)
			}
			w.ack(packets.Puback, pk.PacketID)
		}
		w.ping()
	}
}

func TestSessionTakenOver(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"), identityOf("line2", "rw #"))
	first, _ := p.connectSession(t, "line1", "c", 5)
	first.subscribe(1, "a")
	stranger, resumed := p.connectSession(t, "line2", "c", 5) // a client id of its own
	if resumed {
		t.Error("another identity got the session")
	}
	second, resumed := p.connectSession(t, "line1", "c", 5)
	if !resumed {
		t.Error("the session was not handed over")
	}
	if reason := first.expectEnd(); reason != 0x8E {
		t.Errorf("DISCONNECT %#x, want 0x8e", reason)
	}
	p.publish(t, "line1", Message{Topic: "a", Payload: []byte("x"), QoS: 1})
	second.expectMessage("a", "x")
	stranger.ping()
}

// Many connections with one client id at once: one remains, and nothing leaks.
func TestSessionTakenOverByMany(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			nc, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			pk := connectPacket("line1", "c")
			pk.ProtocolVersion = 5
			var buf bytes.Buffer
			if err := pk.ConnectEncode(&buf); err != nil {
				t.Error(err)
			}
			if _, err := nc.Write(buf.Bytes()); err != nil {
				t.Error(err)
			}
			var connack [4]byte
			if _, err := io.ReadFull(nc, connack[:]); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	p.awaitClients(t, 0)
}

func TestSessionCleanStart(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	w, _ := p.connectSession(t, "line1", "c", 5)
	w.subscribe(1, "a")
	w.nc.Close()
	p.awaitClients(t, 0)
	clean := p.connect(t, "line1", "c")
	p.publish(t, "line1", Message{Topic: "a", QoS: 1})
	clean.ping()
	if got := p.Stats().Subscriptions; got != 0 {
		t.Errorf("%d subscriptions left", got)
	}
}

func TestSessionLimits(t *testing.T) {
	p := start(t, Limits{Sessions: 1, Subscriptions: 2, Connections: 2}, identityOf("line1", "rw #"))
	w := p.connect(t, "line1", "c")
	if got := w.subscribe(1, "a", "b", "c", "a"); !slices.Equal(got, []byte{1, 1, 0x97, 1}) {
		t.Errorf("SUBACK %#x", got)
	}
	second := p.dial(t)
	second.send(connectPacket("line1", "d"))
	if got := second.expect(packets.Connack).ReasonCode; got != 0x97 {
		t.Errorf("CONNACK %#x, want 0x97", got)
	}
	second.expectEnd()
	eventually(t, "the connection to end", func() bool { return p.open.Load() == 1 })
	one, two := p.dial(t), p.dial(t)
	refused := make(chan struct{}, 2)
	for _, w := range []*wire{one, two} {
		go func() {
			if _, err := w.nc.Read(make([]byte, 1)); err != nil {
				refused <- struct{}{}
			}
		}()
	}
	<-refused // one of the two is too many
	w.ping()
}

func TestSubscriptionOptions(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	p.publish(t, "line1", Message{Topic: "r", Payload: []byte("kept"), Retain: true, QoS: 1})
	w := p.connect(t, "line1", "c")
	subscribe := func(id int, f packets.Subscription) {
		t.Helper()
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{f}}
		if id > 0 {
			pk.Properties.SubscriptionIdentifier = []int{id}
		}
		w.send(pk)
		w.expect(packets.Suback)
	}
	subscribe(11, packets.Subscription{Filter: "r", Qos: 0})
	if pk := w.expectMessage("r", "kept"); !pk.FixedHeader.Retain || pk.FixedHeader.Qos != 0 || !slices.Equal(pk.Properties.SubscriptionIdentifier, []int{11}) {
		t.Errorf("retained message: %+v", pk)
	}
	subscribe(12, packets.Subscription{Filter: "r", RetainHandling: 1})
	subscribe(13, packets.Subscription{Filter: "+", RetainHandling: 2, RetainAsPublished: true, Qos: 1})
	w.ping() // no retained messages for those two
	p.publish(t, "line1", Message{Topic: "r", Payload: []byte("live"), Retain: true, QoS: 2})
	pk := w.expectMessage("r", "live") // one copy for both, with the best of them
	slices.Sort(pk.Properties.SubscriptionIdentifier)
	if !pk.FixedHeader.Retain || pk.FixedHeader.Qos != 1 || !slices.Equal(pk.Properties.SubscriptionIdentifier, []int{12, 13}) {
		t.Errorf("overlapping: %+v %v", pk.FixedHeader, pk.Properties.SubscriptionIdentifier)
	}
	w.ack(packets.Puback, pk.PacketID)
	subscribe(0, packets.Subscription{Filter: "mine", NoLocal: true})
	subscribe(0, packets.Subscription{Filter: "+", RetainHandling: 2, NoLocal: true})
	w.publish("mine", "own", 0, 0)
	p.publish(t, "line1", Message{Topic: "mine", Payload: []byte("another's")})
	w.expectMessage("mine", "another's")
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "mine"}, {Filter: "never"}}})
	if got := w.expect(packets.Unsuback).ReasonCodes; !slices.Equal(got, []byte{0, 0x11}) {
		t.Errorf("UNSUBACK %#x", got)
	}
}

func TestPublishProperties(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	w, v3 := p.connect(t, "line1", "c"), p.dial(t)
	v3.version = 4
	v3.send(connectPacket("line1", "old"))
	v3.expect(packets.Connack)
	v3.subscribe(0, "a")
	w.subscribe(0, "a")
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "a", Payload: []byte("x")}
	pk.Properties = packets.Properties{
		ContentType: "text/plain", ResponseTopic: "b", CorrelationData: []byte{1, 2}, MessageExpiryInterval: 100,
		PayloadFormat: 1, PayloadFormatFlag: true, User: []packets.UserProperty{{Key: "k", Val: "v"}, {Key: "k", Val: "w"}},
		TopicAlias: 3, TopicAliasFlag: true,
	}
	w.send(pk)
	got := w.expectMessage("a", "x").Properties
	if got.ContentType != "text/plain" || got.ResponseTopic != "b" || string(got.CorrelationData) != "\x01\x02" ||
		got.MessageExpiryInterval < 90 || got.PayloadFormat != 1 || len(got.User) != 2 || got.TopicAliasFlag {
		t.Errorf("properties %+v", got)
	}
	v3.expectMessage("a", "x")
	pk.TopicName, pk.Payload = "", []byte("by alias")
	w.send(pk)
	w.expectMessage("a", "by alias")
}

// A will is published when the connection breaks, as the identity; not after DISCONNECT.
func TestWill(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "r #", "w wills/#"))
	got := p.collect(t, "line1", "#")
	connect := func(client, topic string) *wire {
		w := p.dial(t)
		pk := connectPacket("line1", client)
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte(client)
		pk.Connect.WillRetain, pk.Connect.WillQos = true, 1
		w.send(pk)
		w.expect(packets.Connack)
		return w
	}
	connect("forbidden", "elsewhere").nc.Close()
	p.awaitClients(t, 0)
	left := connect("left", "wills/left")
	left.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	left.expectEnd()
	p.awaitClients(t, 0)
	withWill := connect("with will", "wills/asked")
	withWill.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: 4})
	if m := next(t, got); m.Topic != "wills/asked" || m.QoS != 1 {
		t.Errorf("got %+v", m)
	}
	connect("broke", "wills/broke").nc.Close()
	if m := next(t, got); m.Topic != "wills/broke" {
		t.Errorf("got %+v", m)
	}
	kept := p.collect(t, "line1", "wills/broke")
	if m := next(t, kept); !m.Retain {
		t.Errorf("got %+v", m)
	}
}

// pipes is a listener of net.Pipe connections, for tests in fake time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipes) dial(t testing.TB) *wire {
	client, server := net.Pipe()
	l.conns <- server
	return newWire(t, client)
}

// inFakeTime runs a broker and a test in a bubble.
func inFakeTime(t *testing.T, limits Limits, ids []spec.Identity, run func(t *testing.T, b *Broker, l *pipes)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{Dir: dir, Verify: verifyPlain, Limits: limits, Watch: newControl(ids...)})
		if err != nil {
			t.Fatal(err)
		}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx, l) }()
		<-b.Synced()
		run(t, b, l)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTimeLimits(t *testing.T) {
	inFakeTime(t, Limits{}, []spec.Identity{identityOf("line1", "rw #")}, func(t *testing.T, _ *Broker, l *pipes) {
		begin := time.Now()
		silent := l.dial(t)
		if _, err := silent.receive(); err == nil {
			t.Error("a client that never sends CONNECT is answered")
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("cut after %s, want 10 s", took)
		}
		w := l.dial(t)
		pk := connectPacket("line1", "c")
		pk.Connect.Keepalive = 20
		w.send(pk)
		w.expect(packets.Connack)
		begin = time.Now()
		if reason := w.expectEnd(); reason != 0x8D {
			t.Errorf("DISCONNECT %#x, want 0x8d", reason)
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("cut after %s, want 1.5 times the keep-alive", took)
		}
	})
}

// Session expiry, will delay and message expiry, each to the second.
func TestTimeExpiry(t *testing.T) {
	inFakeTime(t, Limits{}, []spec.Identity{identityOf("line1", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
		wills := make(chan time.Time, 10)
		stop, err := b.Subscribe(t.Context(), "line1", "will", 0, func(Message) { wills <- time.Now() })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		connect := func() *wire {
			w := l.dial(t)
			pk := connectPacket("line1", "c")
			pk.Connect.Clean = false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 100, true
			pk.Connect.WillFlag, pk.Connect.WillTopic = true, "will"
			pk.Connect.WillProperties.WillDelayInterval = 40
			w.send(pk)
			w.expect(packets.Connack)
			return w
		}
		w := connect()
		w.subscribe(1, "a")
		w.nc.Close()
		synctest.Wait()
		w = connect() // within the delay: no will
		time.Sleep(50 * time.Second)
		w.ping()
		synctest.Wait()
		if len(wills) != 0 {
			t.Error("the will was published although the client came back")
		}
		begin := time.Now()
		w.nc.Close()
		if late := (<-wills).Sub(begin); late < 40*time.Second || late > 41*time.Second {
			t.Errorf("the will came after %s, want 40 s", late)
		}
		for name, expires := range map[string]time.Duration{"expired": 10 * time.Second, "fresh": time.Hour} {
			m := &message{Message: Message{Topic: "a", Payload: []byte(name), QoS: 1}, expires: time.Now().Add(expires)}
			if err := b.route(t.Context(), m, false); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(20 * time.Second)
		w = connect()
		if pk := w.expectMessage("a", "fresh"); pk.Properties.MessageExpiryInterval != 3580 {
			t.Errorf("message expiry %d, want what is left", pk.Properties.MessageExpiryInterval)
		}
		w.nc.Close()
		time.Sleep(102 * time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Subscriptions != 1 || len(b.sessions) != 0 {
			t.Errorf("%d subscriptions and %d sessions after the expiry", s.Subscriptions, len(b.sessions))
		}
	})
}

// A client that does not read loses QoS 0 messages, counted, and holds nobody back.
func TestSlowReader(t *testing.T) {
	inFakeTime(t, Limits{QueueMessages: 100}, []spec.Identity{identityOf("line1", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
		w := l.dial(t)
		w.send(connectPacket("line1", "slow"))
		w.expect(packets.Connack)
		w.subscribe(0, "a")
		begin := time.Now()
		for range 1000 {
			if err := b.Publish(t.Context(), "line1", Message{Topic: "a", Payload: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("publishers waited %s", took)
		}
		if got := b.Stats().MessagesDropped; got < 800 {
			t.Errorf("%d dropped", got)
		}
		time.Sleep(writeLimit + 2*time.Second)
		synctest.Wait()
		if got := b.Stats().Clients; got != 0 {
			t.Error("a client that reads nothing stays connected")
		}
	})
}

// Answers to a client that does not read them are bounded: its packets are no longer taken in.
func TestAnswersBounded(t *testing.T) {
	inFakeTime(t, Limits{}, []spec.Identity{identityOf("line1", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
		w := l.dial(t)
		w.send(connectPacket("line1", "flood"))
		w.expect(packets.Connack)
		var sent atomic.Int64
		go func() {
			for {
				if _, err := w.nc.Write([]byte{0x82, 7, 0, 1, 0, 0, 1, 'a', 0}); err != nil {
					return // the broker has ended the connection
				}
				sent.Add(1)
			}
		}()
		synctest.Wait()
		if n := sent.Load(); n > 3*maxAnswers {
			t.Errorf("%d requests taken in from a client that reads no answer", n)
		}
		time.Sleep(writeLimit + 2*farewell)
		synctest.Wait()
		if got := b.Stats().Clients; got != 0 {
			t.Error("the client stays connected")
		}
	})
}

// A network publisher with QoS 1 waits for a slow in-process subscriber, one with QoS 0 loses messages.
func TestNetworkPublisherBackPressure(t *testing.T) {
	inFakeTime(t, Limits{LocalMessages: 10}, []spec.Identity{identityOf("line1", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
		gate := make(chan struct{})
		delivered := 0
		stop, err := b.Subscribe(t.Context(), "line1", "a", 1, func(Message) { <-gate; delivered++ })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		w := l.dial(t)
		w.send(connectPacket("line1", "c"))
		w.expect(packets.Connack)
		for range 100 {
			w.publish("a", "lossy", 0, 0)
		}
		w.ping()
		lost := b.Stats().MessagesDropped
		if lost < 50 || lost > 90 {
			t.Errorf("%d of 100 QoS 0 messages lost", lost)
		}
		w.publish("a", "kept", 1, 1)
		synctest.Wait()
		close(gate)
		w.expect(packets.Puback)
		for id := range uint16(200) {
			w.publish("a", "kept", 1, id+2)
			w.expect(packets.Puback)
		}
		synctest.Wait()
		if want := int(100 - lost + 201); delivered != want {
			t.Errorf("%d delivered, want %d", delivered, want)
		}
	})
}
