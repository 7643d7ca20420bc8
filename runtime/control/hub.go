package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// maxLog bounds what a hub remembers of past changes; who is further behind gets a snapshot.
const maxLog = 10_000

// hub holds one part's desired state and feeds the watches on it.
type hub[T any] struct {
	store   string
	changed signal // the state or a watcher's progress moved
	// before, if not nil, returns when what a change needs elsewhere is in force: each group
	// with changes waits for it.
	before func(context.Context)

	mu        sync.Mutex
	ready     bool
	revision  int64
	changedAt int64 // revision at which the values last changed
	values    map[string]T
	encoded   map[string]string // JSON of values, for comparing
	log       []logged          // in rising order of revision
	// forgotten is the last revision that the log does not reach behind. At the start it is
	// the stored one: a copy of it from before the start may be bound to other addresses.
	forgotten int64
	watchers  map[*watcher]bool
}

type logged struct {
	revision int64
	key      string
}

// watcher is one live stream; taken is the last revision that its receiver handled.
type watcher struct{ taken int64 }

func newHub[T any](store string) *hub[T] {
	return &hub[T]{store: store, values: map[string]T{}, encoded: map[string]string{}, watchers: map[*watcher]bool{}}
}

// set replaces the state by that of a new revision. Every watch gets a group, an empty one
// where nothing of its part changed, so that what has been taken over is always known.
func (h *hub[T]) set(revision int64, values map[string]T) {
	encoded := make(map[string]string, len(values))
	for key, v := range values {
		encoded[key] = asJSON(v)
	}
	h.mu.Lock()
	if !h.ready {
		h.forgotten = revision
	} else {
		h.note(revision, encoded)
	}
	if !h.ready || !maps.Equal(h.encoded, encoded) {
		h.changedAt = revision
	}
	h.values, h.encoded, h.revision, h.ready = values, encoded, revision, true
	h.mu.Unlock()
	h.changed.raise()
}

// note logs what differs from the state so far.
func (h *hub[T]) note(revision int64, encoded map[string]string) {
	for key, text := range encoded {
		if h.encoded[key] != text {
			h.log = append(h.log, logged{revision, key})
		}
	}
	for key := range h.encoded {
		if _, ok := encoded[key]; !ok {
			h.log = append(h.log, logged{revision, key})
		}
	}
	if excess := len(h.log) - maxLog; excess > 0 {
		h.forgotten = h.log[excess-1].revision
		h.log = slices.DeleteFunc(h.log, func(l logged) bool { return l.revision <= h.forgotten })
	}
}

// Watch implements spec.Watch.
func (h *hub[T]) Watch(ctx context.Context, after string, handle func(spec.Event[T]) error) error {
	w := &watcher{taken: -1}
	h.mu.Lock()
	h.watchers[w] = true
	h.mu.Unlock()
	defer h.leave(w)
	from, resumes := h.parseCursor(after)
	resumes = resumes && h.reaches(from)
	for first := true; ; first = false {
		moved := h.changed.wait()
		group, revision := h.group(from, resumes, first)
		if len(group) > 1 && h.before != nil {
			h.before(ctx)
		}
		for _, event := range group {
			if err := handle(event); err != nil {
				return err
			}
		}
		if len(group) > 0 {
			from, resumes = revision, true
			h.take(w, revision)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// reaches reports whether a copy of the revision, perhaps kept from before the start, can be
// brought up to date by changes alone.
func (h *hub[T]) reaches(from int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready && from > h.forgotten && from <= h.revision
}

// group returns the events that bring a copy of revision from up to date; none if it is,
// unless always asks for a sign of life.
func (h *hub[T]) group(from int64, resumes, always bool) ([]spec.Event[T], int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []spec.Event[T]
	switch {
	case !h.ready, resumes && from == h.revision && !always:
		return nil, 0
	case !resumes || from < h.forgotten:
		events = append(events, spec.Event[T]{Type: spec.EventSnapshot})
		for _, key := range slices.Sorted(maps.Keys(h.values)) {
			events = append(events, h.event(key))
		}
	default:
		keys := map[string]bool{}
		for _, l := range h.log {
			if l.revision > from {
				keys[l.key] = true
			}
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			events = append(events, h.event(key))
		}
	}
	synced := spec.Event[T]{Type: spec.EventSynced, Cursor: fmt.Sprintf("%s-%d", h.store, h.revision), Revision: h.revision}
	return append(events, synced), h.revision
}

func (h *hub[T]) event(key string) spec.Event[T] {
	if v, ok := h.values[key]; ok {
		return spec.Event[T]{Type: spec.EventPut, Key: key, Value: v}
	}
	return spec.Event[T]{Type: spec.EventDelete, Key: key}
}

func (h *hub[T]) parseCursor(cursor string) (revision int64, known bool) {
	prefix := h.store + "-"
	if len(cursor) <= len(prefix) || cursor[:len(prefix)] != prefix {
		return 0, false
	}
	err := json.Unmarshal([]byte(cursor[len(prefix):]), &revision)
	return revision, err == nil
}

func (h *hub[T]) take(w *watcher, revision int64) {
	h.mu.Lock()
	w.taken = revision
	h.mu.Unlock()
	h.changed.raise()
}

func (h *hub[T]) leave(w *watcher) {
	h.mu.Lock()
	delete(h.watchers, w)
	h.mu.Unlock()
	h.changed.raise()
}

// lastChange is the revision at which the part's state last changed.
func (h *hub[T]) lastChange() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changedAt
}

// size is the number of values.
func (h *hub[T]) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.values)
}

// watched reports whether anybody watches.
func (h *hub[T]) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

// takenOver reports whether every live watcher has handled the part's last change.
func (h *hub[T]) takenOver() bool { return h.handled(h.lastChange()) }

// handled reports whether every live watcher has handled the revision.
func (h *hub[T]) handled(revision int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if w.taken < revision {
			return false
		}
	}
	return true
}

// policyPatience bounds how long a mapper's change waits for the broker's policy: no part is to
// stand still for another.
const policyPatience = 2 * time.Second

// await returns when every live watcher has handled the last change there is now, or has had
// the time for it, or ctx ends.
func (h *hub[T]) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	for revision := h.lastChange(); ; {
		moved := h.changed.wait()
		if h.handled(revision) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		}
	}
}
