package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Why a connection ends, beside the codes of the codec. A client of MQTT 5 is told the code.
var (
	errAdministrative  = packets.ErrAdministrativeAction
	errTakenOver       = packets.ErrSessionTakenOver
	errShutdown        = packets.ErrServerShuttingDown
	errKeepAlive       = packets.ErrKeepAliveTimeout
	errBadLogin        = packets.ErrBadUsernameOrPassword
	errTooManySessions = packets.ErrQuotaExceeded
	errClientLeft      = errors.New("the client has disconnected") // by a DISCONNECT packet
)

// panicError is a panic in a connection's goroutine.
type panicError struct{ value, stack string }

func (e *panicError) Error() string { return "panic: " + e.value }

func stack() string { return string(debug.Stack()) }

// farewell bounds how long the last packets to a client may take.
const farewell = time.Second

// conn is one network connection. Its reader runs serve and owns it; while there is more to
// write than the socket takes at once there is a writer too (writer.go). Who else wants it to
// end calls stop.
type conn struct {
	b   *Broker
	net net.Conn
	raw syscall.RawConn // nil where only package net can write
	in  *reader

	ended sync.Once
	over  chan struct{} // closed by stop
	cause error         // why; valid when over is closed
	done  chan struct{} // closed when the session is free for another connection

	// set while connecting, then constant
	version         byte
	resumed         bool
	user            string
	client          string
	session         *session // nil until accepted
	credential      string   // the hash that let it in
	keepAlive       time.Duration
	maxPacket       int    // the largest packet that the client takes; 0: any
	window          int    // the most QoS 1 and 2 messages that the client takes unacknowledged
	problems        bool   // the client wants to know reasons
	receive         int    // the most that it may send unacknowledged; 0: as many as it likes (MQTT 3)
	assigned        bool   // the broker chose the client id
	aliasesOut      uint16 // the most aliases that the client takes
	serverKeepAlive bool   // the keep-alive is ours
	former          *will  // of the session that a clean start has ended
	welcomed        bool   // CONNACK has said yes

	// of the reader
	will       *will
	left       bool      // by DISCONNECT, so that there is no will
	heard      time.Time // when the last packet came
	fan        *fanout   // what is routed, and who is to be flushed
	topics     map[string]*topicEntry
	aliases    map[uint16]string
	aliasBytes int

	out  outgoingBytes // session.mu guards it
	park *parking      // publishes that wait for the disk; nil for none, the reader's
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{
		out: outgoingBytes{subacks: 1}, // CONNACK
		b:   b, net: nc, raw: rawOf(nc), in: newReader(nc, &b.stats.bytesReceived),
		over: make(chan struct{}), done: make(chan struct{}),
	}
	c.in.budget, c.in.refresh = c.largeBody, c.largeBodyRead
	return c
}

// logger is made when it is needed: an idle connection has none.
func (c *conn) logger() *slog.Logger {
	l := c.b.log.With("remote", c.net.RemoteAddr().String())
	if c.user == "" && c.client == "" {
		return l
	}
	return l.With("identity", logged(c.user), "client", logged(c.client))
}

// stop ends the connection; the first cause counts.
func (c *conn) stop(cause error) {
	c.ended.Do(func() {
		c.cause = cause
		close(c.over)
		c.unblock()
	})
}

// life is the time of a connection as a context.
type life struct{ *conn }

var _ context.Context = life{}

func (l life) Deadline() (time.Time, bool) { return time.Time{}, false }
func (l life) Done() <-chan struct{}       { return l.over }
func (l life) Value(any) any               { return nil }

func (l life) Err() error {
	if l.isOver() {
		return context.Canceled
	}
	return nil
}

func (c *conn) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// serve is the life of a connection. Ctx bounds the log-in only: when the broker stops, it
// stops each connection. The log-in has a goroutine of its own: the other then lives with a
// small stack.
func (c *conn) serve(ctx context.Context) {
	if err := guard(func() error { return c.connect(ctx) }); err != nil {
		c.stop(err)
		c.end()
		return
	}
	go func() {
		c.stop(guard(c.read))
		c.end()
	}()
}

// setDeadlines sets deadlines, unless the connection is ending, which sets its own.
func (c *conn) setDeadlines(set func(time.Time) error, t time.Time) error {
	err := set(t)
	if c.isOver() {
		c.unblock() // it may have come before
	}
	return err
}

// unblock lets reads that wait fail at once, and writes soon.
func (c *conn) unblock() {
	now := time.Now()
	if err := errors.Join(c.net.SetReadDeadline(now), c.net.SetWriteDeadline(now.Add(farewell))); err != nil && !errors.Is(err, net.ErrClosed) {
		c.logger().Debug("cannot set a deadline", "error", err)
	}
}

// read handles packets until one ends the connection.
func (c *conn) read() error {
	if err := c.keepAlives(); err != nil {
		return err
	}
	for {
		if c.in.idle() {
			if err := c.await(); err != nil {
				return err
			}
		}
		first, body, err := c.in.packet(c.b.limits.PacketBytes)
		if err != nil {
			return c.readError(err)
		}
		if err := c.handle(first, body); err != nil {
			return err
		}
	}
}

