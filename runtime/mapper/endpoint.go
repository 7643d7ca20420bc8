package mapper

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/rules"
)

// endpoint is the part that all endpoints share: their place on a connection, rules and outbox.
type endpoint struct {
	*cell
	cfg          commissioning.Endpoint
	op           Operation
	conn         *connection
	point        Point
	cadence      cadence // nil unless polled
	subscription string  // id of the pushed subscription: another one after each start
	log          *slog.Logger

	// What is wrong: with the pushed subscription, the last value, the rules.
	subFault, valueFault, ruleFault *fault
	chain                           *rules.Chain // nil without rules
	out                             *outbox
	requests                        *requester // nil for subscribe
	ctx                             context.Context
	cancel                          context.CancelFunc
	ruleError                       atomic.Bool // the rules failed on the message at hand

	mu        sync.Mutex // orders values
	halted    bool
	bad       bool // the last value was bad
	delivered bool // a good value was published since the last loss
}

var _ unit = (*endpoint)(nil)

func newEndpoint(m *Mapper, r spec.Resource, starts uint64, cfg commissioning.Endpoint, conn *connection, log *slog.Logger) (*endpoint, error) {
	e := &endpoint{
		cell: newCell(m, r, starts, spec.StatePending), cfg: cfg, conn: conn, log: log,
		subscription: fmt.Sprintf("%s#%d", r.Key(), starts),
	}
	e.topic = cfg.Topic
	e.subFault, e.valueFault, e.ruleFault = e.newFault(), e.newFault(), e.newFault()
	address, err := e.address()
	if err != nil {
		return nil, err
	}
	if panicked := guard(func() { e.point, err = conn.connector.Point(e.op, address) }); panicked != nil {
		err = panicked
	}
	if err != nil {
		return nil, err
	}
	if when := e.point.Schedule(); e.op == OpSubscribe && when != (Schedule{}) {
		if e.cadence, err = newCadence(when); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// address returns what the endpoint does, and where, as the driver gets it.
func (e *endpoint) address() (json.RawMessage, error) {
	var address map[string]any
	switch {
	case e.cfg.Subscribe != nil:
		e.op, address = OpSubscribe, e.cfg.Subscribe
	case e.cfg.Read != nil:
		e.op, address = OpRead, e.cfg.Read
	case e.cfg.Write != nil:
		e.op, address = OpWrite, e.cfg.Write
	default:
		return nil, spec.Errorf(spec.Invalid, "cannot run an endpoint without subscribe, read or write")
	}
	return json.Marshal(address)
}

func (e *endpoint) polled() bool { return e.cadence != nil }

func (e *endpoint) start(ctx context.Context) {
	e.ctx, e.cancel = context.WithCancel(ctx)
	e.out = newOutbox(ctx, e.cell, way{publish: e.publish})
	if err := e.compile(); err != nil {
		e.ruleFault.raise(err.Error())
		return
	}
	if e.op == OpSubscribe {
		e.conn.attach(e)
		return
	}
	e.requests = newRequester(e)
	e.requests.start(e.ctx)
}

// compile starts the rule chain.
func (e *endpoint) compile() error {
	if len(e.cfg.Rules) == 0 {
		return nil
	}
	emit := func(o rules.Output) { e.emit(o.Payload) }
	if e.op != OpSubscribe {
		emit = func(o rules.Output) { e.requests.ruled(o) }
	}
	chain, err := rules.Compile(e.cfg.Rules, rules.Options{Emit: emit, Fail: e.ruleFailed})
	e.chain = chain
	return err
}

func (e *endpoint) publish(ctx context.Context, msg Message) error {
	return e.m.opts.Bus.Publish(ctx, "service:"+e.resource.Service, msg)
}

func (e *endpoint) halt() {
	if e.op == OpSubscribe {
		e.conn.detach(e)
	}
	e.mu.Lock()
	e.halted = true
	e.mu.Unlock()
}

// finish lets the rules and the outbox empty themselves until ctx ends.
func (e *endpoint) finish(ctx context.Context) {
	giveUp := context.AfterFunc(ctx, e.cancel)
	defer giveUp()
	if e.requests != nil {
		e.requests.finish()
	}
	if e.chain != nil {
		e.chain.Close()
	}
	if e.requests != nil && ctx.Err() != nil { // what was refused for lack of time is still to be told
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.Background(), replyTime)
		defer cancel()
	}
	e.out.finish(ctx)
	e.cancel()
}

func (e *endpoint) status() spec.ResourceStatus {
	s := e.cell.status()
	why, opening, since := e.conn.down()
	if since.After(s.Since) {
		s.Since = since
	}
	if why == "" || s.State == spec.StateUnknown {
		return s
	}
	s.State, s.OnTarget = spec.StateFailed, false
	if opening {
		s.State = spec.StatePending
	}
	s.Error = why
	return s
}

// joined notes that the endpoint's subscription stands on a link, or that its polls are scheduled there.
func (e *endpoint) joined(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.halted && l.ctx.Err() == nil {
		e.ready()
	}
}

// ready notes that values come. The caller holds the lock.
func (e *endpoint) ready() {
	e.subFault.clear()
	e.is(spec.StateEnabled)
}

// refused notes that the machine does not accept the subscription.
func (e *endpoint) refused(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.halted {
		e.deliverError(e.subFault, Result{Time: time.Now(), Err: fmt.Errorf("cannot subscribe: %w", err)})
	}
}

// lost notes that the connection is gone: who got values is told once that no more are coming.
func (e *endpoint) lost(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.halted {
		return
	}
	e.subFault.clear() // from now on the connection's own error is shown
	e.valueFault.clear()
	e.is(spec.StatePending)
	if e.delivered && !e.bad {
		e.errors.Add(1)
		e.out.push(e.message(encodeError(time.Now(), text)))
	}
	e.remember(text)
	e.bad, e.delivered = false, false
}

// deliver takes one result from the machine. Results of a link that has ended are late and void.
func (e *endpoint) deliver(l *link, r Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.halted || l.ctx.Err() != nil {
		return
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	if r.Err != nil {
		e.deliverError(e.valueFault, r)
		return
	}
	e.bad, e.delivered = false, true
	e.valueFault.clear()
	e.ready()
	e.value()
	switch {
	case e.chain != nil:
		e.process(endpointMessage(e.cfg.Topic, r))
	case r.Raw != nil:
		e.emit(r.Raw)
	default:
		e.emit(encodeValue(r.Time, r.Value))
	}
}

// deliverError publishes a bad value when the one before was not bad too. The rules are skipped.
func (e *endpoint) deliverError(f *fault, r Result) {
	text := r.Err.Error()
	e.errors.Add(1)
	f.raise(text)
	if e.bad {
		return
	}
	e.bad = true
	e.out.push(e.message(encodeError(r.Time, text)))
}

// process runs a message through the rules; whether they failed is known when it returns.
func (e *endpoint) process(msg rules.Message) {
	e.ruleError.Store(false)
	e.chain.Process(msg)
	if !e.ruleError.Load() {
		e.ruleFault.clear()
	}
}

func (e *endpoint) ruleFailed(f rules.Failure) {
	e.ruleError.Store(true)
	e.errors.Add(1)
	e.dropped.Add(1)
	e.ruleFault.raise(f.Error())
}

func (e *endpoint) emit(payload []byte) { e.out.push(e.message(payload)) }

func (e *endpoint) message(payload []byte) Message {
	return Message{Topic: e.cfg.Topic, Payload: payload, QoS: byte(e.cfg.QoS), Retain: e.cfg.Retain}
}

// endpointMessage is what a result looks like to rules.
func endpointMessage(topic string, r Result) rules.Message {
	if r.Raw != nil {
		return rules.Message{Topic: topic, Payload: r.Raw}
	}
	message := map[string]any{"timestamp": r.Time.UnixMilli(), "value": r.Value}
	if note := clean(&message); note != "" {
		message["error"] = "the value is " + note
	}
	return rules.Message{Topic: topic, Value: message, HasValue: true}
}

// clean replaces a value that JSON cannot hold by null and bytes by base64, and says what was lost.
func clean(message *map[string]any) string {
	switch v := (*message)["value"].(type) {
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return ""
		}
	case bool, int64, uint64, string, nil:
		return ""
	}
	e := encoder{}
	e.value((*message)["value"])
	(*message)["value"] = decodeJSON(e.buf)
	return e.notes
}
