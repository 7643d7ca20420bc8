package broker

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// pongWait is how long the answer to a ping may take to be written. It does not wait for a
// client that reads nothing: that one's writer has a deadline of its own.
const pongWait = 10 * time.Second

// webSocketConn is an MQTT connection within a WebSocket. Deadlines work as on any net.Conn,
// but for one thing: once a read has failed, by its deadline too, all later ones fail.
type webSocketConn struct {
	ws     *websocket.Conn
	socket *socket

	message io.Reader // the message that is being read; of the reader, as is failed
	failed  error

	writing sync.Mutex // the library allows one writer at a time
}

var _ WebSocketConn = (*webSocketConn)(nil)

func newWebSocketConn(ws *websocket.Conn, s *socket) *webSocketConn {
	c := &webSocketConn{ws: ws, socket: s}
	ws.SetReadLimit(webSocketMessage)
	ws.SetPingHandler(c.pong)
	return c
}

// pong answers a ping, unless a write to a client that does not read is in its way.
func (c *webSocketConn) pong(data string) error {
	err := c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(pongWait))
	if errors.Is(err, websocket.ErrCloseSent) || isTimeout(err) {
		return nil
	}
	return err
}

// Read returns bytes of binary messages. It is for one goroutine at a time. io.EOF is a
// client that has gone, with a close frame or without.
func (c *webSocketConn) Read(p []byte) (int, error) {
	for c.failed == nil && len(p) > 0 {
		if c.message == nil {
			c.failed = c.nextMessage()
			continue
		}
		n, err := c.message.Read(p)
		switch {
		case errors.Is(err, io.EOF):
			c.message = nil
		case err != nil:
			c.failed = readFailure(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.failed
}

// nextMessage waits for a message. MQTT travels in binary ones; any other ends the connection [MQTT-6.0.0-1].
func (c *webSocketConn) nextMessage() error {
	kind, message, err := c.ws.NextReader()
	if err != nil {
		return readFailure(err)
	}
	if kind != websocket.BinaryMessage {
		c.farewell(websocket.CloseUnsupportedData, "MQTT travels in binary frames")
		return errors.New("a WebSocket text frame came, where MQTT travels in binary ones")
	}
	c.message = message
	return nil
}

// readFailure says what the library's errors mean to a reader of a net.Conn.
func readFailure(err error) error {
	switch {
	case websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway,
		websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure):
		return io.EOF
	case isTimeout(err):
		return os.ErrDeadlineExceeded
	}
	return err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Write sends p as one message. After a failed write, by its deadline too, all later ones fail.
func (c *webSocketConn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		if isTimeout(err) {
			err = fmt.Errorf("cannot write a WebSocket message: %w", os.ErrDeadlineExceeded)
		}
		return 0, err
	}
	return len(p), nil
}

// Close says farewell, which waits at most a second for a write that is under way, and closes the connection.
func (c *webSocketConn) Close() error { return c.CloseWith(websocket.CloseNormalClosure, "") }

// CloseWith does so with a code and a reason.
func (c *webSocketConn) CloseWith(code int, reason string) error {
	if c.farewell(code, reason) {
		return c.socket.Close()
	}
	return c.socket.abandon()
}

// farewell sends a close frame, unless one was sent, and reports whether the client can have got it.
func (c *webSocketConn) farewell(code int, reason string) bool {
	err := c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(farewell))
	return err == nil || errors.Is(err, websocket.ErrCloseSent)
}

func (c *webSocketConn) LocalAddr() net.Addr  { return c.socket.LocalAddr() }
func (c *webSocketConn) RemoteAddr() net.Addr { return c.socket.RemoteAddr() }

func (c *webSocketConn) SetDeadline(t time.Time) error {
	return cmp.Or(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *webSocketConn) SetReadDeadline(t time.Time) error  { return c.socket.SetReadDeadline(t) }
func (c *webSocketConn) SetWriteDeadline(t time.Time) error { return c.socket.limitWrites(t) }

// socket keeps apart the write deadline that the connection's owner sets, at any time, and
// those that the library sets before each write: none for a message, so that the owner's is
// in force, and a short one of its own for a control frame.
type socket struct {
	net.Conn

	mu      sync.Mutex
	owners  time.Time
	control bool // the last write that began was a control frame's
}

// SetWriteDeadline is the library's, called when it has the right to write.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control = !t.IsZero()
	if !s.control {
		t = s.owners
	}
	return s.Conn.SetWriteDeadline(t)
}

// limitWrites is the owner's. It acts on a message that is being written.
func (s *socket) limitWrites(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners = t
	if s.control {
		return nil // the next message's write begins with it
	}
	return s.Conn.SetWriteDeadline(t)
}

// abandon closes the connection without TLS's farewell, for which a client that does not read
// would be waited for.
func (s *socket) abandon() error {
	if secure, ok := s.Conn.(*tls.Conn); ok {
		return secure.NetConn().Close()
	}
	return s.Close()
}