// await hands on what was caused by the packets before. The time for the next one begins.
func (c *conn) await() error {
	if c.fan != nil {
		c.fan.flush()
		c.fan.free()
		c.fan = nil
	}
	if c.isOver() {
		return c.cause
	}
	c.heard = time.Now()
	if c.raw == nil && c.keepAlive > 0 {
		return c.setDeadlines(c.net.SetReadDeadline, c.heard.Add(c.keepAlive*3/2))
	}
	return nil
}

// late is called when a socket's read deadline has passed. It is set anew if the client has
// been heard of since it was set, so that it needs not be set for each packet. (WebSocket does
// not go on after a deadline: there it is.)
func (c *conn) late() bool {
	due := c.heard.Add(c.keepAlive * 3 / 2)
	return !c.isOver() && time.Now().Before(due) && c.setDeadlines(c.net.SetReadDeadline, due) == nil
}

// bodyLimit is how long a large packet may take that has begun.
const bodyLimit = 30 * time.Second

// largeBody grants the memory for one large packet, from what all such packets may have. Those
// of clients that are not logged in have a small budget of their own.
func (c *conn) largeBody(n int) (back func(), err error) {
	budget := c.b.bodies
	if c.session == nil {
		budget = c.b.connects
	}
	if c.fan != nil {
		c.fan.flush()
	}
	if !budget.TryAcquire(int64(n)) {
		if err := budget.Acquire(life{c}, int64(n)); err != nil {
			return nil, c.cause
		}
	}
	back = func() { budget.Release(int64(n)) }
	if c.session == nil {
		return back, nil // the connect timeout is in force
	}
	if err := c.setDeadlines(c.net.SetReadDeadline, time.Now().Add(bodyLimit)); err != nil {
		back()
		return nil, err
	}
	return back, nil
}

// largeBodyRead puts the keep-alive in force again.
func (c *conn) largeBodyRead() error {
	if c.session == nil {
		return nil
	}
	return c.keepAlives()
}

// keepAlives has the deadline watch over the keep-alive: one and a half times it is allowed
// between two packets (MQTT 5.0, 3.1.2.10).
func (c *conn) keepAlives() error {
	c.heard = time.Now()
	if c.keepAlive == 0 {
		return c.setDeadlines(c.net.SetReadDeadline, time.Time{})
	}
	if c.raw != nil {
		c.in.late = c.late
	}
	return c.setDeadlines(c.net.SetReadDeadline, c.heard.Add(c.keepAlive*3/2))
}

func (c *conn) readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.isOver() {
		return errKeepAlive
	}
	return err // stop keeps the first cause
}

// fanout returns what the packet in hand is routed with.
func (c *conn) fanout() *fanout {
	if c.fan == nil {
		c.fan = newFanout()
	}
	return c.fan
}

func (c *conn) handle(first byte, body []byte) error {
	switch first >> 4 {
	case packets.Publish:
		return c.publish(first, body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return c.acknowledge(first>>4, body)
	case packets.Pingreq:
		if len(body) > 0 {
			return packets.ErrMalformedPacket
		}
		return c.reply(c.fanout(), 0, []byte{packets.Pingresp << 4, 0})
	case packets.Connect:
		return packets.ErrProtocolViolationSecondConnect
	case packets.Subscribe, packets.Unsubscribe, packets.Disconnect:
	default: // what only servers send, and AUTH, which no login here uses
		return packets.ErrProtocolViolation
	}
	return aside(func() error { return c.control(first, body) })
}

// aside runs what is rare and deep on a stack of its own, and waits for it: an idle
// connection's goroutine then keeps to the smallest stack, half of what it has else.
func aside(run func() error) error {
	done := make(chan error, 1)
	go func() { done <- guard(run) }()
	return <-done
}

// control handles what is neither a message nor an acknowledgement.
func (c *conn) control(first byte, body []byte) error {
	pk, err := c.decode(first, body)
	if err != nil {
		return err
	}
	switch pk.FixedHeader.Type {
	case packets.Subscribe:
		return c.subscribe(pk)
	case packets.Unsubscribe:
		return c.unsubscribe(pk)
	default:
		return c.disconnect(pk, body)
	}
}

// disconnect handles the client's farewell (MQTT 5.0, 3.14).
func (c *conn) disconnect(pk packets.Packet, body []byte) error {
	if pk.Properties.SessionExpiryIntervalFlag {
		c.b.mu.Lock()
		violation := c.session.expiry == 0 && pk.Properties.SessionExpiryInterval != 0
		if !violation {
			c.session.expiry = pk.Properties.SessionExpiryInterval
		}
		c.b.mu.Unlock()
		if violation {
			return packets.ErrProtocolViolationZeroNonZeroExpiry
		}
	}
	c.left = len(body) == 0 || body[0] == packets.CodeDisconnect.Code // any other leaves the will in force [MQTT-3.1.2-8]
	return errClientLeft
}
