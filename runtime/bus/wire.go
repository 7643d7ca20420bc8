package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// keepAlive is how often, at least, each side hears of the other; a link that is silent for
	// one and a half of it is lost.
	keepAlive    = 10 * time.Second
	loginTimeout = 15 * time.Second
	// sessionExpiry is how long, in seconds, the broker keeps a session whose link is lost;
	// leftExpiry, one whose subscription has ended: its mapping may only be starting anew.
	sessionExpiry = 3600
	leftExpiry    = 300
	// receiveMaximum is how many messages of QoS 1 and 2 the broker sends ahead.
	receiveMaximum = 500
	bufferBytes    = 64 << 10
)

// wire is one connection to the broker, logged in.
type wire struct {
	conn    net.Conn
	in      *bufio.Reader
	resumed bool   // the broker has the session
	window  int    // how many messages of QoS 1 and 2 it takes at once
	largest uint32 // packet that it takes; 0: any

	mu  sync.Mutex
	out *bufio.Writer
}

// refusedError is a log-in, subscription or connection that the broker ended by a reason code.
type refusedError struct {
	what string
	code byte
	why  string
}

func (e *refusedError) Error() string { return fmt.Sprintf("the broker %s: %s", e.what, e.why) }

// login dials and sends CONNECT. With resume the client goes on with the session that it has, if
// any; expiry is how many seconds the broker keeps this one when the link is lost.
func (b *Bus) login(ctx context.Context, as, client string, resume bool, expiry uint32) (*wire, error) {
	secret, err := b.o.Secret()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	conn, err := b.o.Dial(ctx)
	if err != nil {
		return nil, spec.Errorf(spec.Unavailable, "cannot reach the broker: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // it is of no use any more
	defer stop()
	w := &wire{conn: conn, in: bufio.NewReaderSize(conn, bufferBytes), out: bufio.NewWriterSize(conn, bufferBytes), window: 65535}
	if err := w.connect(as, secret, client, resume, expiry); err != nil {
		return nil, errors.Join(err, ctx.Err(), w.close())
	}
	return w, nil
}

func (w *wire) connect(as, secret, client string, resume bool, expiry uint32) error {
	most := uint16(receiveMaximum)
	p := packets.NewControlPacket(packets.CONNECT)
	c := p.Content.(*packets.Connect) //nolint:forcetypeassert // NewControlPacket makes it
	c.ClientID, c.CleanStart, c.KeepAlive = client, !resume, uint16(keepAlive/time.Second)
	c.Username, c.UsernameFlag, c.Password, c.PasswordFlag = as, true, []byte(secret), true
	c.Properties.SessionExpiryInterval, c.Properties.ReceiveMaximum = &expiry, &most
	if err := w.send(p); err != nil {
		return err
	}
	answer, err := packets.ReadPacket(w.in)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot log in at the broker: %w", err)
	}
	ack, ok := answer.Content.(*packets.Connack)
	if !ok {
		return spec.Errorf(spec.Unavailable, "cannot log in at the broker: it answers with %s", answer.PacketType())
	}
	if ack.ReasonCode >= 0x80 {
		return &refusedError{"refused the log-in as " + as, ack.ReasonCode, ack.Reason()}
	}
	w.resumed = ack.SessionPresent
	if ack.Properties.ReceiveMaximum != nil {
		w.window = int(*ack.Properties.ReceiveMaximum)
	}
	if ack.Properties.MaximumPacketSize != nil {
		w.largest = *ack.Properties.MaximumPacketSize
	}
	return nil
}

// send writes packets and flushes.
func (w *wire) send(all ...*packets.ControlPacket) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(2 * keepAlive)); err != nil {
		return err
	}
	for _, p := range all {
		if _, err := p.WriteTo(w.out); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// receive reads one packet; a broker that says nothing for too long is an error. DISCONNECT is one too.
func (w *wire) receive() (*packets.ControlPacket, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(keepAlive + keepAlive/2)); err != nil {
		return nil, err
	}
	p, err := packets.ReadPacket(w.in)
	if err != nil {
		return nil, err
	}
	if d, ok := p.Content.(*packets.Disconnect); ok {
		return nil, &refusedError{"hung up", d.ReasonCode, d.Reason()}
	}
	return p, nil
}

// ping sends PINGREQ from time to time, until ctx ends or the link is lost.
func (w *wire) ping(ctx context.Context) {
	tick := time.NewTicker(keepAlive / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if w.send(packets.NewControlPacket(packets.PINGREQ)) != nil {
				return // the reader sees it too
			}
		}
	}
}

func (w *wire) close() error { return w.conn.Close() }

// leave says good-bye; expiry, where it is not nil, is how long the session is kept from now.
func (w *wire) leave(expiry *uint32) {
	p := packets.NewControlPacket(packets.DISCONNECT)
	p.Content.(*packets.Disconnect).Properties.SessionExpiryInterval = expiry //nolint:forcetypeassert // NewControlPacket makes it
	_ = w.send(p)                                                             // the link may be gone
	_ = w.close()
}

// ack answers a message or its release.
func ack(kind byte, id uint16) *packets.ControlPacket {
	p := packets.NewControlPacket(kind)
	switch c := p.Content.(type) {
	case *packets.Puback:
		c.PacketID = id
	case *packets.Pubrec:
		c.PacketID = id
	case *packets.Pubrel:
		c.PacketID = id
	case *packets.Pubcomp:
		c.PacketID = id
	}
	return p
}

// backoff is the pauses between attempts.
type backoff struct{ next time.Duration }

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// wait sleeps, longer each time, and reports false when ctx ends.
func (p *backoff) wait(ctx context.Context) bool {
	p.next = min(max(2*p.next, firstPause), lastPause)
	t := time.NewTimer(p.next/2 + rand.N(p.next/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
