// Package mapper connects machines to the broker. A supervisor moves what runs to what is
// desired, resource by resource; each protocol is a Driver in a folder of its own and knows
// nothing of topics, rules or other protocols.
package mapper

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/millwright/millwright/internal/commissioning/protocol"
)

// Message is what crosses the bus.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// Bus is a mapper's way to its broker. As is the identity that acts, "service:<id>"; the
// broker refuses what that identity may not do.
type Bus interface {
	// Publish returns when the broker has taken the message over (acknowledged, for QoS 1 and 2).
	// Kind Unavailable (and an ended deadline) means that it was not, and the mapper tries the same message
	// again; any other error that it is refused for good, and it is dropped and counted.
	Publish(ctx context.Context, as string, m Message) error
	// Subscribe delivers matching messages in order from one goroutine; while deliver
	// blocks, messages queue up and, past a bound, hold back their publisher. Retained
	// messages come first. Stop returns after the last deliver has returned.
	Subscribe(ctx context.Context, as, filter string, qos byte, deliver func(Message)) (stop func(), err error)
}

// Driver is a protocol that this build can run. The gateway lists them.
type Driver struct {
	Spec protocol.Spec
	// New checks one connection's resolved properties and keeps them. No I/O.
	New func(Config) (Connector, error)
}

// Config is what a driver gets for one connection.
type Config struct {
	// Name is the connection's, unique in the instance ("press::plc"): for sessions that need one.
	Name       string
	Properties json.RawMessage // the resolved "connection" object of the Connection resource
	Log        *slog.Logger    // carries the service and resource
	// ClientCertificate returns the data directory's one OPC UA application instance
	// certificate, made on first use.
	ClientCertificate func() (tls.Certificate, error)
}

// Connector opens sessions with one machine. The supervisor owns it: at most one session
// at a time, redialled with back-off whenever the last one ended.
type Connector interface {
	// Point parses and checks an endpoint's address object. No I/O.
	Point(op Operation, address json.RawMessage) (Point, error)
	// Dial opens a session and returns once the machine has accepted it (log-in included).
	// It returns soon after ctx ends, whatever the machine does.
	Dial(ctx context.Context) (Session, error)
}

// Operation is what an endpoint does.
type Operation string

// The operations.
const (
	OpSubscribe Operation = "subscribe"
	OpRead      Operation = "read"
	OpWrite     Operation = "write"
)

// Point is a parsed address, as its driver needs it. Points are compared by nobody.
type Point interface {
	// Schedule says how a subscribe endpoint is polled; the zero Schedule means that the
	// machine pushes (Session.Subscribe).
	Schedule() Schedule
}

// Passthrough is what a Point implements if its writes may take any bytes. A request that is no JSON then
// reaches Session.Write with a nil Value and its bytes in Raw, instead of being refused.
type Passthrough interface {
	Passthrough() bool
}

// Callable is what a Point implements if a write may go without a value: a method without arguments. A
// request that has an id alone then reaches Session.Write with a nil Value, instead of being refused.
type Callable interface {
	Callable() bool
}

// PubSub is what a Session implements if mappings can listen and publish on its connection
// (an external MQTT broker).
type PubSub interface {
	// Publish returns when the far broker has taken the message over (acknowledged, for QoS 1 and 2).
	Publish(ctx context.Context, m Message) error
	// SubscribeTopic delivers as Bus.Subscribe does. While deliver blocks, it holds back that
	// session's other topics too. Stop returns after the last deliver has returned.
	SubscribeTopic(ctx context.Context, filter string, qos byte, deliver func(Message)) (stop func(), err error)
}

// Resumer is what a Session implements if the machine may have kept subscriptions of an earlier session.
type Resumer interface {
	// Resumed is called once, when everything that is wanted has been asked for. It ends what the machine
	// still keeps besides.
	Resumed(ctx context.Context) error
}

// Schedule is either an interval or a cron expression (5 fields, or 6 with seconds first).
type Schedule struct {
	Interval time.Duration
	Cron     string
}

// Session is one open link. Its methods may be called from several goroutines. A method
// that fails because the link broke also ends the session: Done is closed and Err says why.
type Session interface {
	// Read returns one Result for each point, in order. It joins and splits requests as the
	// protocol and the machine's limits allow; one bad point never fails its siblings.
	Read(ctx context.Context, points []Point) []Result
	// Write sends one value and returns what the machine answered (a method's result, else the value written).
	Write(ctx context.Context, p Point, v Payload) Result
	// Subscribe starts pushed subscriptions and returns one error for each, nil if it
	// stands. Only for points with the zero Schedule. Others are not touched.
	Subscribe(ctx context.Context, subs []Subscription) []error
	// Unsubscribe ends subscriptions by id. Nothing is delivered for them after it returns.
	Unsubscribe(ctx context.Context, ids []string) error
	// Done is closed when the link is lost or Close was called.
	Done() <-chan struct{}
	// Err says why Done is closed; nil before, and after Close.
	Err() error
	// Close ends the session. It may be called twice and never waits for a hanging machine.
	Close() error
}

// Subscription is one pushed endpoint. Deliver is called in order and does not block for long.
type Subscription struct {
	ID      string
	Point   Point
	Deliver func(Result)
}

// Result is one value from a machine, or why there is none.
type Result struct {
	Time  time.Time // the source's timestamp where it has one, else when it was read
	Value any       // bool, int64, uint64, float64, string, []any, map[string]any or nil; NaN is float64 too
	Raw   []byte    // when not nil: published unchanged instead of Value
	Err   error     // the value is bad; its text is published once, on the transition
}

// Payload is what a write request carries: Value as parsed from JSON (numbers as
// json.Number), and the request's bytes for protocols that pass them through.
type Payload struct {
	Value any
	Raw   []byte
}
