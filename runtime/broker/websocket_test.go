package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// listenOn has the plant serve one more listener, until stop or the test's end.
func (p *plant) listenOn(t testing.TB, l net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.accept(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(l.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// listenWeb adds a WebSocket listener and returns its address.
func (p *plant) listenWeb(t testing.TB) string {
	t.Helper()
	w := ListenWebSocket(listenTCP(t), p.limits, quietLog())
	p.listenOn(t, w)
	return "ws://" + w.Addr().String()
}

// web is a client's WebSocket, and a wire to speak MQTT over it.
func web(t testing.TB, url string) (*websocket.Conn, *wire) {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	ws, answer, err := dialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Header.Get("Sec-Websocket-Protocol"); got != "mqtt" { // [MQTT-6.0.0-4]
		t.Errorf("sub-protocol %q", got)
	}
	return ws, newWire(t, newWebSocketConn(ws, &socket{Conn: ws.NetConn()}))
}

func (w *wire) login(user, client string) {
	w.t.Helper()
	w.send(connectPacket(user, client))
	if ack := w.expect(packets.Connack); ack.ReasonCode != 0 {
		w.t.Fatalf("refused with %#x", ack.ReasonCode)
	}
}

// pair returns the broker's and the client's side of one WebSocket.
func pair(t testing.TB) (server net.Conn, client *websocket.Conn) {
	t.Helper()
	w := ListenWebSocket(listenTCP(t), Limits{}, quietLog())
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	client, _ = web(t, "ws://"+w.Addr().String())
	server, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server, client
}

func TestWebSocketCarriesMQTT(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	url := p.listenWeb(t)
	_, sub := web(t, url)
	sub.login("a", "sub")
	sub.subscribe(1, "x")
	_, pub := web(t, url+"/any/path?at=all")
	pub.login("a", "pub")
	large := strings.Repeat("x", 1<<20)
	pub.publish("x", large, 1, 1)
	pub.expect(packets.Puback)
	sub.expectMessage("x", large)
}

// TestWebSocketPacketsSpanAndShareFrames [MQTT-6.0.0-2].
func TestWebSocketPacketsSpanAndShareFrames(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	ws, w := web(t, p.listenWeb(t))
	var stream bytes.Buffer
	recorded := &wire{t: t, nc: recorder{&stream}, version: 5}
	recorded.send(connectPacket("a", "c"))
	for range 20 {
		recorded.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	}
	for _, b := range stream.Bytes()[:stream.Len()/2] {
		if err := ws.WriteMessage(websocket.BinaryMessage, []byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ws.WriteMessage(websocket.BinaryMessage, nil); err != nil { // an empty one means nothing
		t.Fatal(err)
	}
	fragments, err := ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fragments.Write(stream.Bytes()[stream.Len()/2:]); err != nil {
		t.Fatal(err)
	}
	if err := fragments.Close(); err != nil {
		t.Fatal(err)
	}
	w.expect(packets.Connack)
	for range 20 {
		w.expect(packets.Pingresp)
	}
}

// recorder is a connection that keeps what is written.
type recorder struct{ *bytes.Buffer }

func (recorder) Close() error                     { return nil }
func (recorder) LocalAddr() net.Addr              { return nil }
func (recorder) RemoteAddr() net.Addr             { return nil }
func (recorder) SetDeadline(time.Time) error      { return nil }
func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

// TestWebSocketHandshake holds [MQTT-6.0.0-3], [MQTT-6.0.0-4] and what RFC 6455 asks of a refusal.
func TestWebSocketHandshake(t *testing.T) {
	p := start(t, Limits{})
	address := strings.Replace(p.listenWeb(t), "ws:", "http:", 1)
	for name, c := range map[string]struct {
		change   func(http.Header)
		status   int
		protocol string
	}{
		"mqtt":              {func(http.Header) {}, 101, "mqtt"},
		"MQTT 3.1's":        {func(h http.Header) { h.Set("Sec-Websocket-Protocol", "mqttv3.1") }, 101, "mqttv3.1"},
		"one of several":    {func(h http.Header) { h.Set("Sec-Websocket-Protocol", "mqttv3.1, chat, mqtt") }, 101, "mqtt"},
		"in a second line":  {func(h http.Header) { h["Sec-Websocket-Protocol"] = []string{"chat", "mqtt"} }, 101, "mqtt"},
		"another origin":    {func(h http.Header) { h.Set("Origin", "https://elsewhere.example") }, 101, "mqtt"},
		"compression":       {func(h http.Header) { h.Set("Sec-Websocket-Extensions", "permessage-deflate") }, 101, "mqtt"},
		"no sub-protocol":   {func(h http.Header) { h.Del("Sec-Websocket-Protocol") }, 400, ""},
		"another's":         {func(h http.Header) { h.Set("Sec-Websocket-Protocol", "chat") }, 400, ""},
		"no upgrade":        {func(h http.Header) { h.Del("Upgrade") }, 426, ""},
		"another version":   {func(h http.Header) { h.Set("Sec-Websocket-Version", "8") }, 400, ""},
		"no key":            {func(h http.Header) { h.Del("Sec-Websocket-Key") }, 400, ""},
		"headers too large": {func(h http.Header) { h.Set("Cookie", strings.Repeat("x", 1<<20)) }, 431, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"mqtt"},
			}
			c.change(r.Header)
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if got := answer.Header.Get("Sec-Websocket-Protocol"); answer.StatusCode != c.status || got != c.protocol {
				t.Errorf("status %d, sub-protocol %q", answer.StatusCode, got)
			}
			if answer.StatusCode == 101 && answer.Header.Get("Sec-Websocket-Extensions") != "" {
				t.Error("an extension was agreed on")
			}
		})
	}
}

// TestWebSocketTextFrameEndsTheConnection [MQTT-6.0.0-1].
func TestWebSocketTextFrameEndsTheConnection(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	ws, w := web(t, p.listenWeb(t))
	w.login("a", "c")
	if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := ws.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseUnsupportedData) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the session to end", func() bool { return p.Stats().Clients == 0 })
}

// TestWebSocketProtocolErrors are answered with the code that RFC 6455 has for them.
func TestWebSocketProtocolErrors(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		code  int
	}{
		"not masked":            {[]byte{0x82, 1, 'x'}, websocket.CloseProtocolError},
		"a reserved bit":        {[]byte{0xc2, 0x81, 0, 0, 0, 0, 'x'}, websocket.CloseProtocolError},
		"an unknown opcode":     {[]byte{0x83, 0x81, 0, 0, 0, 0, 'x'}, websocket.CloseProtocolError},
		"continues nothing":     {[]byte{0x80, 0x81, 0, 0, 0, 0, 'x'}, websocket.CloseProtocolError},
		"a fragmented ping":     {[]byte{0x09, 0x80, 0, 0, 0, 0}, websocket.CloseProtocolError},
		"longer than a packet":  {[]byte{0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, websocket.CloseMessageTooBig},
		"closes without a code": {[]byte{0x88, 0x80, 0, 0, 0, 0}, websocket.CloseNoStatusReceived},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t)
			if _, err := client.NetConn().Write(c.frame); err != nil {
				t.Fatal(err)
			}
			for range 3 { // whoever asks again hears the same
				if _, err := server.Read(make([]byte, 10)); err == nil {
					t.Error("it was taken")
				}
			}
			if _, _, err := client.ReadMessage(); !websocket.IsCloseError(err, c.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestWebSocketPong: a ping is answered while the connection is idle, when the deadline of
// its last write is long past, and between the fragments of a message.
func TestWebSocketPong(t *testing.T) {
	server, client := pair(t)
	if err := server.SetWriteDeadline(time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(server, make([]byte, 2))
		read <- err
	}()
	pongs := make(chan string, 2)
	client.SetPongHandler(func(data string) error { pongs <- data; return nil })
	ended := make(chan error, 1)
	go func() {
		_, _, err := client.ReadMessage()
		ended <- err
	}()
	fragments := [][]byte{
		{0x89, 0x81, 0, 0, 0, 0, '1'}, // ping
		{0x02, 0x81, 0, 0, 0, 0, 'a'}, // the first part of a message
		{0x89, 0x81, 0, 0, 0, 0, '2'},
		{0x80, 0x81, 0, 0, 0, 0, 'b'}, // its end
	}
	for _, f := range fragments {
		if _, err := client.NetConn().Write(f); err != nil {
			t.Fatal(err)
		}
	}
	if first, second := <-pongs, <-pongs; first != "1" || second != "2" {
		t.Errorf("pongs %q, %q", first, second)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the client sees %v", err)
	}
}

// TestWebSocketDeadlines: a deadline in the past ends a read and a write that are waiting.
func TestWebSocketDeadlines(t *testing.T) {
	server, _ := pair(t) // the client reads nothing
	started, ended := make(chan struct{}, 2), make(chan error, 2)
	go func() {
		started <- struct{}{}
		_, err := server.Read(make([]byte, 1))
		ended <- err
	}()
	<-started
	if err := server.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if err := server.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	go func() {
		started <- struct{}{}
		for {
			if _, err := server.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}()
	<-started
	if err := server.SetWriteDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}

// TestWebSocketCloseIsBounded closes while a write to a client that does not read hangs.
func TestWebSocketCloseIsBounded(t *testing.T) {
	server, _ := pair(t)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := server.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the write has ended well")
	}
}

// TestWebSocketListenerCloses: nothing that was begun outlives the listener, and what Accept returned does.
func TestWebSocketListenerCloses(t *testing.T) {
	w := ListenWebSocket(listenTCP(t), Limits{}, quietLog())
	address := w.Addr().String()
	client, _ := web(t, "ws://"+address)
	server, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	unaccepted, _ := web(t, "ws://"+address) // nobody accepts it
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := w.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a connection without a request is still open")
	}
	if _, _, err := unaccepted.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the one in between sees %v", err)
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, m, err := client.ReadMessage(); err != nil || string(m) != "x" {
		t.Errorf("got %q, %v", m, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

// TestWebSocketBehindAnotherServer uses the handler form, beside other routes and over TLS.
func TestWebSocketBehindAnotherServer(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	w := NewWebSocket(&net.TCPAddr{}, Limits{}, quietLog())
	mux := http.NewServeMux()
	mux.Handle("/mqtt", w)
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	p.listenOn(t, w)
	trusting := server.Client().Transport.(*http.Transport).TLSClientConfig
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}, TLSClientConfig: &tls.Config{RootCAs: trusting.RootCAs}}
	ws, _, err := dialer.DialContext(t.Context(), strings.Replace(server.URL, "https", "wss", 1)+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newWire(t, newWebSocketConn(ws, &socket{Conn: ws.NetConn()}))
	c.login("a", "c")
	c.ping()
}

// TestWebSocketHandlerAfterClose answers as a server does that is shutting down.
func TestWebSocketHandlerAfterClose(t *testing.T) {
	w := NewWebSocket(&net.TCPAddr{}, Limits{}, quietLog())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/mqtt", nil))
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", answer.Code)
	}
}

// TestHandshakesMakeRoom: the oldest of too many goes when its share of time is over, not before.
func TestHandshakesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakes(2)
		var clients []net.Conn
		begun := time.Now()
		for range 4 {
			if !h.await(nil) {
				t.Fatal("no room")
			}
			server, client := net.Pipe()
			clients = append(clients, client)
			h.follow(server, http.StateNew)
		}
		if took := time.Since(begun); took != handshakeShare {
			t.Errorf("it took %s of the test's own time", took)
		}
		for _, c := range clients[:2] {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("an old one: %v", err)
			}
		}
		done := make(chan struct{})
		close(done)
		if h.await(done) {
			t.Error("there is room after the end")
		}
		for server := range h.of {
			h.follow(server, http.StateClosed)
		}
		if !h.await(nil) || h.queue.Len() != 0 {
			t.Error("closed ones count")
		}
	})
}

