package mapper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// Pauses between attempts to open the watch.
const (
	watchFirstPause = 500 * time.Millisecond
	watchLastPause  = 15 * time.Second
)

// desired is one consistent desired state. Its map is not changed any more.
type desired struct {
	cursor    string
	revision  int64
	resources map[string]spec.Resource // by key; nil: nothing is known
}

// mailbox holds the newest desired state; what nobody took in time is replaced.
type mailbox struct {
	newest chan desired // capacity 1
}

func newMailbox() *mailbox { return &mailbox{newest: make(chan desired, 1)} }

// put is called by one goroutine at a time.
func (b *mailbox) put(d desired) {
	select {
	case <-b.newest:
	default:
	}
	b.newest <- d
}

// follow keeps the watch open until ctx ends and puts each consistent state into the mailbox.
func (m *Mapper) follow(ctx context.Context, last desired, mail *mailbox) {
	pause := pauses{first: watchFirstPause, last: watchLastPause, factor: 2}
	for ctx.Err() == nil {
		group := collector{synced: last}
		err := m.opts.Watch.Watch(ctx, last.cursor, func(e spec.Event[spec.Resource]) error {
			synced, err := group.take(e)
			if synced {
				last = group.synced
				pause.reset()
				mail.put(last)
			}
			return err
		})
		if ctx.Err() != nil {
			return
		}
		m.opts.Log.Warn("the watch for the desired state ended; what runs, runs on", "error", err)
		m.recheck.Store(true)
		sleep(ctx, pause.next())
	}
}

// collector builds the next consistent state out of events.
type collector struct {
	synced desired
	next   map[string]spec.Resource // nil between groups
}

// take handles one event and reports whether synced is a new state.
func (c *collector) take(e spec.Event[spec.Resource]) (bool, error) {
	if c.next == nil {
		c.next = maps.Clone(c.synced.resources)
	}
	if c.next == nil || e.Type == spec.EventSnapshot {
		c.next = map[string]spec.Resource{}
	}
	switch e.Type {
	case spec.EventSnapshot:
	case spec.EventPut:
		c.next[e.Key] = e.Value
	case spec.EventDelete:
		delete(c.next, e.Key)
	case spec.EventSynced:
		c.synced = desired{cursor: e.Cursor, revision: e.Revision, resources: c.next}
		c.next = nil
		return true, nil
	default:
		return false, fmt.Errorf("cannot handle watch event %q", e.Type)
	}
	return false, nil
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
