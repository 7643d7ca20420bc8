package mapper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/rules"
)

const (
	// requestsWaiting is how many requests of one endpoint may wait for their turn.
	requestsWaiting = 100
	// requestTimeout bounds one request's time with the machine.
	requestTimeout = 60 * time.Second
	// replyTime is how long an endpoint that is stopped, and had no time for all requests, may take to say so.
	replyTime = time.Second
)

// request is one message on a read endpoint's /req or a write endpoint's /set.
type request struct {
	id      json.RawMessage // as it came; nil: none
	payload Payload         // of a write
	value   []byte          // of a write: the value alone, for rules
	err     error           // the message is no request
}

// requester answers the requests of one endpoint, one after the other.
type requester struct {
	e     *endpoint
	queue *queue[Message]
	subs  *subscriptions

	// Under e.mu: whether the rules run on a request, and what they made of it.
	inHand  bool
	outputs []rules.Output
}

func newRequester(e *endpoint) *requester {
	r := &requester{e: e}
	r.queue = newQueue(requestsWaiting, r.handle)
	return r
}

func (r *requester) start(ctx context.Context) {
	own, foreign := r.suffixes()
	r.subs = newSubscriptions(r.e.cell)
	r.subs.add(ctx, r.e.m.opts.Bus, r.e.cfg.Topic+own, byte(r.e.cfg.QoS), r.take)
	r.subs.add(ctx, r.e.m.opts.Bus, r.e.cfg.Topic+foreign, byte(r.e.cfg.QoS), r.misplaced)
	r.subs.stands()
}

func (r *requester) finish() {
	r.subs.stop()
	r.queue.close()
	r.queue.wait()
}

// suffixes returns how the topic of requests ends, and that of the other operation's.
func (r *requester) suffixes() (own, foreign string) {
	if r.e.op == OpWrite {
		return "/set", "/req"
	}
	return "/req", "/set"
}

// misplaced refuses a request for what the endpoint does not do, unless the topic is another endpoint's.
func (r *requester) misplaced(m Message) {
	own, foreign := r.suffixes()
	topic := r.e.cfg.Topic
	if r.e.m.shared(r.e, foreign) {
		return
	}
	r.refuse(parseRequest(m.Payload, r.e.op, accepted{bytes: true, nothing: true}).id, spec.Errorf(spec.Invalid,
		"cannot take a request on %q: this is a %s endpoint, its requests come on %q", topic+foreign, r.e.op, topic+own))
}

// shared reports whether another endpoint has e's topic for another operation, or has that topic's child as its own.
func (m *Mapper) shared(e *endpoint, child string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.units {
		o, ok := u.(*endpoint)
		if !ok || o == e {
			continue
		}
		if o.cfg.Topic == e.cfg.Topic && o.op != e.op && o.op != OpSubscribe || o.cfg.Topic == e.cfg.Topic+child {
			return true
		}
	}
	return false
}

// take queues a request, or refuses it when too many wait.
func (r *requester) take(m Message) {
	if r.queue.push(r.e.ctx, m, patience) {
		return
	}
	r.refuse(parseRequest(m.Payload, r.e.op, r.accepted()).id, spec.Errorf(spec.Unavailable,
		"cannot take the request: %d are waiting already", requestsWaiting))
}

// accepted is what a write may go with besides a JSON value.
type accepted struct {
	bytes   bool // that are no JSON
	nothing bool // an id alone
}

func (r *requester) accepted() accepted {
	p, passes := r.e.point.(Passthrough)
	c, calls := r.e.point.(Callable)
	return accepted{bytes: passes && p.Passthrough(), nothing: calls && c.Callable()}
}

// handle answers one request.
func (r *requester) handle(m Message) {
	req := parseRequest(m.Payload, r.e.op, r.accepted())
	switch {
	case req.err != nil:
		r.refuse(req.id, req.err)
	case r.e.op == OpRead:
		r.read(req)
	case m.Retain:
		r.refuse(req.id, spec.Errorf(spec.Forbidden, "cannot write a retained message: it would be written again at every start"))
	case r.e.m.opts.ReadOnly:
		r.refuse(req.id, fmt.Errorf("cannot write: %w", errReadOnly))
	case r.e.chain != nil:
		r.writeRuled(req)
	default:
		r.write(req.id, req.payload)
	}
}

func (r *requester) refuse(id json.RawMessage, err error) {
	r.e.errors.Add(1)
	r.e.remember(err.Error())
	r.reply(encodeRefusal(id, time.Now(), err.Error()))
}

func (r *requester) reply(payload []byte) {
	r.e.out.push(Message{Topic: r.e.cfg.Topic + "/res", Payload: payload, QoS: byte(r.e.cfg.QoS)})
}

// ask makes one call to the machine, bounded in number and time.
func (r *requester) ask(f func(context.Context, Session) Result) Result {
	if r.e.ctx.Err() != nil { // those that still wait must not hold up the stop
		return Result{Err: spec.Errorf(spec.Unavailable, "cannot serve the request: the endpoint is being stopped")}
	}
	l, err := r.e.conn.current()
	if err != nil {
		return Result{Err: err}
	}
	ctx, cancel := context.WithTimeout(r.e.ctx, requestTimeout)
	defer cancel()
	select {
	case r.e.conn.requests <- struct{}{}:
		defer func() { <-r.e.conn.requests }()
	case <-ctx.Done():
		return Result{Err: fmt.Errorf("connection %q is busy: %w", r.e.conn.resource.ID, ctx.Err())}
	}
	unlink := context.AfterFunc(l.ctx, cancel)
	defer unlink()
	res, err := call(ctx, r.e.m, func(ctx context.Context) Result { return f(ctx, l) }, nil)
	if err != nil {
		if ctx.Err() == nil {
			r.e.conn.broken(l, err)
		}
		return Result{Err: err}
	}
	if res.Time.IsZero() {
		res.Time = time.Now()
	}
	if res.Err == nil {
		r.e.value()
	}
	return res
}

