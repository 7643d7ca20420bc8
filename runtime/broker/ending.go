package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// end winds the connection up, after its last packet. A panic in one step leaves out the rest of
// that one only.
func (c *conn) end() {
	var farewell error
	var due *will
	c.contain(c.finish)
	c.contain(func() { farewell = c.sayFarewell() })
	c.contain(func() { c.report(farewell) })
	c.contain(c.close)
	c.contain(func() { due = c.part() })
	close(c.done)
	c.contain(func() { c.publishWill(due) })
	c.b.forget(c)
}

// contain keeps a panic from ending more than a step of the connection's end.
func (c *conn) contain(step func()) {
	err := guard(func() error { step(); return nil })
	var panicked *panicError
	if errors.As(err, &panicked) {
		c.b.stats.panics.Add(1)
		c.logger().Error("a panic at a connection's end; others are not affected", "panic", panicked.value, "stack", panicked.stack)
	}
}

// finish hands on what the last packets have caused, and waits for the writer.
func (c *conn) finish() {
	if c.session != nil {
		defer c.out.writer.Wait()
		defer func() {
			c.session.mu.Lock()
			defer c.session.mu.Unlock()
			c.out.closed = true
		}()
	}
	if c.fan != nil {
		c.fan.flush()
	}
}

func (c *conn) close() {
	defer c.in.end()
	if err := c.net.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.logger().Debug("cannot close a connection", "error", err)
	}
}

// part frees the session, and returns the will that is to be published now.
func (c *conn) part() (due *will) {
	if c.park != nil {
		c.park.end()
	}
	if c.fan != nil {
		c.fan.free()
	}
	if c.session == nil {
		return nil
	}
	if c.left {
		c.will = nil
	}
	return c.b.detach(c, c.will)
}

// publishWill publishes the will, if there is one. A broker that stops waits for nobody in process.
func (c *conn) publishWill(w *will) {
	if w == nil {
		return
	}
	how := patient
	if errors.Is(c.cause, errShutdown) {
		how = brisk
	}
	ctx, cancel := context.WithTimeout(context.Background(), stallLimit)
	defer cancel()
	c.b.publishWill(ctx, w, how)
}

// report logs and counts why the connection ended.
func (c *conn) report(farewell error) {
	cause := c.cause
	var panicked *panicError
	var code packets.Code
	switch {
	case errors.As(cause, &panicked):
		c.b.stats.panics.Add(1)
		c.logger().Error("connection ended by a panic; others are not affected", "panic", panicked.value, "stack", panicked.stack)
	case errors.As(cause, &code) && (code.Code == packets.ErrMalformedPacket.Code || code.Code == packets.ErrProtocolViolation.Code):
		c.b.stats.panics.Add(1)
		c.logger().Warn("connection ended by a malformed packet", "error", cause)
	case errors.Is(cause, errClientLeft), errors.Is(cause, errShutdown), errors.Is(cause, io.EOF):
		c.logger().Debug("connection ended", "reason", cause)
	default:
		c.logger().Info("connection ended", "reason", cause, "farewell", farewell)
	}
}

// sayFarewell sends what waits to be written and tells a client of MQTT 5 why the broker
// ends the connection. No writer runs any more.
func (c *conn) sayFarewell() error {
	var code packets.Code
	var panicked *panicError
	if errors.As(c.cause, &panicked) {
		code = packets.ErrUnspecifiedError
	} else if !errors.As(c.cause, &code) {
		return nil
	}
	if !c.welcomed || c.out.broken || c.version < 5 || code.Code < packets.ErrUnspecifiedError.Code {
		return nil // CONNACK has told who is not let in
	}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: code.Code}
	data, err := c.withReason(pk, code.Reason)
	if err != nil {
		return err
	}
	if err := c.net.SetWriteDeadline(time.Now().Add(farewell)); err != nil {
		return err
	}
	return c.writeAll(append(c.takeRest(), data...))
}

// takeRest takes what is encoded and not written.
func (c *conn) takeRest() (rest []byte) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	for !c.out.empty() {
		rest = append(rest, c.out.take()...)
	}
	return rest
}
