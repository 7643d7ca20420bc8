package broker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
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

// conn is one network connection. Two goroutines own it: the reader, which runs serve, and
// the writer. Who else wants it to end calls stop.
type conn struct {
	b   *Broker
	net net.Conn
	in  *bufio.Reader
	log *slog.Logger
	ctx context.Context // ends with the connection; its cause says why
	end context.CancelCauseFunc

	// set while connecting, then constant
	version    byte
	session    *session // nil until accepted
	credential string   // the hash that let it in
	keepAlive  time.Duration
	maxPacket  uint32 // the largest packet that the client takes; 0: any
	window     int    // the most QoS 1 and 2 messages that the client takes unacknowledged
	resumed    bool
	assigned   string // client id that the broker chose
	former     *will  // of the session that a clean start has ended

	// of the reader
	aliases map[uint16]string
	will    *will
	left    bool // by DISCONNECT, so that there is no will

	mu      sync.Mutex       // held by the writer while it encodes, so that a reader that holds it can put an answer before what it causes
	answers []packets.Packet // of the reader to the writer
	wake    chan struct{}    // holds a token when the writer should look again
	drained chan struct{}    // holds a token when the writer has taken the answers
	done    chan struct{}    // closed when the session is free for another connection
}

func newConn(ctx context.Context, b *Broker, nc net.Conn) *conn {
	c := &conn{
		b: b, net: nc, in: bufio.NewReaderSize(counted{nc, b}, 4096),
		log:  b.log.With("remote", nc.RemoteAddr().String()),
		wake: make(chan struct{}, 1), drained: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancelCause(ctx)
	return c
}

// counted counts the bytes that come in.
type counted struct {
	io.Reader
	b *Broker
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.b.stats.bytesReceived.Add(int64(n))
	return n, err
}

// stop ends the connection; the first cause counts.
func (c *conn) stop(cause error) { c.end(cause) }

// serve is the life of a connection.
func (c *conn) serve() {
	unblock := context.AfterFunc(c.ctx, c.unblock)
	defer unblock()
	var writer sync.WaitGroup
	err := guard(func() error {
		if err := c.connect(); err != nil {
			return err
		}
		writer.Go(func() { c.stop(guard(c.write)) })
		return c.read()
	})
	c.stop(err)
	writer.Wait()
	c.report(context.Cause(c.ctx))
	if err := c.net.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.log.Debug("cannot close a connection", "error", err)
	}
	c.part()
}

// part frees the session and publishes the will.
func (c *conn) part() {
	var due *will
	if c.session != nil {
		w := c.will
		if c.left {
			w = nil
		}
		due = c.b.detach(c, w)
	}
	close(c.done)
	if due != nil && !errors.Is(context.Cause(c.ctx), context.Canceled) {
		c.b.publishWill(context.WithoutCancel(c.ctx), due)
	}
}

// setDeadlines sets deadlines, unless the connection is ending, which sets its own.
func (c *conn) setDeadlines(set func(time.Time) error, t time.Time) error {
	err := set(t)
	if c.ctx.Err() != nil {
		c.unblock() // it may have come before
	}
	return err
}

// unblock lets reads that wait fail at once, and writes soon.
func (c *conn) unblock() {
	now := time.Now()
	if err := errors.Join(c.net.SetReadDeadline(now), c.net.SetWriteDeadline(now.Add(farewell))); err != nil {
		c.log.Debug("cannot set a deadline", "error", err)
	}
}

// report logs and counts why the connection ended.
func (c *conn) report(cause error) {
	var panicked *panicError
	var code packets.Code
	switch {
	case errors.As(cause, &panicked):
		c.b.stats.panics.Add(1)
		c.log.Error("connection ended by a panic; others are not affected", "panic", panicked.value, "stack", panicked.stack)
	case errors.As(cause, &code) && (code.Code == packets.ErrMalformedPacket.Code || code.Code == packets.ErrProtocolViolation.Code):
		c.b.stats.panics.Add(1)
		c.log.Warn("connection ended by a malformed packet", "error", cause)
	case errors.Is(cause, errClientLeft), errors.Is(cause, context.Canceled), errors.Is(cause, io.EOF):
		c.log.Debug("connection ended", "reason", cause)
	default:
		c.log.Info("connection ended", "reason", cause)
	}
}