func (r *requester) read(req request) {
	res := r.ask(func(ctx context.Context, s Session) Result {
		results := s.Read(ctx, []Point{r.e.point})
		if len(results) != 1 {
			return Result{Err: errors.New("the driver gave no answer")}
		}
		return results[0]
	})
	switch {
	case res.Err != nil:
		r.refuse(req.id, res.Err)
	case r.e.chain != nil:
		r.readRuled(req, res)
	default:
		r.reply(encodeResult(req.id, res.Time, resultJSON(res)))
	}
}

// readRuled runs the value that was read through the rules, as a subscribe endpoint does.
func (r *requester) readRuled(req request, res Result) {
	outputs, err := r.runRules(endpointMessage(r.e.cfg.Topic, res))
	if err != nil {
		r.refuse(req.id, err)
		return
	}
	r.reply(encodeResult(req.id, res.Time, messageValue(outputs[len(outputs)-1].Payload)))
}

func (r *requester) write(id json.RawMessage, p Payload) {
	res := r.ask(func(ctx context.Context, s Session) Result { return s.Write(ctx, r.e.point, p) })
	if res.Err != nil {
		r.refuse(id, res.Err)
		return
	}
	r.reply(encodeResult(id, res.Time, resultJSON(res)))
}

// writeRuled runs the request's value through the rules and writes what comes out.
func (r *requester) writeRuled(req request) {
	outputs, err := r.runRules(rules.Message{Topic: r.e.cfg.Topic + "/set", Payload: req.value})
	if err != nil {
		r.refuse(req.id, err)
		return
	}
	for _, o := range outputs {
		r.write(req.id, rulePayload(o.Payload))
	}
}

// runRules returns what the chain made of one message: one output or more, else an error.
func (r *requester) runRules(msg rules.Message) ([]rules.Output, error) {
	r.begin()
	r.e.process(msg)
	outputs := r.end()
	switch {
	case len(outputs) > 0:
		return outputs, nil
	case r.e.ruleError.Load():
		return nil, errors.New(r.e.ruleFault.why())
	}
	return nil, spec.Errorf(spec.Invalid, "the endpoint's rules dropped the message")
}

func (r *requester) begin() {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.inHand = true
}

func (r *requester) end() []rules.Output {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	outputs := r.outputs
	r.inHand, r.outputs = false, nil
	return outputs
}

// ruled takes an output of the chain: of the request at hand, or of a burst whose time is up, which
// is written without an answer to any one request.
func (r *requester) ruled(o rules.Output) {
	if !r.keep(o) && r.e.op == OpWrite {
		r.write(nil, rulePayload(o.Payload))
	}
}

func (r *requester) keep(o rules.Output) bool {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.inHand {
		r.outputs = append(r.outputs, o)
	}
	return r.inHand
}

// resultJSON returns a result's value as JSON: bytes that are no JSON as base64 text.
func resultJSON(r Result) []byte {
	if r.Raw == nil {
		return encodeJSON(r.Value)
	}
	if json.Valid(r.Raw) {
		return r.Raw
	}
	return encodeJSON(r.Raw)
}

// messageValue takes the value out of a message that rules emitted: of an object its "value", else all of it.
func messageValue(payload []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(payload, &object) == nil {
		if value, ok := object["value"]; ok {
			return value
		}
	}
	if json.Valid(payload) {
		return payload
	}
	return encodeJSON(string(payload))
}

// rulePayload is a rule chain's output as a write takes it.
func rulePayload(payload []byte) Payload {
	p := Payload{Raw: payload, Value: string(payload)}
	if json.Valid(payload) {
		p.Value = decodeJSON(payload)
	}
	return p
}

// parseRequest reads {"id","value"} or, for a write, a bare value. An object without "value" and
// "id" is a bare value too.
func parseRequest(payload []byte, op Operation, also accepted) request {
	if op == OpRead && len(bytes.TrimSpace(payload)) == 0 {
		return request{}
	}
	if !json.Valid(payload) {
		if also.bytes && op == OpWrite {
			return request{payload: Payload{Raw: payload}, value: payload}
		}
		return request{err: spec.Errorf(spec.Invalid, "cannot read the request: it is no JSON")}
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(payload, &object) != nil {
		object = nil
	}
	id, hasID := object["id"]
	if op == OpRead {
		return request{id: id}
	}
	value, hasValue := object["value"]
	switch {
	case hasID && !hasValue && also.nothing:
		return request{id: id, payload: Payload{Raw: []byte("null")}, value: []byte("null")}
	case hasID && !hasValue:
		return request{id: id, err: spec.Errorf(spec.Invalid, "cannot write: the request has an id and no value")}
	case !hasValue:
		return request{payload: Payload{Value: decodeJSON(payload), Raw: payload}, value: payload}
	case !hasID: // {"timestamp","value"}, as endpoints publish it: bytes pass unchanged
		return request{payload: Payload{Value: decodeJSON(value), Raw: payload}, value: value}
	}
	return request{id: id, payload: Payload{Value: decodeJSON(value), Raw: rawValue(value)}, value: value}
}

// rawValue returns a JSON value's bytes, of a string the text without quotes.
func rawValue(value json.RawMessage) []byte {
	if text, ok := decodeJSON(value).(string); ok {
		return []byte(text)
	}
	return value
}

// decodeJSON reads valid JSON; numbers keep all their digits.
func decodeJSON(data []byte) any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return v
}
