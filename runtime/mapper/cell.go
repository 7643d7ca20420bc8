package mapper

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// cell is what is known of one resource's health. Counters are updated without its lock.
type cell struct {
	m        *Mapper
	resource spec.Resource
	starts   uint64
	topic    string

	messages, errors, dropped, skipped, connects atomic.Uint64
	lastValue                                    atomic.Int64 // unix nanoseconds, 0: none

	mu        sync.Mutex
	state     string
	since     time.Time
	faults    []*fault // by the order in which they were made; the first one set is shown
	lastError string
	warning   string // shown as the last error from then on: what is likely a mistake, but stops no work
}

// fault is one cause for which a resource cannot do its work. Setting and clearing it when
// nothing changes is cheap.
type fault struct {
	cell *cell
	set  atomic.Bool
	text string // under cell.mu
}

func newCell(m *Mapper, r spec.Resource, starts uint64, state string) *cell {
	return &cell{m: m, resource: r, starts: starts, state: state, since: time.Now()}
}

func (c *cell) newFault() *fault {
	f := &fault{cell: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
	return f
}

// is sets the state.
func (c *cell) is(state string) {
	c.mu.Lock()
	changed := c.state != state
	if changed {
		c.state, c.since = state, time.Now()
	}
	c.mu.Unlock()
	if changed {
		c.m.touch()
	}
}

// current returns the state.
func (c *cell) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// value notes that a value has come.
func (c *cell) value() {
	if c.lastValue.Swap(time.Now().UnixNano()) == 0 {
		c.m.touch()
	}
}

// remember keeps an error that does not stop the resource's work.
func (c *cell) remember(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastError = text
}

// warn sets the warning; the first one stays.
func (c *cell) warn(text string) {
	c.mu.Lock()
	if c.warning == "" {
		c.warning = text
	}
	c.mu.Unlock()
	c.m.touch()
}

// raise sets the fault; text says why.
func (f *fault) raise(text string) {
	c := f.cell
	c.mu.Lock()
	changed := !f.set.Load() || f.text != text
	if changed {
		if c.firstFault() == "" {
			c.since = time.Now()
		}
		f.text, c.lastError = text, text
		f.set.Store(true)
	}
	c.mu.Unlock()
	if changed {
		c.m.touch()
	}
}

// clear takes the fault back.
func (f *fault) clear() {
	if !f.set.Load() {
		return
	}
	c := f.cell
	c.mu.Lock()
	f.set.Store(false)
	if c.firstFault() == "" {
		c.since = time.Now()
	}
	c.mu.Unlock()
	c.m.touch()
}

// why returns what was raised last.
func (f *fault) why() string {
	f.cell.mu.Lock()
	defer f.cell.mu.Unlock()
	return f.text
}

// firstFault returns the text of the first fault that is set. The caller holds the lock.
func (c *cell) firstFault() string {
	for _, f := range c.faults {
		if f.set.Load() {
			return f.text
		}
	}
	return ""
}

// status returns the resource's own view: an enabled or pending resource with a fault is failed.
func (c *cell) status() spec.ResourceStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := spec.ResourceStatus{
		Service: c.resource.Service, ID: c.resource.ID, Type: c.resource.Type, Topic: c.topic,
		State: c.state, Since: c.since, Error: c.firstFault(), LastError: c.lastError,
		Messages: c.messages.Load(), Errors: c.errors.Load(), Dropped: c.dropped.Load(), Skipped: c.skipped.Load(),
		Connects: c.connects.Load(), Starts: c.starts,
	}
	if c.warning != "" {
		s.LastError = c.warning
	}
	if nanos := c.lastValue.Load(); nanos != 0 {
		s.LastValueAt = time.Unix(0, nanos)
	}
	if s.Error != "" && (s.State == spec.StateEnabled || s.State == spec.StatePending) {
		s.State = spec.StateFailed
	}
	s.OnTarget = s.Error == "" && s.State != spec.StateUnknown && s.State != spec.StateFailed && s.State != spec.StatePending
	return s
}

// dead is a resource that cannot run, or is not to run.
type dead struct {
	*cell
}

var _ unit = dead{}

// newDead makes a resource in a state that will not change, and why ("" for disabled).
func newDead(m *Mapper, r spec.Resource, starts uint64, state, why string) dead {
	c := newCell(m, r, starts, state)
	if why != "" {
		c.newFault().raise(why)
	}
	return dead{c}
}

func (d dead) start(context.Context)  {}
func (d dead) halt()                  {}
func (d dead) finish(context.Context) {}