// read handles packets until one ends the connection.
func (c *conn) read() error {
	for {
		if err := c.awaitPacket(); err != nil {
			return err
		}
		pk, err := c.readPacket(c.b.limits.PacketBytes)
		if err != nil {
			return c.readError(err)
		}
		if err := c.handle(pk); err != nil {
			return err
		}
	}
}

// awaitPacket sets the deadline for the next packet: one and a half times the keep-alive.
func (c *conn) awaitPacket() error {
	if c.in.Buffered() > 0 {
		return nil
	}
	var deadline time.Time
	if c.keepAlive > 0 {
		deadline = time.Now().Add(c.keepAlive * 3 / 2)
	}
	return c.setDeadlines(c.net.SetReadDeadline, deadline)
}

func (c *conn) readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if cause := context.Cause(c.ctx); cause != nil {
			return cause
		}
		return errKeepAlive
	}
	return err
}

func (c *conn) handle(pk packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return c.publish(pk)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return c.acknowledge(pk)
	case packets.Subscribe:
		return c.subscribe(pk)
	case packets.Unsubscribe:
		return c.unsubscribe(pk)
	case packets.Pingreq:
		return c.answer(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingresp}})
	case packets.Disconnect:
		return c.disconnect(pk)
	case packets.Connect:
		return packets.ErrProtocolViolationSecondConnect
	default:
		return packets.ErrProtocolViolation
	}
}

// maxAnswers is how many answers may wait for a client that does not read them.
const maxAnswers = 1024

// answer gives a packet to the writer. It waits while too many wait already.
func (c *conn) answer(pk packets.Packet) error {
	if err := c.awaitRoom(); err != nil {
		return err
	}
	c.mu.Lock()
	c.answers = append(c.answers, pk)
	c.mu.Unlock()
	c.signal()
	return nil
}

// awaitRoom returns when one more answer may wait. Only the reader adds any.
func (c *conn) awaitRoom() error {
	for {
		c.mu.Lock()
		n := len(c.answers)
		c.mu.Unlock()
		if n < maxAnswers {
			return nil
		}
		select {
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-c.drained:
		}
	}
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// disconnect handles the client's farewell (MQTT 5.0, 3.14).
func (c *conn) disconnect(pk packets.Packet) error {
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
	c.left = pk.ReasonCode != packets.CodeDisconnectWillMessage.Code
	return errClientLeft
}

// write sends answers and messages until the connection ends, then says farewell.
func (c *conn) write() error {
	var buf bytes.Buffer
	for {
		if err := c.encodeNext(&buf); err != nil {
			return err
		}
		if buf.Len() > 0 {
			if err := c.flush(&buf); err != nil {
				return err
			}
			continue
		}
		select {
		case <-c.ctx.Done():
			return c.sayFarewell(&buf)
		case <-c.wake:
		case <-c.session.queue.ready:
		}
	}
}

// writeLimit is how long one write to a client that does not read may take.
const writeLimit = 30 * time.Second

// keptBuffer is the largest buffer that an idle connection keeps.
const keptBuffer = 16 << 10

func (c *conn) flush(buf *bytes.Buffer) error {
	if err := c.setDeadlines(c.net.SetWriteDeadline, time.Now().Add(writeLimit)); err != nil {
		return err
	}
	n, err := c.net.Write(buf.Bytes())
	c.b.stats.bytesSent.Add(int64(n))
	buf.Reset()
	if buf.Cap() > keptBuffer {
		*buf = bytes.Buffer{}
	}
	return err
}

// sayFarewell tells a client of MQTT 5 why the broker ends the connection.
func (c *conn) sayFarewell(buf *bytes.Buffer) error {
	cause := context.Cause(c.ctx)
	if errors.Is(cause, context.Canceled) {
		cause = errShutdown
	}
	var code packets.Code
	var panicked *panicError
	if errors.As(cause, &panicked) {
		code = packets.ErrUnspecifiedError
	} else if !errors.As(cause, &code) {
		return cause
	}
	if c.version < 5 || code.Code < packets.ErrUnspecifiedError.Code {
		return cause
	}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: code.Code}
	pk.Properties.ReasonString = code.Reason
	if err := c.encode(buf, pk); err != nil {
		return err
	}
	return errors.Join(cause, c.flush(buf))
}
