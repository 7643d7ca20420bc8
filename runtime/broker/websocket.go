package broker

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// The names that MQTT has among WebSocket sub-protocols: the standard's [MQTT-6.0.0-3], and
// the one that clients of MQTT 3.1 give.
var webSocketProtocols = []string{"mqtt", "mqttv3.1"}

const (
	// handshakeHeaderBytes is the largest request that asks for an upgrade: a browser's, with cookies.
	handshakeHeaderBytes = 16 << 10
	// webSocketReadBuffer is what each idle connection keeps; longer reads go past it.
	webSocketReadBuffer = 1 << 10
	// webSocketWriteBuffer is lent to a connection while it writes.
	webSocketWriteBuffer = 16 << 10
	// webSocketMessage is the longest message: the longest MQTT packet. Messages are passed
	// on as they come and never held whole.
	webSocketMessage = 256<<20 + 4
)

// WebSocket turns HTTP requests into MQTT connections (MQTT 5.0, 6; RFC 6455): one side is an
// http.Handler, for any path, the other a net.Listener for Broker.Run. A connection's Read
// returns the bytes of its binary messages, however MQTT packets lie in them [MQTT-6.0.0-2],
// and each Write is one message.
//
// A request may come from a page of any origin: nothing that a browser adds by itself, such as
// a cookie, counts here. Who connects must say a password or token in CONNECT, which a
// page of another origin does not know.
type WebSocket struct {
	addr     net.Addr
	log      *slog.Logger
	timeout  time.Duration
	upgrader websocket.Upgrader
	upgraded chan net.Conn
	pending  *handshakes
	serve    func() error // ends the server of ListenWebSocket; nil for a handler alone

	mu     sync.Mutex
	closed bool
	open   sync.WaitGroup // requests that are being upgraded; added to under mu
	done   chan struct{}  // closed by Close, or when there is nothing left to accept
	failed error          // why nothing is left to accept; set before done is closed
}

var (
	_ http.Handler = (*WebSocket)(nil)
	_ net.Listener = (*WebSocket)(nil)
)

// NewWebSocket makes the handler form, for a server that has other routes as well, and whose
// limits on requests hold. The address is what Addr returns. Of the limits, ConnectTimeout
// bounds the answer to a request.
func NewWebSocket(addr net.Addr, limits Limits, log *slog.Logger) *WebSocket {
	limits = limits.WithDefaults()
	w := &WebSocket{
		addr: addr, log: log, timeout: limits.ConnectTimeout,
		upgraded: make(chan net.Conn), done: make(chan struct{}),
		pending: newHandshakes(min(limits.Connections, maxHandshakes)),
	}
	w.upgrader = websocket.Upgrader{
		HandshakeTimeout: limits.ConnectTimeout,
		Subprotocols:     webSocketProtocols,
		ReadBufferSize:   webSocketReadBuffer,
		WriteBufferSize:  webSocketWriteBuffer,
		WriteBufferPool:  &sync.Pool{},
		CheckOrigin:      func(*http.Request) bool { return true }, // see the type's comment
		Error: func(rw http.ResponseWriter, _ *http.Request, status int, reason error) {
			rw.Header().Set("Sec-Websocket-Version", "13")
			http.Error(rw, reason.Error(), status)
		},
	}
	return w
}

// ListenWebSocket serves upgrades on a TCP or TLS listener, which it closes with its own Close.
// Limits.ConnectTimeout bounds each handshake, that of TLS included; unfinished ones are bounded
// in number, so that they hold up nobody but themselves.
func ListenWebSocket(inner net.Listener, limits Limits, log *slog.Logger) *WebSocket {
	w := NewWebSocket(inner.Addr(), limits, log)
	server := &http.Server{
		Handler:           w,
		ReadTimeout:       w.timeout,
		ReadHeaderTimeout: w.timeout,
		WriteTimeout:      w.timeout,
		MaxHeaderBytes:    handshakeHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelInfo), // failed TLS handshakes
		ConnState:         w.pending.follow,
	}
	server.SetKeepAlivesEnabled(false)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.shut(server.Serve(&gate{Listener: inner, pending: w.pending, log: log, done: w.done}))
	}()
	w.serve = sync.OnceValue(func() error {
		err := server.Close() // the inner listener and whoever is not upgraded yet
		<-ended
		return err
	})
	return w
}