// TestWebSocketSlowHandshakesKeepNobodyOut: more silent connections than there may be.
func TestWebSocketSlowHandshakesKeepNobodyOut(t *testing.T) {
	p := start(t, Limits{Connections: 4}, identityOf("a", "rw #"))
	url := p.listenWeb(t)
	for range 6 {
		nc, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	_, w := web(t, url)
	w.login("a", "c")
}

// FuzzWebSocket throws bytes at an upgraded connection: whatever they do to it, others are
// served, and nothing is left over.
func FuzzWebSocket(f *testing.F) {
	f.Add([]byte{0x82, 0x82, 0, 0, 0, 0, 0xc0, 0}, false)                                                // PINGREQ
	f.Add([]byte{0x02, 0x81, 0, 0, 0, 0, 0xc0, 0x89, 0x80, 0, 0, 0, 0, 0x80, 0x81, 0, 0, 0, 0, 0}, true) // in two, a ping between them
	f.Add([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}, true)                                                     // text
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, true)          // 2^64-1 bytes
	f.Add([]byte{0x88, 0x82, 0, 0, 0, 0, 3, 0xe8}, true)                                                 // close
	f.Add([]byte{0x88, 0x81, 0, 0, 0, 0, 3}, false)                                                      // half a code
	f.Add([]byte{0x8a, 0xfe, 0xff, 0xff, 1, 2, 3, 4}, true)                                              // a pong of 64 KiB
	p := start(f, Limits{PacketBytes: 1 << 16}, identityOf("watcher", "rw watch"), identityOf("fuzz", "rw fuzz/#", "r #"))
	url := p.listenWeb(f)
	_, watcher := web(f, url)
	watcher.login("watcher", "w")
	watcher.subscribe(1, "watch")
	f.Fuzz(func(t *testing.T, data []byte, login bool) {
		watcher.t = t
		ws, w := web(t, url)
		if login {
			w.login("fuzz", "f")
		}
		received := make(chan struct{})
		raw := ws.NetConn().(*net.TCPConn)
		go func() {
			defer close(received)
			_, _ = io.Copy(io.Discard, raw) // to its end, whatever that is
		}()
		for rest := data; len(rest) > 0; { // in pieces as a network may cut them
			n := 1 + rand.N(len(rest))
			_, _ = raw.Write(rest[:n]) // fails where the broker has ended the connection in the middle
			rest = rest[n:]
		}
		_ = raw.CloseWrite() // likewise
		<-received
		p.publish(t, "watcher", Message{Topic: "watch", Payload: []byte("x"), QoS: 1})
		watcher.ack(packets.Puback, watcher.expectMessage("watch", "x").PacketID)
		eventually(t, "the session to end", func() bool {
			s := p.Stats()
			return s.Clients == 1 && s.Subscriptions == 1
		})
	})
}
