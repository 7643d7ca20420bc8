package mapper

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/rules"
)

// mapping moves messages from topics to topics.
type mapping struct {
	*cell
	log     *slog.Logger
	conns   []*connection // external brokers that it uses
	entries []*mappingEntry
	subs    *subscriptions
	ctx     context.Context
	cancel  context.CancelFunc
}

// mappingEntry is one way from sources to a target.
type mappingEntry struct {
	m        *mapping
	number   int // counted from 1
	cfg      commissioning.MappingEntry
	sources  []*source
	target   *rules.Template
	constant bool        // the target has no variables
	external *connection // publishes the results; nil: the bus
	chain    *rules.Chain
	input    *queue[rules.Message] // nil without buffering
	out      *outbox
	buffer   int64 // limit of input, 0 without

	ruleFault, topicFault *fault
	ruleError             atomic.Bool // the rules failed on the message at hand
	feedsItself           atomic.Bool // and its status says so
}

// source is one subscription of an entry.
type source struct {
	entry    *mappingEntry
	qos      byte
	filter   *rules.Filter
	label    *rules.Template // nil without
	external *connection
	listener *listener
}

var _ unit = (*mapping)(nil)

// newMapping checks everything that needs no I/O; find returns a connection of the mapping's service.
func newMapping(m *Mapper, r spec.Resource, starts uint64, cfg commissioning.Mapping, find func(string) (*connection, error), log *slog.Logger) (*mapping, error) {
	x := &mapping{cell: newCell(m, r, starts, spec.StatePending), log: log}
	for i, entry := range cfg.Mappings {
		e, err := x.entry(i+1, entry, find)
		if err != nil {
			return nil, fmt.Errorf("mapping entry %d: %w", i+1, err)
		}
		if b := cfg.InputBuffering; b != nil && b.Enabled {
			e.buffer = max(b.MaxInputBufferSize, 1)
		}
		x.entries = append(x.entries, e)
	}
	return x, nil
}

func (x *mapping) entry(number int, cfg commissioning.MappingEntry, find func(string) (*connection, error)) (*mappingEntry, error) {
	e := &mappingEntry{m: x, number: number, cfg: cfg, ruleFault: x.newFault(), topicFault: x.newFault()}
	var err error
	if e.target, err = rules.CompileTemplate(cfg.Publish.Topic, true); err != nil {
		return nil, err
	}
	_, missing := e.target.Expand(nil)
	e.constant = missing == ""
	if e.external, err = x.external(cfg.Publish.Connection, find); err != nil {
		return nil, err
	}
	for _, s := range cfg.Subscribe {
		src := &source{entry: e, qos: byte(s.QoS)}
		if src.filter, err = rules.CompileFilter(s.Topic); err != nil {
			return nil, err
		}
		if s.Label != "" {
			if src.label, err = rules.CompileTemplate(s.Label, false); err != nil {
				return nil, err
			}
		}
		if src.external, err = x.external(s.Connection, find); err != nil {
			return nil, err
		}
		e.sources = append(e.sources, src)
	}
	return e, nil
}

func (x *mapping) external(name string, find func(string) (*connection, error)) (*connection, error) {
	if name == "" {
		return nil, nil
	}
	conn, err := find(name)
	if err == nil {
		x.conns = append(x.conns, conn)
	}
	return conn, err
}

func (x *mapping) start(ctx context.Context) {
	x.ctx, x.cancel = context.WithCancel(ctx)
	x.subs = newSubscriptions(x.cell)
	for _, e := range x.entries {
		if err := e.open(x.ctx); err != nil {
			e.ruleFault.raise(fmt.Sprintf("mapping entry %d: %v", e.number, err))
			continue
		}
		for _, s := range e.sources {
			s.open()
		}
	}
	x.subs.stands()
}

func (s *source) open() {
	x := s.entry.m
	if s.external == nil {
		x.subs.add(x.ctx, x.m.opts.Bus, s.filter.MQTT(), s.qos, s.take)
		return
	}
	x.subs.lacks()
	s.listener = &listener{
		filter: s.filter.MQTT(), qos: s.qos, deliver: s.take, fault: x.newFault(), stands: x.subs.stands,
		lost: x.subs.lacks,
	}
	s.external.addListener(s.listener)
}

// open starts an entry's rules and queues.
func (e *mappingEntry) open(ctx context.Context) error {
	x := e.m
	where := fmt.Sprintf("mapping entry %d: ", e.number)
	w := way{where: where, publish: func(ctx context.Context, msg Message) error {
		return x.m.opts.Bus.Publish(ctx, "service:"+x.resource.Service, msg)
	}}
	if e.external != nil {
		w = way{where: where, publish: e.external.publish, suspects: e.external.suspects}
	}
	e.out = newOutbox(ctx, x.cell, w)
	if e.buffer > 0 {
		e.input = newQueue(int(e.buffer), e.process)
	}
	if len(e.cfg.Rules) == 0 {
		return nil
	}
	chain, err := rules.Compile(e.cfg.Rules, rules.Options{Emit: e.emit, Fail: e.ruleFailed})
	e.chain = chain
	return err
}

