package broker

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

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
		b, err := New(Options{Dir: dir, Login: loginPlain, Limits: limits, Watch: newControl(ids...)})
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
			if _, err := b.route(t.Context(), m, patient); err != nil {
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
	inFakeTime(t, Limits{BufferMessages: 100}, []spec.Identity{identityOf("line1", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
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
		if took := time.Since(begin); took > networkPatience {
			t.Errorf("publishers waited %s", took)
		}
		if got := b.Stats().MessagesDropped; got < 700 {
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

// A will whose subscriber stands still holds up neither other wills nor the end of sessions.
func TestTimeWillBlocked(t *testing.T) {
	inFakeTime(t, Limits{LocalMessages: 1}, []spec.Identity{identityOf("a", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
		gate, wills := make(chan struct{}), make(chan time.Time, 10)
		stopStuck, err := b.Subscribe(t.Context(), "a", "stuck", 1, func(Message) { <-gate })
		if err != nil {
			t.Fatal(err)
		}
		stop, err := b.Subscribe(t.Context(), "a", "will", 1, func(Message) { wills <- time.Now() })
		if err != nil {
			t.Fatal(err)
		}
		fill(t, b, "stuck")
		for i, topic := range []string{"stuck", "will"} {
			w := l.dial(t)
			pk := connectPacket("a", topic)
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 100, true
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillQos = true, topic, 1
			pk.Connect.WillProperties.WillDelayInterval = uint32(10 + 2*i)
			w.send(pk)
			w.expect(packets.Connack)
			w.nc.Close()
		}
		begin := time.Now()
		if late := (<-wills).Sub(begin); late > 14*time.Second {
			t.Errorf("the second will came after %s", late)
		}
		close(gate)
		stopStuck()
		stop()
	})
}

// A client whose message all but one subscriber have, when its connection breaks, may send
// it again: at QoS 2 nobody gets it twice.
func TestTimeConflict(t *testing.T) {
	inFakeTime(t, Limits{LocalMessages: 1}, []spec.Identity{identityOf("a", "rw #")}, func(t *testing.T, b *Broker, l *pipes) {
		gate, got := make(chan struct{}), make(chan string, 10)
		stopStuck, err := b.Subscribe(t.Context(), "a", "x", 2, func(Message) { <-gate })
		if err != nil {
			t.Fatal(err)
		}
		fill(t, b, "x")
		stop, err := b.Subscribe(t.Context(), "a", "x", 2, func(m Message) { got <- string(m.Payload) })
		if err != nil {
			t.Fatal(err)
		}
		connect := func() *wire {
			w := l.dial(t)
			pk := connectPacket("a", "c")
			pk.Connect.Clean = false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 100, true
			w.send(pk)
			w.expect(packets.Connack)
			return w
		}
		w := connect()
		w.publish("x", "once", 2, 7)
		synctest.Wait()
		w.nc.Close()
		w = connect() // takes the session over; the publish gives up
		synctest.Wait()
		if n := b.Stats().MessagesDropped; n != 1 {
			t.Errorf("%d dropped", n)
		}
		w.publish("x", "once", 2, 7)
		if ack := w.expect(packets.Pubrec); ack.ReasonCode != 0 {
			t.Errorf("PUBREC %#x", ack.ReasonCode)
		}
		close(gate)
		stopStuck()
		stop()
		if len(got) != 1 {
			t.Errorf("delivered %d times", len(got))
		}
	})
}
