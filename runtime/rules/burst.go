package rules

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
)

// What an array holds at most, whatever the rule says: past it the array is emitted early.
const (
	maxBurst      = 100_000
	maxBurstBytes = 8 << 20 // about, as JSON
	maxBatches    = 10_000  // arrays that are open at once, by label
)

// burst gathers messages into arrays, one per value of its label.
type burst struct {
	index    int // of the rule
	interval time.Duration
	size     int
	label    *Template // nil without
	batches  map[string]*batch
	started  int // batches so far, for their order
}

// batch is an array that is open.
type batch struct {
	number int
	items  []any
	bytes  int
	last   *message // the latest, whose topic and variables the array gets
	timer  *time.Timer
}

func compileBurst(index int, rule commissioning.BurstRule) (step, error) {
	const longest = 30 * 24 * time.Hour
	if rule.Interval < 0 || rule.Interval > longest.Milliseconds() {
		return nil, fmt.Errorf("burst: interval %d ms is not from 1 ms to 30 days", rule.Interval)
	}
	if rule.MaxSize < 0 || rule.MaxSize > maxBurst {
		return nil, fmt.Errorf("burst: maxSize %d is not from 1 to %d", rule.MaxSize, maxBurst)
	}
	b := &burst{
		index: index, interval: time.Duration(rule.Interval) * time.Millisecond,
		size: int(rule.MaxSize), batches: map[string]*batch{},
	}
	if rule.Label == "" {
		return b, nil
	}
	var err error
	b.label, err = CompileTemplate(rule.Label, false)
	return b, err
}

func (b *burst) run(c *Chain, m *message) (bool, error) {
	if b.interval == 0 && b.size == 0 {
		return true, nil
	}
	if err := m.decode(); err != nil {
		return false, err
	}
	var label string
	if b.label != nil {
		var unset string
		if label, unset = b.label.Expand(m.vars); unset != "" {
			return false, fmt.Errorf("cannot fill in the burst's label: variable %q is not set", unset)
		}
	}
	open, err := b.open(c, label)
	if err != nil {
		return false, err
	}
	open.items = append(open.items, m.value)
	open.bytes += expr.Size(m.value)
	open.last = m
	if len(open.items) != b.size && len(open.items) < maxBurst && open.bytes < maxBurstBytes {
		return false, nil
	}
	b.take(c, label, open)
	m.replace(open.items)
	return true, nil
}

// open returns the label's batch; a new one starts its interval.
func (b *burst) open(c *Chain, label string) (*batch, error) {
	if open := b.batches[label]; open != nil {
		return open, nil
	}
	if len(b.batches) >= maxBatches {
		return nil, errors.New("cannot begin another burst: too many labels have one")
	}
	b.started++
	open := &batch{number: b.started}
	b.batches[label] = open
	if b.interval > 0 {
		c.timers.Add(1)
		open.timer = time.AfterFunc(b.interval, func() {
			defer c.timers.Done()
			b.expire(c, label, open)
		})
	}
	return open, nil
}

// expire emits a batch whose interval ended, unless it went out in the meantime.
func (b *burst) expire(c *Chain, label string, open *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.batches[label] == open {
		b.emit(c, label, open)
	}
}

// take removes a batch and stops its timer.
func (b *burst) take(c *Chain, label string, open *batch) {
	delete(b.batches, label)
	if open.timer != nil && open.timer.Stop() {
		c.timers.Done()
	}
}

// emit sends a batch on to the next rule.
func (b *burst) emit(c *Chain, label string, open *batch) {
	b.take(c, label, open)
	open.last.replace(open.items)
	c.run(b.index+1, open.last)
}

// flush emits every open batch, the oldest first.
func (b *burst) flush(c *Chain) {
	labels := slices.Collect(maps.Keys(b.batches))
	slices.SortFunc(labels, func(x, y string) int { return cmp.Compare(b.batches[x].number, b.batches[y].number) })
	for _, label := range labels {
		b.emit(c, label, b.batches[label])
	}
}
