package broker

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

// Run disconnects everybody and returns, whatever they are doing; a bubble ends only when
// every goroutine has.
func TestShutdown(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{Dir: dir, Login: loginPlain, Watch: newControl(identityOf("line1", "rw #")), Limits: Limits{LocalMessages: 1}})
		if err != nil {
			t.Fatal(err)
		}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx, l) }()
		<-b.Synced()
		gate := make(chan struct{})
		if _, err := b.Subscribe(t.Context(), "line1", "local", 1, func(Message) { <-gate }); err != nil {
			t.Fatal(err)
		}
		connect := func(client string) *wire {
			w := l.dial(t)
			pk := connectPacket("line1", client)
			pk.Connect.WillFlag, pk.Connect.WillTopic = true, "wills"
			w.send(pk)
			w.expect(packets.Connack)
			return w
		}
		_ = l.dial(t) // never sends CONNECT
		reading := connect("reading")
		slow := connect("slow") // never reads
		slow.subscribe(0, "a")
		for range 100 {
			if err := b.Publish(t.Context(), "line1", Message{Topic: "a", Payload: make([]byte, 10_000)}); err != nil {
				t.Fatal(err)
			}
		}
		blocked := connect("blocked") // waits for the in-process subscriber
		go func() {
			for id := byte(1); ; id++ {
				if _, err := blocked.nc.Write([]byte{0x32, 10, 0, 5, 'l', 'o', 'c', 'a', 'l', 0, id, 0}); err != nil {
					return // the broker has ended the connection
				}
			}
		}()
		time.Sleep(10 * time.Second)
		begin := time.Now()
		cancel()
		if reason := reading.expectEnd(); reason != 0x8B {
			t.Errorf("DISCONNECT %#x, want 0x8b", reason)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 2*farewell {
			t.Errorf("the stop took %s", took)
		}
		wantKind(t, b.Publish(t.Context(), "line1", Message{Topic: "a"}), spec.Unavailable)
		_, err = b.Subscribe(t.Context(), "line1", "a", 0, func(Message) {})
		wantKind(t, err, spec.Unavailable)
		if _, err := l.Accept(); err == nil {
			t.Error("the listener is open")
		}
		blocked.nc.Close()
	})
}

// A listener that breaks ends Run with an error.
func TestListenerBreaks(t *testing.T) {
	b := prepared(t, Limits{}, identityOf("line1", "rw #"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantKind(t, b.Run(t.Context(), l), spec.Internal)
}

func TestSys(t *testing.T) {
	p := start(t, Limits{}, identityOf("admin", "rw #", "r $SYS/#"), identityOf("other", "r #"))
	got := p.collect(t, "admin", "$SYS/broker/clients/+")
	for range 2 {
		if m := next(t, got); m.Topic != "$SYS/broker/clients/connected" && m.Topic != "$SYS/broker/clients/total" {
			t.Errorf("got %+v", m)
		}
	}
	w := p.connect(t, "admin", "c")
	w.subscribe(0, "$SYS/broker/uptime")
	w.expectMessage("$SYS/broker/uptime", "0")
	if p.Stats().Retained != 0 {
		t.Error("$SYS is counted as retained")
	}
	other := p.connect(t, "other", "c")
	other.subscribe(0, "#")
	other.ping() // nothing of $SYS
}
