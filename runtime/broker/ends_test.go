package broker

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// brittle is a log that panics over some lines.
type brittle struct {
	slog.Handler
	over string
}

func (h brittle) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h brittle) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.over) {
		panic("the log is broken")
	}
	return nil
}

// A panic while a connection is wound up ends neither the process nor leaves the session taken.
func TestPanicAtTheEnd(t *testing.T) {
	log := slog.New(brittle{slog.NewTextHandler(new(diary), nil), "connection ended by a malformed packet"})
	p := startOptions(t, Options{Dir: t.TempDir(), Log: log}, newControl(identityOf("a", "rw #")))
	for range 2 {
		w, _ := p.connectSession(t, "a", "c", 5)
		w.raw([]byte{0xC0, 1, 0})
		w.expectEnd()
		p.awaitClients(t, 0)
	}
	eventually(t, "the connections to go", func() bool { return p.Stats().Connections == 0 })
	p.connect(t, "a", "c").ping()
}

// A panic over a client's will costs the will only.
func TestPanicOverWill(t *testing.T) {
	log := slog.New(brittle{slog.NewTextHandler(new(diary), nil), "retained message not kept"})
	p := startOptions(t, Options{Dir: t.TempDir(), Log: log, Limits: Limits{RetainedMessages: 1}}, newControl(identityOf("a", "rw #")))
	p.publish(t, "a", Message{Topic: "full", Payload: []byte("x"), Retain: true})
	w := p.dial(t)
	pk := connectPacket("a", "c")
	pk.Connect.WillFlag, pk.Connect.WillRetain, pk.Connect.WillTopic, pk.Connect.WillPayload = true, true, "will", []byte("gone")
	w.send(pk)
	w.expect(packets.Connack)
	w.nc.Close()
	eventually(t, "the connection to go", func() bool { return p.Stats().Connections == 0 })
	p.connect(t, "a", "c").ping()
}

// A broker that stops ends connections that have not said goodbye: their wills are published
// (MQTT 5.0, 3.1.2.5), for those who come back and as retained messages.
func TestWillOutlivesStop(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	watcher, _ := p.connectSession(t, "a", "watcher", 5)
	watcher.subscribe(1, "state/#")
	w := p.dial(t)
	pk := connectPacket("a", "machine")
	pk.Connect.WillFlag, pk.Connect.WillRetain, pk.Connect.WillQos, pk.Connect.WillTopic, pk.Connect.WillPayload = true, true, 1, "state/machine", []byte("offline")
	w.send(pk)
	w.expect(packets.Connack)
	p.stop()
	p = startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	watcher, _ = p.connectSession(t, "a", "watcher", 5)
	watcher.expectMessage("state/machine", "offline")
	late := p.connect(t, "a", "late")
	late.subscribe(0, "state/#")
	late.expectMessage("state/machine", "offline")
}

// A broker that went down after its policy had lost an identity, and before that one's sessions
// had ended, does not keep them for the next who has the name.
func TestSessionsOfLostIdentity(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #"), identityOf("b", "rw #")))
	for _, name := range []string{"a", "b"} {
		w, _ := p.connectSession(t, name, "c", 5)
		w.subscribe(1, "x")
	}
	p.stop()
	q := startOptions(t, Options{Dir: other}, newControl(identityOf("a", "rw #")))
	q.stop()
	copyFile(t, filepath.Join(other, policyFile), filepath.Join(dir, policyFile))
	later := newControl(identityOf("a", "rw #"))
	later.set(identityOf("a", "rw #"), identityOf("b", "rw #"))
	p = startOptions(t, Options{Dir: dir}, later)
	eventually(t, "the session to go", func() bool { return len(p.Sessions()) == 1 })
	if _, resumed := p.connectSession(t, "b", "c", 5); resumed {
		t.Error("b has got the session of an earlier b")
	}
	if _, resumed := p.connectSession(t, "a", "c", 5); !resumed {
		t.Error("a has lost its session")
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, fs.FileMode(0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// MQTT 3.1 lets a client mark PUBREL, SUBSCRIBE and UNSUBSCRIBE as repeated (MQTT 3.1, 2.1);
// later versions do not.
func TestRepeatedFlagOfMQTT31(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	for version, allowed := range map[byte]bool{3: true, 4: false} {
		w := p.dial(t)
		w.version = version
		pk := connectPacket("a", "c")
		if version == 3 {
			pk.Connect.ProtocolName = []byte("MQIsdp")
		}
		w.send(pk)
		w.expect(packets.Connack)
		w.raw([]byte{0x8A, 6, 0, 1, 0, 1, 'x', 1})
		if !allowed {
			w.expectEnd()
			continue
		}
		w.expect(packets.Suback)
		w.raw([]byte{0x34, 7, 0, 1, 'y', 0, 9, 'm', 'm'})
		w.expect(packets.Pubrec)
		w.raw([]byte{0x6A, 2, 0, 9})
		w.expect(packets.Pubcomp)
		w.raw([]byte{0xAA, 5, 0, 2, 0, 1, 'x'})
		w.expect(packets.Unsuback)
	}
}

// A client that comes back to a long queue of large messages holds no more in memory than others,
// and what it was sent it does not hold at all.
func TestLoadedBounded(t *testing.T) {
	const size, n = 256 << 10, 24
	p := start(t, Limits{}, identityOf("a", "rw #"))
	w, _ := p.connectSession(t, "a", "c", 5)
	w.subscribe(1, "x")
	w.nc.Close()
	p.awaitClients(t, 0)
	for range n {
		p.publish(t, "a", Message{Topic: "x", Payload: make([]byte, size), QoS: 1})
	}
	s := p.allSessions()[0]
	s.mu.Lock()
	wanted := s.box.readable(n)
	s.mu.Unlock()
	loaded, err := (&conn{b: p.Broker, session: s}).readDeliveries(wanted)
	if err != nil || len(wanted) != n || len(loaded) != bufferBytes/size {
		t.Fatalf("%d messages of %d were loaded at once: %v", len(loaded), len(wanted), err)
	}
	w, _ = p.connectSession(t, "a", "c", 5)
	for range n {
		w.expect(packets.Publish)
	}
	w.nc.Close() // all are in flight now
	p.awaitClients(t, 0)
	w, _ = p.connectSession(t, "a", "c", 5)
	for range n {
		if !w.expect(packets.Publish).FixedHeader.Dup {
			t.Fatal("repeated without DUP")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.box.inflight.all() {
		if o.msg != nil {
			t.Fatal("a message that was sent is in memory")
		}
	}
}

// A will that a clean start has ended is published, whatever becomes of the new session.
func TestFormerWillOfRefusedClient(t *testing.T) {
	p := start(t, Limits{Sessions: 1}, identityOf("a", "rw #"))
	got := p.collect(t, "a", "will")
	w := p.dial(t)
	pk := connectPacket("a", "c")
	pk.Connect.Clean, pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = false, true, "will", []byte("gone")
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
	pk.Connect.WillProperties.WillDelayInterval = 300
	w.send(pk)
	w.expect(packets.Connack)
	w.nc.Close()
	p.awaitClients(t, 0)
	p.Broker.mu.Lock()
	p.limits.Sessions = 0 // as after a restart with less
	p.Broker.mu.Unlock()
	w = p.dial(t)
	w.send(connectPacket("a", "c"))
	if ack := w.expect(packets.Connack); ack.ReasonCode != packets.ErrQuotaExceeded.Code {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
	if m := next(t, got); string(m.Payload) != "gone" {
		t.Errorf("got %+v", m)
	}
}
