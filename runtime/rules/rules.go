// Package rules runs rule chains: parse, transform, filter, cov, burst, collect, stash and
// setContextVars on messages of endpoints and mappings.
package rules

import (
	"errors"
	"fmt"
	"sync"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/spec"
)

// Message goes into a chain and comes out of it. The chain keeps no part of it: the caller may
// use Payload again once Process and Emit have returned.
type Message struct {
	Topic   string            // $context.topic; for a mapping the topic that it arrived on
	Label   string            // of the subscription, variables filled in; "" means Topic
	Vars    map[string]string // bound by named wildcards
	Payload []byte            // of a mapping: bytes as they arrived
	// Value is the message of an endpoint ({"timestamp","value"}) instead of Payload, when HasValue.
	Value    any
	HasValue bool
}

// Output is what a chain emits.
type Output struct {
	Payload []byte         // encoded as the spec says ("Rules": what a chain emits)
	Vars    map[string]any // $context.vars at the end, for the publish topic
	Topic   string         // of the message that caused it
}

// Options of a chain.
type Options struct {
	// Emit gets every output, in order, from one goroutine at a time: the caller of
	// Process, or the chain's own for a burst whose interval ended. It must not call the
	// chain. An Output's Payload may be that of the Message.
	Emit func(Output)
	// Fail hears of each message that was dropped, and why.
	Fail func(Failure)
}

// Failure is a message that a chain could not process.
type Failure struct {
	Topic string // of the message; for a batch, of the last message in it
	Rule  int    // counted from 1; 0 where no rule is to blame: the chain is closed
	Kind  string // of the rule, as files name it
	Err   error
}

// Error says "rule 2 (parse) failed: ...".
func (f Failure) Error() string {
	if f.Rule == 0 {
		return f.Err.Error()
	}
	return fmt.Sprintf("rule %d (%s) failed: %v", f.Rule, f.Kind, f.Err)
}

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Chain is a compiled rule chain with its memory (last messages, collected values, open
// bursts). Process may be called from several goroutines; messages are taken one at a time.
type Chain struct {
	opts  Options
	steps []step
	kinds []string // of the steps

	mu     sync.Mutex
	memory memory
	closed bool
	timers sync.WaitGroup // burst timers that are set or run
}

// step is one compiled rule. It changes m or leaves it; pass tells whether m goes on. What it
// keeps of m must not be changed afterwards.
type step interface {
	run(c *Chain, m *message) (pass bool, err error)
}

// errClosed is what a message after Close fails with.
var errClosed = errors.New("cannot process the message: the rule chain is closed")

// Compile checks the rules and starts the chain. An empty list passes payloads through unread.
// Its errors are of kind spec.Invalid and name the rule, counted from 1.
func Compile(list []commissioning.Rule, opts Options) (*Chain, error) {
	c := &Chain{opts: opts}
	for i, rule := range list {
		s, err := c.compile(i, rule)
		if err != nil {
			return nil, spec.Errorf(spec.Invalid, "cannot use rule %d: %w", i+1, err)
		}
		c.steps = append(c.steps, s)
		c.kinds = append(c.kinds, ruleName(rule))
	}
	c.memory.start()
	return c, nil
}

// ruleName returns the name of the one rule that is given.
func ruleName(rule commissioning.Rule) string {
	switch {
	case rule.Parse != nil:
		return "parse"
	case rule.Transform != nil:
		return "transform"
	case rule.Filter != nil:
		return "filter"
	case rule.Cov != nil:
		return "cov"
	case rule.Burst != nil:
		return "burst"
	case rule.Collect != nil:
		return "collect"
	case rule.Stash != nil:
		return "stash"
	}
	return "setContextVars"
}

func (c *Chain) compile(index int, rule commissioning.Rule) (step, error) {
	var steps []step
	var errs []error
	add := func(s step, err error) { steps, errs = append(steps, s), append(errs, err) }
	if rule.Parse != nil {
		add(compileParse(*rule.Parse))
	}
	if rule.Transform != nil {
		add(c.compileTransform(*rule.Transform))
	}
	if rule.Filter != nil {
		add(c.compileFilter(*rule.Filter))
	}
	if rule.Cov != nil {
		add(compileCov(*rule.Cov))
	}
	if rule.Burst != nil {
		add(compileBurst(index, *rule.Burst))
	}
	if rule.Collect != nil {
		add(&collect{values: map[string]any{}}, nil)
	}
	if rule.Stash != nil {
		add(compileStash(*rule.Stash))
	}
	if rule.SetContextVars != nil {
		add(c.compileSetContextVars(*rule.SetContextVars))
	}
	if len(steps) != 1 {
		return nil, errors.New("exactly one of parse, transform, filter, cov, burst, collect, stash and setContextVars must be given")
	}
	return steps[0], errs[0]
}

// Process runs one message through. It blocks while Emit does.
func (c *Chain) Process(in Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.opts.Fail(Failure{Topic: in.Topic, Err: errClosed})
		return
	}
	m := newMessage(in)
	if len(c.steps) == 0 {
		c.emit(m)
		return
	}
	first, err := c.enter(m)
	if err != nil {
		c.fail(0, m, err)
		return
	}
	entered := m.value
	c.run(first, m)
	if c.memory.usesLast {
		c.memory.last, c.memory.hasLast = entered, true
	}
}

// enter makes the message what $last() will give to the next one: what the first parse rule
// made of it, else what it is by itself. It returns the first step that is still to be run.
func (c *Chain) enter(m *message) (first int, err error) {
	if p, ok := c.steps[0].(*parse); ok {
		_, err := p.run(c, m)
		return 1, err
	}
	if c.memory.usesLast || m.foreign {
		return 0, m.decode()
	}
	return 0, nil
}

// run takes the message through the steps from the first on and emits what is left of it.
func (c *Chain) run(first int, m *message) {
	for i := first; i < len(c.steps); i++ {
		pass, err := c.steps[i].run(c, m)
		if err != nil {
			c.fail(i, m, err)
			return
		}
		if !pass {
			return
		}
	}
	c.emit(m)
}

func (c *Chain) fail(index int, m *message, err error) {
	c.opts.Fail(Failure{Topic: m.topic, Rule: index + 1, Kind: c.kinds[index], Err: err})
}

func (c *Chain) emit(m *message) {
	c.opts.Emit(Output{Payload: m.encode(), Vars: m.vars, Topic: m.topic})
}

// Close emits open bursts and ends the chain's goroutines. No output after it returns. It may
// be called twice.
func (c *Chain) Close() {
	c.mu.Lock()
	if !c.closed {
		for _, s := range c.steps {
			if b, ok := s.(*burst); ok {
				b.flush(c)
			}
		}
		c.closed = true
	}
	c.mu.Unlock()
	c.timers.Wait()
}

// memory is what a chain's expressions can ask for.
type memory struct {
	usesLast, usesContext bool // whether any expression may ask for it

	last    any
	hasLast bool
	stash   map[string]any
	scope   map[string]any // the variables of the next evaluation; reused
}

func (h *memory) start() {
	h.stash = map[string]any{}
	h.scope = map[string]any{}
	if h.usesLast {
		h.scope["last"] = expr.Function(h.recall)
	}
}

// recall is $last() and $last('label').
func (h *memory) recall(args []any) (any, error) {
	if len(args) == 0 {
		if !h.hasLast {
			return nil, nil
		}
		return h.last, nil
	}
	label, ok := args[0].(string)
	if !ok || len(args) > 1 {
		return nil, errors.New("$last takes nothing or the label of a stash rule")
	}
	return h.stash[label], nil
}
