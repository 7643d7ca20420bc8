package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millwright/millwright/runtime/broker"
)

// relayPlant is a relay, and the broker's end of every connection that it makes.
type relayPlant struct {
	*testing.T
	*relay
	url  string
	far  chan net.Conn
	down chan error // what dialling the broker fails with, once for each
	stop context.CancelFunc
	done chan error
}

func newRelayPlant(t *testing.T, limits broker.Limits) *relayPlant {
	t.Helper()
	p := &relayPlant{T: t, far: make(chan net.Conn, 16), down: make(chan error, 16), done: make(chan error, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p.relay = newRelay(limits, slog.New(slog.DiscardHandler), func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		select {
		case err := <-p.down:
			return nil, err
		default:
		}
		near, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		far, err := l.Accept()
		p.far <- far
		return near, err
	})
	server := httptest.NewServer(p.relay)
	p.url = strings.Replace(server.URL, "http:", "ws:", 1)
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() { p.done <- p.relay.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		p.stop()
		if err := <-p.done; err != nil {
			t.Error(err)
		}
		if n := len(p.free); n != 0 {
			t.Errorf("%d places are not given back", n)
		}
	})
	return p
}

// connect returns both ends of a relayed connection.
func (p *relayPlant) connect() (*websocket.Conn, net.Conn) {
	p.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	client, answer, err := dialer.DialContext(p.Context(), p.url, nil)
	if err != nil {
		p.Fatal(err)
	}
	answer.Body.Close()
	p.Cleanup(func() { client.Close() })
	far := <-p.far
	p.Cleanup(func() { far.Close() })
	return client, far
}

// refused expects an answer without an upgrade.
func (p *relayPlant) refused(status int, reason string) {
	p.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	_, answer, err := dialer.DialContext(p.Context(), p.url, nil)
	if err == nil || answer == nil {
		p.Fatalf("it is upgraded: %v", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status || !strings.Contains(string(body), reason) || answer.Header.Get("Retry-After") == "" {
		p.Errorf("%s, %v: %s", answer.Status, answer.Header, body)
	}
}

// closed reads until the connection ends, and expects that code.
func closed(t *testing.T, client *websocket.Conn, code int) (got []byte) {
	t.Helper()
	for {
		_, data, err := client.ReadMessage()
		got = append(got, data...)
		var end *websocket.CloseError
		switch {
		case err == nil:
		case errors.As(err, &end) && end.Code == code:
			return got
		default:
			t.Fatalf("ended with %v, want %d", err, code)
		}
	}
}

func TestRelayCarriesBytes(t *testing.T) {
	p := newRelayPlant(t, broker.Limits{})
	client, far := p.connect()
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // a MiB
	for _, payload := range [][]byte{[]byte("x"), large, []byte("y")} {
		var sending sync.WaitGroup
		sending.Go(func() {
			if err := client.WriteMessage(websocket.BinaryMessage, payload); err != nil {
				t.Error(err)
			}
		})
		got := make([]byte, len(payload))
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes arrive as others: %v", len(payload), err)
		}
		sending.Go(func() {
			if _, err := far.Write(payload); err != nil {
				t.Error(err)
			}
		})
		for got = got[:0]; len(got) < len(payload); {
			kind, data, err := client.ReadMessage()
			if err != nil || kind != websocket.BinaryMessage {
				t.Fatal(kind, err)
			}
			got = append(got, data...)
		}
		if !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes come back as others", len(payload))
		}
		sending.Wait()
	}
}

