package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// The pauses after a failed accept (out of file descriptors, for one); they double.
const (
	firstAcceptPause = 10 * time.Millisecond
	lastAcceptPause  = time.Second
)

// accept serves one listener until ctx ends.
func (b *Broker) accept(ctx context.Context, l net.Listener) error {
	pause := firstAcceptPause
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = firstAcceptPause
			b.admit(ctx, nc)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return spec.Errorf(spec.Internal, "cannot accept on %s: %w", l.Addr(), err)
		}
		b.log.Warn("cannot accept a connection", "address", l.Addr().String(), "error", err, "retry_in", pause.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastAcceptPause)
	}
}

// admit starts a connection's goroutine, or closes the connection where there are too many.
func (b *Broker) admit(ctx context.Context, nc net.Conn) {
	c := newConn(b, nc)
	b.connsMu.Lock()
	n, ended := len(b.conns), b.conns == nil
	if !ended && n < b.limits.Connections {
		b.conns[c] = struct{}{}
		b.connections.Add(1)
		b.connsMu.Unlock()
		go c.serve(ctx)
		return
	}
	b.connsMu.Unlock()
	if !ended {
		b.stats.refused.Add(1)
		b.log.Warn("connection refused: too many", "remote", nc.RemoteAddr().String(), "limit", b.limits.Connections)
	}
	if err := nc.Close(); err != nil {
		b.log.Debug("cannot close a connection", "error", err)
	}
}

// openConnections counts network connections, with or without a session.
func (b *Broker) openConnections() int {
	b.connsMu.Lock()
	defer b.connsMu.Unlock()
	return len(b.conns)
}

// forget takes a connection out that has ended.
func (b *Broker) forget(c *conn) {
	defer b.connections.Done()
	b.connsMu.Lock()
	defer b.connsMu.Unlock()
	delete(b.conns, c)
}

// housekeep ends expired sessions, sends delayed wills, and publishes $SYS, until ctx ends.
func (b *Broker) housekeep(ctx context.Context) {
	const (
		everySecond = time.Second
		sysEvery    = 10 // seconds, as Mosquitto has it
	)
	tick := time.NewTicker(everySecond)
	defer tick.Stop()
	started := time.Now()
	for n := 0; ; n++ {
		if n%sysEvery == 0 {
			b.publishSys(ctx, time.Since(started))
			b.expireRetained(time.Now())
			b.expireQueues(time.Now())
		}
		b.sweep()
		for _, w := range b.expire(time.Now()) { // a full subscriber holds up its will only; Run waits for them
			b.connections.Go(func() { b.publishWill(ctx, w, patient) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// publishSys publishes the broker's own figures, to whom the policy lets read $SYS.
func (b *Broker) publishSys(ctx context.Context, up time.Duration) {
	s := b.Stats()
	for topic, value := range map[string]int64{
		"clients/connected":       s.Clients,
		"clients/total":           s.ClientsTotal,
		"messages/received":       s.MessagesReceived,
		"messages/sent":           s.MessagesSent,
		"messages/dropped":        s.MessagesDropped,
		"bytes/received":          s.BytesReceived,
		"bytes/sent":              s.BytesSent,
		"subscriptions/count":     s.Subscriptions,
		"retained messages/count": s.Retained,
		"messages/queued":         s.MessagesQueued,
		"bytes/queued":            s.BytesQueued,
		"uptime":                  int64(up / time.Second),
	} {
		m := &message{Message: Message{Topic: "$SYS/broker/" + topic, Payload: strconv.AppendInt(nil, value, 10), Retain: true}}
		if _, err := b.route(ctx, m, lossy); err != nil {
			b.log.Debug("cannot publish $SYS", "error", err)
			return
		}
	}
}

// guard runs one goroutine of a connection: a panic becomes its error.
func guard(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = newPanic(p)
		}
	}()
	return run()
}

func newPanic(p any) error { return &panicError{value: fmt.Sprint(p), stack: stack()} }
