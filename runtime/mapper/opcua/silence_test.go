package opcua

import (
	"bytes"
	"errors"
	"net"
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
}

func newMuzzle(t *testing.T, server string) *muzzle {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &muzzle{listener: l, server: server}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go m.forward(client)
		}
	}()
	return m
}

func (m *muzzle) forward(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", m.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
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

// TestSilentSubscription is a server that answers reads and publishes nothing any more.
func TestSilentSubscription(t *testing.T) {
	t.Parallel()
	p := startPlant(t, "127.0.0.1:0")
	defer p.Close()
	m := newMuzzle(t, p.Addr())
	c := connect(t, m.listener.Addr().String(), nil)
	hurry(c)
	s := dial(t, c)
	defer s.Close()
	subscribe(t, c, s, "setpoint", `{"nodeId":"ns=2;s=Press.Setpoint","publishInterval":100}`).wait(t, 1)
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
}

// TestQuietSubscription has nothing to say for longer than a silent one is borne.
func TestQuietSubscription(t *testing.T) {
	t.Parallel()
	p := startPlant(t, "127.0.0.1:0")
	defer p.Close()
	c := connect(t, p.Addr(), nil)
	silence := hurry(c)
	s := dial(t, c)
	defer s.Close()
	in := subscribe(t, c, s, "setpoint", `{"nodeId":"ns=2;s=Press.Setpoint","publishInterval":100}`)
	in.wait(t, 1)
	select {
	case <-s.Done():
		t.Fatalf("a subscription without news ended: %v", s.Err())
	case <-time.After(silence + 500*time.Millisecond):
	}
	if got := in.all(); len(got) != 1 {
		t.Errorf("a value that did not change was delivered %d times", len(got))
	}
}
