package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millwright/millwright/internal/testcert"
)

// dialSilent connects and says nothing.
func dialSilent(t testing.TB, address string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// TestHalfOpenTLSHoldsNobodyUp: handshakes that never go on count as connections, end with
// the time-out, and others are accepted meanwhile.
func TestHalfOpenTLSHoldsNobodyUp(t *testing.T) {
	pair := testcert.New(t, time.Now().Add(24*time.Hour))
	p := start(t, Limits{Connections: 4, ConnectTimeout: time.Second}, identityOf("a", "rw #"))
	l := tls.NewListener(listenTCP(t), pair.Server(t))
	p.listenOn(t, l)
	address := l.Addr().String()
	for range 3 {
		silent := dialSilent(t, address)
		if _, err := silent.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil { // the first bytes of a handshake
			t.Fatal(err)
		}
	}
	nc, err := tls.Dial("tcp", address, pair.Client())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, nc)
	w.login("a", "c")
	refused := p.Stats().Refused
	if _, err := dialSilent(t, address).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one more than there may be: %v", err)
	}
	if got := p.Stats().Refused; got != refused+1 {
		t.Errorf("%d are counted as refused", got-refused)
	}
	w.ping()
	eventually(t, "the half-open ones to end", func() bool { return p.openConnections() == 1 })
	w.ping()
}

// TestHalfOpenWebSocketOverTLS: neither a handshake of TLS nor a request that stops half-way keeps others out.
func TestHalfOpenWebSocketOverTLS(t *testing.T) {
	x := startTransports(t)
	address := x.wss[len("wss://") : len(x.wss)-len("/mqtt")]
	for range 20 {
		if _, err := dialSilent(t, address).Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
		nc, err := tls.Dial("tcp", address, x.pair.Client())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := nc.Write([]byte("GET /mqtt HTTP/1.1\r\nHost: ")); err != nil {
			t.Fatal(err)
		}
	}
	x.secureWire(t).login("line1", "c")
}

// secureWire is a client of secure WebSocket.
func (x *transports) secureWire(t testing.TB) *wire {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}, TLSClientConfig: x.pair.Client()}
	ws, _, err := dialer.DialContext(t.Context(), x.wss, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, newWebSocketConn(ws, &socket{Conn: ws.NetConn()}))
}

// TestNotReadingWhenTheBrokerStops: a client that reads nothing does not hold up the end.
func TestNotReadingWhenTheBrokerStops(t *testing.T) {
	x := startTransports(t)
	_, plain := web(t, x.ws)
	for i, w := range []*wire{x.secureWire(t), plain} {
		w.login("line1", string(rune('a'+i)))
		w.subscribe(0, "plant/#")
	}
	for range 64 {
		x.publish(t, "line1", Message{Topic: "plant/a", Payload: make([]byte, 256<<10)})
	}
	x.stop()
	eventually(t, "the connections to end", func() bool { return x.openConnections() == 0 })
}
