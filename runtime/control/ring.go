package control

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// maxEvents is how many events are kept for those who come back to the stream.
const maxEvents = 1000

// ring keeps the last entries of a stream, each with an id that a stream can be resumed at.
type ring[T any] struct {
	most    int
	changed signal

	mu    sync.Mutex
	run   string // random: ids of another process name nothing here
	next  int64  // number of the next entry
	items []T    // the last ones; the last of them has number next-1
}

func newRing[T any](most int) *ring[T] {
	var random [4]byte
	rand.Read(random[:])
	return &ring[T]{most: most, run: hex.EncodeToString(random[:])}
}

func (r *ring[T]) add(v T) {
	r.mu.Lock()
	r.items = append(r.items, v)
	if len(r.items) >= 2*r.most { // seldom, since it copies
		r.items = append([]T{}, r.items[len(r.items)-r.most:]...)
	}
	r.next++
	r.mu.Unlock()
	r.changed.raise()
}

// entry is an element with its id.
type entry[T any] struct {
	id    string
	value T
}

// position is the number behind the entry with the id; an unknown id stands for the oldest
// entry that is kept, and so does none.
func (r *ring[T]) position(id string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	run, number, ok := strings.Cut(id, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || run != r.run || err != nil {
		return 0
	}
	return n + 1
}

// after returns the entries from a position on, and the position behind them.
func (r *ring[T]) after(position int64) ([]entry[T], int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.next - int64(len(r.items))
	var list []entry[T]
	for n := max(position, first); n < r.next; n++ {
		list = append(list, entry[T]{r.run + "-" + strconv.FormatInt(n, 10), r.items[n-first]})
	}
	return list, r.next
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventApplied EventKind = "applied" // objects were changed
	EventState   EventKind = "state"   // a service is in another state
)

// Event is one element of GET /api/v1/events.
type Event struct {
	Time       time.Time        `json:"time"`
	Kind       EventKind        `json:"kind"`
	User       string           `json:"user,omitempty"`
	Revision   int64            `json:"revision,omitempty"`
	Steps      []string         `json:"steps,omitempty"` // "~ service/press"
	Service    string           `json:"service,omitempty"`
	State      string           `json:"state,omitempty"`
	Deviations []spec.Deviation `json:"deviations,omitempty"`
}

func (c *Control) addEvent(e Event) {
	e.Time = time.Now().UTC()
	c.events.add(e)
}