// halt does nothing: what arrives until the subscriptions have ended is still worked on.
func (x *mapping) halt() {}

func (x *mapping) finish(ctx context.Context) {
	giveUp := context.AfterFunc(ctx, x.cancel)
	defer giveUp()
	x.subs.stop()
	x.stopListeners(ctx)
	for _, e := range x.entries {
		e.close()
	}
	x.cancel()
}

// stopListeners returns when the last message has come from the connections, or ctx ends: what a far broker
// was told to be taken is worked on.
func (x *mapping) stopListeners(ctx context.Context) {
	var ends []<-chan struct{}
	for _, e := range x.entries {
		for _, s := range e.sources {
			if s.listener != nil {
				ends = append(ends, s.external.removeListener(s.listener))
			}
		}
	}
	for _, end := range ends {
		select {
		case <-end:
		case <-ctx.Done():
		}
	}
}

func (e *mappingEntry) close() {
	if e.input != nil {
		e.input.close()
		e.input.wait()
	}
	if e.chain != nil {
		e.chain.Close()
	}
	e.out.queue.close()
	e.out.queue.wait()
	e.out.giveUp()
}

func (x *mapping) status() spec.ResourceStatus {
	s := x.cell.status()
	for _, c := range x.conns {
		why, opening, since := c.down()
		if why == "" {
			continue
		}
		if since.After(s.Since) {
			s.Since = since
		}
		s.State, s.Error, s.OnTarget = spec.StateFailed, why, false
		if opening {
			s.State = spec.StatePending
		}
		return s
	}
	return s
}

// take handles one message that has arrived.
func (s *source) take(m Message) {
	e := s.entry
	e.m.value()
	vars, ok := s.filter.Bind(m.Topic)
	if !ok {
		e.drop(m.Topic, fmt.Sprintf("the topic does not match %q", s.filter.MQTT()))
		return
	}
	msg := rules.Message{Topic: m.Topic, Vars: vars, Payload: m.Payload}
	if s.label != nil {
		text, missing := s.label.Expand(anyVars(vars))
		if missing != "" {
			e.drop(m.Topic, fmt.Sprintf("the label's variable %q is unset", missing))
			return
		}
		msg.Label = text
	}
	if e.input == nil {
		e.process(msg)
		return
	}
	if e.input.force(msg) {
		e.drop(m.Topic, "the input buffer is full, its oldest message is dropped")
	}
}

// process runs one message through the rules; without any its bytes pass unread.
func (e *mappingEntry) process(msg rules.Message) {
	if e.chain == nil {
		e.emit(rules.Output{Payload: msg.Payload, Topic: msg.Topic, Vars: e.vars(msg)})
		return
	}
	e.ruleError.Store(false)
	e.chain.Process(msg)
	if !e.ruleError.Load() {
		e.ruleFault.clear()
	}
}

func (e *mappingEntry) vars(msg rules.Message) map[string]any {
	if e.constant {
		return nil
	}
	return anyVars(msg.Vars)
}

func anyVars(vars map[string]string) map[string]any {
	all := make(map[string]any, len(vars))
	for k, v := range vars {
		all[k] = v
	}
	return all
}

// emit publishes what came out.
func (e *mappingEntry) emit(o rules.Output) {
	topic, missing := e.target.Expand(o.Vars)
	if missing != "" {
		e.drop(o.Topic, fmt.Sprintf("the publish topic's variable %q is unset", missing))
		return
	}
	e.topicFault.clear()
	e.warnOfLoop(topic)
	e.out.pushPatiently(Message{Topic: topic, Payload: o.Payload, QoS: byte(e.cfg.Publish.QoS), Retain: e.cfg.Publish.Retain})
}

// warnOfLoop notes, once, that what the entry publishes comes back to it. That is no fault: its rules may end the loop.
func (e *mappingEntry) warnOfLoop(topic string) {
	if e.feedsItself.Load() {
		return
	}
	for _, s := range e.sources {
		if s.external == e.external && s.filter.Matches(topic) && !e.feedsItself.Swap(true) {
			e.m.warn(e.about(topic, fmt.Sprintf("this entry feeds itself: it subscribes to %q and publishes there", s.filter.MQTT())))
			return
		}
	}
}

// drop counts a message that came on the topic.
func (e *mappingEntry) drop(topic, why string) {
	e.m.dropped.Add(1)
	e.topicFault.raise(e.about(topic, why))
}

func (e *mappingEntry) about(topic, why string) string {
	return fmt.Sprintf("mapping entry %d (topic %s): %s", e.number, topic, why)
}

func (e *mappingEntry) ruleFailed(f rules.Failure) {
	e.ruleError.Store(true)
	e.m.errors.Add(1)
	e.m.dropped.Add(1)
	e.ruleFault.raise(e.about(f.Topic, f.Error()))
}
