package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
)

const (
	// relayPath is where MQTT over WebSocket is found beside the API.
	relayPath = "/mqtt"
	// relayConnections is how many clients control relays at once: about 40 KB each, and their large buffers.
	relayConnections = 1000
	// relayDial bounds how long a client waits for the broker before it is told to come again.
	relayDial = 5 * time.Second
	// relayClientWrite is how long one write to a client that does not read may take, as at the broker.
	relayClientWrite = 30 * time.Second
	// relayBrokerWrite is the same towards the broker, which may hold a publisher back.
	relayBrokerWrite = 5 * time.Minute
	// relayBuffer is what an idle direction keeps; one in which much flows borrows relayLargeBuffer,
	// which takes what TLS gives at once.
	relayBuffer      = 2 << 10
	relayLargeBuffer = 16 << 10
)

// The codes that a relayed WebSocket ends with (RFC 6455, 7.4).
const (
	closeNormal        = 1000
	closeGoingAway     = 1001
	closeInternalError = 1011
)

// relay carries MQTT between WebSockets at control's listener and a broker in another process.
// It copies bytes, and reads from one side only what the other has taken: the broker's own
// limits, time-outs and back-pressure reach the client as if it were connected there. Who the
// client is it says to the broker alone.
type relay struct {
	socket *broker.WebSocket
	dial   func(ctx context.Context, client netip.AddrPort) (net.Conn, error)
	log    *slog.Logger
	free   chan struct{} // holds one for each client
	large  sync.Pool     // of *[relayLargeBuffer]byte
	away   atomic.Bool   // the broker did not answer the last time

	mu       sync.Mutex
	carried  map[*relayed]struct{} // nil when Run has ended
	carrying sync.WaitGroup        // added to under mu
}

func newRelay(limits broker.Limits, log *slog.Logger, dial func(context.Context, netip.AddrPort) (net.Conn, error)) *relay {
	return &relay{
		socket:  broker.NewWebSocket(nil, limits, log),
		dial:    dial,
		log:     log,
		free:    make(chan struct{}, min(limits.WithDefaults().Connections, relayConnections)),
		large:   sync.Pool{New: func() any { return new([relayLargeBuffer]byte) }},
		carried: map[*relayed]struct{}{},
	}
}

var (
	errRelayFull     = errors.New("too many clients are connected over WebSocket: try again later")
	errRelayNoBroker = errors.New("the broker does not answer: try again later")
	errRelayStopped  = errors.New("this part is stopping: try again later")
)

// ServeHTTP answers a request for MQTT over WebSocket once the broker has taken the connection,
// and 503 where it does not.
func (l *relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var upstream net.Conn
	client := l.socket.Upgrade(w, r, func() (err error) {
		if upstream, err = l.reach(r); err != nil {
			w.Header().Set("Retry-After", "5")
		}
		return err
	})
	switch {
	case upstream == nil:
	case client == nil:
		l.discard(upstream)
		<-l.free
	default:
		l.start(&relayed{relay: l, client: client, upstream: upstream})
	}
}

// discard closes a connection to the broker over which nothing was said.
func (l *relay) discard(upstream net.Conn) {
	if err := upstream.Close(); err != nil {
		l.log.Debug("cannot close a connection to the broker", "error", err)
	}
}

// reach takes a place for one more client, and connects to the broker.
func (l *relay) reach(r *http.Request) (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	default:
		l.log.Warn("a client was refused: too many are relayed", "remote", r.RemoteAddr, "limit", cap(l.free))
		return nil, errRelayFull
	}
	upstream, err := l.connect(r)
	if err != nil {
		<-l.free
	}
	return upstream, err
}