// ServeHTTP upgrades a request and hands the connection to Accept, or answers why not.
func (w *WebSocket) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if !w.enter() {
		http.Error(rw, "the broker is shutting down", http.StatusServiceUnavailable)
		return
	}
	defer w.open.Done()
	conn := w.upgrade(rw, r, nil)
	if conn == nil {
		return
	}
	defer w.pending.remove(conn.socket.Conn)
	select {
	case w.upgraded <- conn:
	case <-w.done:
		if err := conn.CloseWith(websocket.CloseGoingAway, ""); err != nil {
			w.log.Debug("cannot close a connection", "error", err)
		}
	}
}

// WebSocketConn is a connection that ends with one of the codes of RFC 6455, 7.4, and a reason
// of 123 bytes at most. Close ends it with 1000.
type WebSocketConn interface {
	net.Conn
	CloseWith(code int, reason string) error
}

// Upgrade answers a request as ServeHTTP does, but the connection is the caller's, and Accept
// never returns it. A request for MQTT over WebSocket is answered after admit has returned; its
// error says why it cannot be served now. Nil: there is no connection.
func (w *WebSocket) Upgrade(rw http.ResponseWriter, r *http.Request, admit func() error) WebSocketConn {
	conn := w.upgrade(rw, r, admit)
	if conn == nil {
		return nil
	}
	w.pending.remove(conn.socket.Conn)
	return conn
}

func (w *WebSocket) upgrade(rw http.ResponseWriter, r *http.Request, admit func() error) *webSocketConn {
	if status, reason := checkUpgrade(r); status != http.StatusSwitchingProtocols {
		rw.Header().Set("Upgrade", "websocket")
		http.Error(rw, reason, status)
		return nil
	}
	if admit != nil {
		if err := admit(); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return nil
		}
	}
	h := &hijacker{ResponseWriter: rw}
	ws, err := w.upgrader.Upgrade(h, r, nil)
	if err != nil {
		if h.socket != nil {
			w.pending.remove(h.socket.Conn)
		}
		w.log.Debug("cannot upgrade to WebSocket", "remote", r.RemoteAddr, "error", err)
		return nil
	}
	return newWebSocketConn(ws, h.socket)
}

// checkUpgrade refuses what is no WebSocket, or none for MQTT [MQTT-6.0.0-3].
func checkUpgrade(r *http.Request) (status int, reason string) {
	const name = "Sec-Websocket-Protocol"
	if !websocket.IsWebSocketUpgrade(r) {
		return http.StatusUpgradeRequired, "this is MQTT over WebSocket: connect with an MQTT client"
	}
	r.Header.Set(name, strings.Join(r.Header.Values(name), ",")) // the library reads the first line only
	for _, offered := range websocket.Subprotocols(r) {
		if slices.Contains(webSocketProtocols, offered) {
			return http.StatusSwitchingProtocols, ""
		}
	}
	return http.StatusBadRequest, `this is MQTT over WebSocket: the client must offer the sub-protocol "mqtt"`
}

// enter counts a request in, unless the listener is closed.
func (w *WebSocket) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.open.Add(1)
	}
	return !w.closed
}

// Accept returns the next upgraded connection. After Close its error is net.ErrClosed.
func (w *WebSocket) Accept() (net.Conn, error) {
	select {
	case conn := <-w.upgraded:
		return conn, nil
	case <-w.done:
		return nil, w.failed
	}
}

// Addr returns the address that connections come in on.
func (w *WebSocket) Addr() net.Addr { return w.addr }

// Close ends the listener and the handshakes that are under way, and waits for their
// goroutines. Connections that Accept has returned are not touched.
func (w *WebSocket) Close() error {
	w.shut(net.ErrClosed)
	var err error
	if w.serve != nil {
		err = w.serve()
	}
	w.open.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// shut lets nothing more in; the first reason counts.
func (w *WebSocket) shut(reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	w.failed = reason
	if !errors.Is(reason, net.ErrClosed) {
		w.failed = fmt.Errorf("%w: %w", net.ErrClosed, reason)
	}
	close(w.done)
}

// hijacker lends the upgrade the connection behind a socket, which it keeps.
type hijacker struct {
	http.ResponseWriter
	socket *socket
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.socket = &socket{Conn: conn}
	return h.socket, rw, nil
}

// gate lets in as many unfinished handshakes as there may be.
type gate struct {
	net.Listener
	pending *handshakes
	log     *slog.Logger
	done    <-chan struct{}
}

// Accept fails only when the listener is closed; the server would take some errors for the end.
func (g *gate) Accept() (net.Conn, error) {
	for pause := firstAcceptPause; g.pending.await(g.done); pause = min(2*pause, lastAcceptPause) {
		conn, err := g.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		g.log.Warn("cannot accept a connection", "address", g.Addr().String(), "error", err, "retry_in", pause.String())
		select {
		case <-g.done:
		case <-time.After(pause):
		}
	}
	return nil, net.ErrClosed
}
