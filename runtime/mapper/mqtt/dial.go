package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/millwright/millwright/runtime/mapper"
)

// client is an open connection in one version of the protocol.
type client interface {
	// publish returns when the broker has acknowledged (QoS 1 and 2) or the packet is sent.
	publish(ctx context.Context, m mapper.Message) error
	// subscribe returns one error for each filter, nil if it stands.
	subscribe(ctx context.Context, filters []filter) []error
	unsubscribe(ctx context.Context, filters []string) error
	// hangUp says good-bye and ends the client's goroutines; it may wait for both.
	hangUp()
}

// filter is one subscription of a client.
type filter struct {
	text string
	qos  byte
	id   int // subscription identifier: comes back with each message, where broker and version can
}

// Dial opens a connection and logs in.
func (x *connector) Dial(ctx context.Context) (mapper.Session, error) {
	transport, err := x.open(ctx)
	if err != nil {
		return nil, err
	}
	conn := &framedConn{Conn: transport}
	s := newSession(x.log, conn, x.far)
	// A cancelled dial must not wait for the broker, whatever the library is doing.
	unhook := context.AfterFunc(ctx, func() { closeQuietly(conn) })
	open := x.login5
	if x.cfg.ProtocolVersion == 4 {
		open = x.login3
	}
	s.client, err = open(ctx, conn, s)
	close(s.opened)
	if !unhook() && err == nil {
		s.Close() //nolint:errcheck // it always answers nil
		err = ctx.Err()
	}
	if err != nil {
		closeQuietly(conn)
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return nil, fmt.Errorf("cannot log in to %s: %w", x.target.Host, err)
	}
	return s, nil
}

// open dials the transport.
func (x *connector) open(ctx context.Context) (net.Conn, error) {
	switch {
	case x.webSocket():
		return x.openWebSocket(ctx)
	case x.tls != nil:
		d := tls.Dialer{Config: x.tls}
		return d.DialContext(ctx, "tcp", x.target.Host)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", x.target.Host)
}

func (x *connector) openWebSocket(ctx context.Context) (net.Conn, error) {
	d := websocket.Dialer{TLSClientConfig: x.tls, Subprotocols: []string{"mqtt"}}
	ws, res, err := d.DialContext(ctx, x.target.String(), nil)
	if err != nil {
		if res != nil {
			return nil, fmt.Errorf("%w (HTTP status %s)", err, res.Status)
		}
		return nil, err
	}
	return &webSocketConn{Conn: ws.NetConn(), ws: ws}, nil
}

// webSocketConn carries a byte stream in binary web-socket messages.
type webSocketConn struct {
	net.Conn // for addresses, deadlines
	ws       *websocket.Conn
	message  io.Reader // what is left of the message at hand
	writing  sync.Mutex
}

func (c *webSocketConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			_, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			c.message = r
		}
		n, err := c.message.Read(p)
		if errors.Is(err, io.EOF) {
			c.message = nil
			err = nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (c *webSocketConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// closeQuietly closes a connection that is of no use any more, with whatever error.
func closeQuietly(c io.Closer) {
	c.Close() //nolint:errcheck // nothing could be done about it
}