func (l *relay) connect(r *http.Request) (net.Conn, error) {
	if !l.running() {
		return nil, errRelayStopped
	}
	ctx, cancel := context.WithTimeout(r.Context(), relayDial)
	defer cancel()
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot tell from where the client comes: %w", err)
	}
	upstream, err := l.dial(ctx, address)
	switch {
	case err != nil && r.Context().Err() != nil: // the client has gone
		return nil, errRelayNoBroker
	case err != nil:
		if !l.away.Swap(true) {
			l.log.Warn("clients over WebSocket are turned away: the broker does not answer", "error", err)
		}
		return nil, errRelayNoBroker
	case l.away.Swap(false):
		l.log.Info("the broker answers again: clients over WebSocket are let in")
	}
	return upstream, nil
}

func (l *relay) running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.carried != nil
}

// start carries a client's bytes in goroutines of their own, unless Run has ended: the request's
// goroutine would keep the server's buffers.
func (l *relay) start(c *relayed) {
	l.mu.Lock()
	running := l.carried != nil
	if running {
		l.carried[c] = struct{}{}
		l.carrying.Add(1)
	}
	l.mu.Unlock()
	if !running {
		c.end(closeGoingAway, errRelayStopped)
		<-l.free
		return
	}
	go func() {
		defer l.carrying.Done()
		c.carry()
		l.mu.Lock()
		delete(l.carried, c)
		l.mu.Unlock()
		<-l.free
	}()
}

// Run has the relay work until ctx ends, and ends all connections then.
func (l *relay) Run(ctx context.Context) error {
	<-ctx.Done()
	l.mu.Lock()
	for c := range l.carried {
		l.carrying.Go(func() { c.end(closeGoingAway, errRelayStopped) })
	}
	l.carried = nil
	l.mu.Unlock()
	l.carrying.Wait()
	return nil
}

// relayed is one client.
type relayed struct {
	relay    *relay
	client   broker.WebSocketConn
	upstream net.Conn
	ended    sync.Once
}

// carry returns when both directions have ended, each of which ends the other.
func (c *relayed) carry() {
	up := make(chan struct{})
	go func() {
		defer close(up)
		c.copy(c.upstream, relayBrokerWrite, c.client)
	}()
	c.copy(c.client, relayClientWrite, c.upstream)
	<-up
}

// copy carries one direction. A client that goes takes the connection to the broker with it,
// which then publishes its will; when the broker ends that, the client has got its last words.
func (c *relayed) copy(to net.Conn, patience time.Duration, from net.Conn) {
	err := c.pump(to, patience, from)
	switch {
	case err == nil:
		c.end(0, nil)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(closeInternalError, spec.Errorf(spec.Unavailable, "the other side takes nothing for %s", patience))
	default:
		c.end(closeInternalError, err)
	}
}

// pump copies until from ends. A full read is one in which more may wait.
func (c *relayed) pump(to net.Conn, patience time.Duration, from net.Conn) error {
	var small [relayBuffer]byte
	buf := small[:]
	var lent *[relayLargeBuffer]byte
	giveBack := func() {
		if lent != nil {
			c.relay.large.Put(lent)
		}
		lent, buf = nil, small[:]
	}
	defer giveBack()
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := to.SetWriteDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case lent == nil && n == len(buf):
			lent = c.relay.large.Get().(*[relayLargeBuffer]byte) //nolint:forcetypeassert // it holds nothing else
			buf = lent[:]
		case lent != nil && n <= relayBuffer:
			giveBack()
		}
	}
}

// end closes both sides; the first cause counts. Code 0 is a connection that has ended by itself.
func (c *relayed) end(code int, cause error) {
	c.ended.Do(func() {
		reason := "the relay to the broker failed"
		switch {
		case code == 0:
			code, reason = closeNormal, ""
		case errors.Is(cause, errRelayStopped):
			reason = errRelayStopped.Error()
		}
		err := errors.Join(c.upstream.Close(), c.client.CloseWith(code, reason))
		c.relay.log.Debug("a relayed connection ended", "remote", c.client.RemoteAddr().String(), "cause", cause, "error", err)
	})
}
