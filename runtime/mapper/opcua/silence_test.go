package opcua

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
)

// hurry lets the sessions of c watch their server more closely than they usually do, and returns how
// long a subscription may be silent then.
func hurry(c mapper.Connector) time.Duration {
	p := pace{look: 50 * time.Millisecond, try: time.Second, beat: 200 * time.Millisecond, silence: 2 * time.Second, goodbye: 100 * time.Millisecond}
	c.(*connector).pace = p
	return p.silence
}

// muzzle forwards to a server without security and can keep back what it publishes.
type muzzle struct {
	listener net.Listener
	server   string
	shut     atomic.Bool
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func newMuzzle(t testing.TB, addr, server string) *muzzle {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	m := &muzzle{listener: l, server: server}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			m.running.Go(func() { m.forward(client) })
		}
	})
	return m
}

func (m *muzzle) Addr() string { return m.listener.Addr().String() }

// Close cuts all connections.
func (m *muzzle) Close() {
	m.listener.Close()
	m.cancel()
	m.running.Wait()
}

func (m *muzzle) forward(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", m.server)
	if err != nil {
		return
	}
	defer server.Close()
	stop := context.AfterFunc(m.ctx, func() { server.Close(); client.Close() })
	defer stop()
	m.running.Go(func() {
		defer server.Close()
		io.Copy(server, client) //nolint:errcheck // the other end tells
	})
	publish := []byte{1, 0, 0x3d, 0x03} // the type of a PublishResponse
	for {
		kind, chunk, err := readChunk(server)
		if err != nil {
			return
		}
		if m.shut.Load() && kind == "MSGF" && bytes.HasPrefix(chunk[24:], publish) {
			continue
		}
		if _, err := client.Write(chunk); err != nil {
			return
		}
	}
}

// TestSilentSubscription has two subscriptions to a value that does not change: the one whose server
// publishes nothing any more, though it answers, ends its session; the other, just quiet, does not.
func TestSilentSubscription(t *testing.T) {
	t.Parallel()
	p := startPlant(t, "127.0.0.1:0")
	defer p.Close()
	m := newMuzzle(t, "127.0.0.1:0", p.Addr())
	defer m.Close()
	const address = `{"nodeId":"ns=2;s=Press.Setpoint","publishInterval":100}`

	calm := connect(t, p.Addr(), nil)
	silence := hurry(calm)
	quiet := dial(t, calm)
	defer quiet.Close()
	in := subscribe(t, calm, quiet, "setpoint", address)
	in.wait(t, 1)

	c := connect(t, m.Addr(), nil)
	hurry(c)
	s := dial(t, c)
	defer s.Close()
	subscribe(t, c, s, "setpoint", address).wait(t, 1)
	m.shut.Store(true)
	point := []mapper.Point{pointOf(t, c, mapper.OpRead, `{"nodeId":"ns=2;s=Press.Counter"}`)}
	if r := s.Read(t.Context(), point)[0]; r.Err != nil {
		t.Errorf("the server does not answer: %v", r.Err)
	}
	select {
	case <-s.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the subscription is silent, and the session goes on")
	}
	if !errors.Is(s.Err(), errSilent) {
		t.Errorf("Err = %v", s.Err())
	}
	select {
	case <-quiet.Done():
		t.Fatalf("a subscription without news ended: %v", quiet.Err())
	case <-time.After(silence / 4):
	}
	if got := in.all(); len(got) != 1 {
		t.Errorf("a value that did not change was delivered %d times", len(got))
	}
}