// TestRelayEnds: each side's end is the other's, with nothing of what was sent before missing.
func TestRelayEnds(t *testing.T) {
	p := newRelayPlant(t, broker.Limits{})
	t.Run("the broker's", func(t *testing.T) {
		client, far := p.connect()
		go func() {
			_, _ = far.Write(make([]byte, 1<<20))
			far.Close()
		}()
		if got := closed(t, client, websocket.CloseNormalClosure); len(got) != 1<<20 {
			t.Errorf("%d bytes before the end", len(got))
		}
	})
	t.Run("the broker's, broken", func(t *testing.T) {
		client, far := p.connect()
		if err := far.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		far.Close()
		closed(t, client, websocket.CloseInternalServerErr)
	})
	ends := map[string]func(*websocket.Conn) error{
		"the client's": func(c *websocket.Conn) error {
			return c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
		},
		"the client's, broken": func(c *websocket.Conn) error { return c.NetConn().Close() },
		"a text frame":         func(c *websocket.Conn) error { return c.WriteMessage(websocket.TextMessage, []byte("hello")) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			client, far := p.connect()
			if err := client.WriteMessage(websocket.BinaryMessage, []byte("last words")); err != nil {
				t.Fatal(err)
			}
			if err := end(client); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(far); err != nil || string(got) != "last words" {
				t.Errorf("the broker gets %q, %v", got, err)
			}
		})
	}
	t.Run("the relay's", func(t *testing.T) {
		client, far := p.connect()
		p.stop()
		closed(t, client, websocket.CloseGoingAway)
		if _, err := io.ReadAll(far); err != nil {
			t.Error(err)
		}
		p.refused(http.StatusServiceUnavailable, "stopping")
	})
}

// TestRelayRefuses: what is no MQTT over WebSocket reaches no broker; without a broker, or with too
// many clients, the answer is 503 and no upgrade.
func TestRelayRefuses(t *testing.T) {
	p := newRelayPlant(t, broker.Limits{Connections: 1})
	answer, err := http.Get(strings.Replace(p.url, "ws:", "http:", 1))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusUpgradeRequired || len(p.far) > 0 {
		t.Errorf("a plain request: %s, %d connections to the broker", answer.Status, len(p.far))
	}
	p.down <- errors.New("connection refused")
	p.refused(http.StatusServiceUnavailable, "the broker does not answer")
	client, far := p.connect()
	p.refused(http.StatusServiceUnavailable, "too many clients")
	client.Close()
	if _, err := io.ReadAll(far); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return len(p.free) == 0 })
	p.connect()
}

// until waits for a condition that has no event.
func until(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("not in time")
		}
	}
}

// pipedSocket is a client's WebSocket without a network.
type pipedSocket struct {
	net.Conn
	code int
}

func (w *pipedSocket) CloseWith(code int, _ string) error {
	w.code = code
	return w.Close()
}

// piped is a relayed connection without a network, in a bubble of synctest.
func piped(t *testing.T) (client, far net.Conn, near *pipedSocket, ended <-chan struct{}) {
	t.Helper()
	clientEnd, nearEnd := net.Pipe()
	upstream, farEnd := net.Pipe()
	near = &pipedSocket{Conn: nearEnd}
	done := make(chan struct{})
	c := &relayed{relay: newRelay(broker.Limits{}, slog.New(slog.DiscardHandler), nil), client: near, upstream: upstream}
	go func() {
		defer close(done)
		c.carry()
	}()
	return clientEnd, farEnd, near, done
}

// TestRelayHoldsBack: of what the broker does not take the relay takes no more than its buffer
// holds, and the other direction goes on. A broker that stays so loses the connection.
func TestRelayHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, far, near, ended := piped(t)
		taken := 0
		go func() {
			for chunk := make([]byte, 1<<10); ; {
				n, err := client.Write(chunk)
				taken += n
				if err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if taken > relayBuffer {
			t.Errorf("%d bytes are taken, and nobody has read one", taken)
		}
		go func() {
			if _, err := far.Write([]byte("still here")); err != nil {
				t.Error(err)
			}
		}()
		if _, err := io.ReadFull(client, make([]byte, len("still here"))); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		<-ended
		if patience := time.Since(begin); patience != relayBrokerWrite || near.code != closeInternalError {
			t.Errorf("it ends after %s with %d", patience, near.code)
		}
	})
}

// TestRelayGivesUp a client that reads nothing, and no client that is silent.
func TestRelayGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, far, near, ended := piped(t)
		time.Sleep(24 * time.Hour) // of the bubble: that somebody is silent is the broker's business
		go func() {
			if _, err := client.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}()
		if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := far.Write([]byte("nobody reads this")); err != nil {
			t.Error(err)
		}
		<-ended
		if patience := time.Since(begin); patience != relayClientWrite || near.code != closeInternalError {
			t.Errorf("it ends after %s with %d", patience, near.code)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the broker still has a connection: %v", err)
		}
	})
}
