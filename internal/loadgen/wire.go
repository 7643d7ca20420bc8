package loadgen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Protocol is what a server speaks.
type Protocol string

// The protocols.
const (
	MQTT311 Protocol = "mqtt3"
	MQTT5   Protocol = "mqtt5"
	NATS    Protocol = "nats"
)

// Server is where to connect and as whom.
type Server struct {
	Protocol Protocol
	Address  string      // host:port
	TLS      *tls.Config // nil: plain TCP
	User     string      // "": no login
	Password string
}

// kind is what one frame from a server means to a client.
type kind byte

const (
	kindOther    kind = iota // nothing to do
	kindMessage              // a message for a subscriber
	kindAck                  // PUBACK, and PUBCOMP: a message has arrived
	kindReceived             // PUBREC
	kindRelease              // PUBREL
	kindAccepted             // CONNACK, SUBACK, +OK or PONG: what was asked for is done
	kindPing                 // to be answered
)

// frame is one frame, decoded. Payload points into the read buffer.
type frame struct {
	kind     kind
	qos      byte
	again    bool // DUP of a message, session present of an acceptance
	id       uint16
	payload  []byte
	inflight int // of an acceptance: how many messages the server takes unacknowledged; 0: it did not say
}

// wire is the codec of one protocol. None of its methods keeps anything.
type wire interface {
	// next decodes the first frame of buf and returns its length, 0 where buf holds less than a frame.
	next(buf []byte, f *frame) (int, error)
	hello(buf []byte, s *Server, id string, clean bool) []byte
	subscribe(buf []byte, filters []string, qos byte) []byte
	// message appends a message whose payload is zero. It returns where in buf the packet id
	// (-1 for none) and the payload are.
	message(buf []byte, topic string, size int, qos byte) (out []byte, idAt, payloadAt int)
	// answer appends what f asks for, if anything.
	answer(buf []byte, f *frame) []byte
	bye(buf []byte) []byte
	topic(publisher, n int) string
	// everything is the filter that matches each topic of topic.
	everything() string
}

func wireOf(p Protocol) (wire, error) {
	switch p {
	case MQTT311:
		return mqtt{version: 4}, nil
	case MQTT5:
		return mqtt{version: 5}, nil
	case NATS:
		return nats{}, nil
	}
	return nil, fmt.Errorf("cannot speak protocol %q: it is mqtt3, mqtt5 or nats", p)
}

// errRefused is an answer that ends a connection.
var errRefused = errors.New("the server refused")

// link is one connection and its read buffer.
type link struct {
	net.Conn
	wire       wire
	buf        []byte
	head, tail int
	inflight   int  // what the server takes unacknowledged; 0: it did not say
	present    bool // the server still had the session
}

// The read buffers: large for who receives, small for who only gets acknowledgements.
const (
	wideBuffer   = 128 << 10
	narrowBuffer = 4 << 10
)

func newLink(c net.Conn, w wire, buffer int) *link {
	return &link{Conn: c, wire: w, buf: make([]byte, buffer)}
}

// next decodes one frame that has been read; false where fill must come first.
func (l *link) next(f *frame) (bool, error) {
	n, err := l.wire.next(l.buf[l.head:l.tail], f)
	l.head += n
	return n > 0, err
}

// fill reads once. The frames decoded before it are gone.
func (l *link) fill() error {
	rest := l.tail - l.head
	if rest == len(l.buf) {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	copy(l.buf, l.buf[l.head:l.tail])
	l.head, l.tail = 0, rest
	n, err := l.Read(l.buf[l.tail:])
	l.tail += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// accepted waits until the server has accepted what was asked for. What a subscriber gets
// before that stays in the buffer, if it came in the same read.
func (l *link) accepted() error {
	var f frame
	for {
		ok, err := l.next(&f)
		switch {
		case err != nil:
			return err
		case !ok:
			if err := l.fill(); err != nil {
				return err
			}
		case f.kind == kindAccepted:
			l.inflight, l.present = max(l.inflight, f.inflight), f.again
			return nil
		case f.kind == kindMessage:
			return errors.New("cannot subscribe: a message came before the answer")
		}
	}
}

// connectLimit is how long a connection and its handshake may take.
const connectLimit = 30 * time.Second

// login sends CONNECT and waits for the answer.
func (l *link) login(s *Server, id string, clean bool) error {
	if err := l.SetDeadline(time.Now().Add(connectLimit)); err != nil {
		return err
	}
	if _, err := l.Write(l.wire.hello(nil, s, id, clean)); err != nil {
		return err
	}
	if err := l.accepted(); err != nil {
		return err
	}
	return l.SetDeadline(time.Time{})
}

// subscribe asks for the filters and waits for the answer.
func (l *link) subscribe(filters []string, qos byte) error {
	if err := l.SetDeadline(time.Now().Add(connectLimit)); err != nil {
		return err
	}
	if _, err := l.Write(l.wire.subscribe(nil, filters, qos)); err != nil {
		return err
	}
	if err := l.accepted(); err != nil {
		return err
	}
	return l.SetDeadline(time.Time{})
}

// leave says goodbye and closes.
func (l *link) leave() error {
	err := l.SetWriteDeadline(time.Now().Add(time.Second))
	if bye := l.wire.bye(nil); len(bye) > 0 && err == nil {
		_, err = l.Write(bye)
	}
	return errors.Join(err, l.Close())
}
