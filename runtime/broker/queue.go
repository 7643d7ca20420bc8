package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// message is one application message on its way through the broker. It is shared by all
// who get it and never changed.
type message struct {
	Message
	props   *packets.Properties // what MQTT 5 forwards; nil for nothing
	expires time.Time           // zero: never
	from    *subscriber         // the publishing session, for no-local; nil in process
}

func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// delivery is one message for one subscriber.
type delivery struct {
	msg     *message
	ids     []int // subscription identifiers
	qos     byte
	retain  bool
	checked *identity // whose permission was checked; another one is checked again
}

// deliveryBytes is what a queued delivery costs beside its topic and payload.
const deliveryBytes = 128

func (d *delivery) bytes() int { return deliveryBytes + len(d.msg.Topic) + len(d.msg.Payload) }

// budget bounds bytes over many queues.
type budget struct {
	max  int64
	used atomic.Int64
}

// result of a push.
type result int

const (
	pushed result = iota
	full
	gone // the queue is closed
)

// queue holds deliveries for one subscriber, in order, up to a bound. Many push, one pops.
type queue struct {
	maxMessages, maxBytes int
	total                 *budget       // shared with other queues; nil for none
	ready                 chan struct{} // holds a token when there may be something to pop

	mu     sync.Mutex
	items  []delivery
	head   int // items[head:] wait
	bytes  int
	room   chan struct{} // closed when something was popped; nil while nobody waits
	closed bool
}

func newQueue(maxMessages, maxBytes int, total *budget) *queue {
	return &queue{maxMessages: maxMessages, maxBytes: maxBytes, total: total, ready: make(chan struct{}, 1)}
}

// push appends, unless the queue is full. An empty queue takes a message of any size.
func (q *queue) push(d delivery) result {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pushLocked(d)
}

func (q *queue) pushLocked(d delivery) result {
	n := len(q.items) - q.head
	switch {
	case q.closed:
		return gone
	case n > 0 && (n >= q.maxMessages || q.bytes+d.bytes() > q.maxBytes):
		return full
	case q.total != nil && q.total.used.Load()+int64(d.bytes()) > q.total.max:
		return full
	}
	q.append(d)
	return pushed
}

// pushOrRoom is push; where the queue is full the channel is closed when that may have changed.
func (q *queue) pushOrRoom(d delivery) (result, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.pushLocked(d)
	if r == full && q.room == nil {
		q.room = make(chan struct{})
	}
	return r, q.room
}

// force appends without regard to the bound: for retained messages, which are bounded
// themselves, at the moment of subscribing.
func (q *queue) force(d delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.append(d)
	}
}

func (q *queue) append(d delivery) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, d)
	q.account(d.bytes())
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) account(bytes int) {
	q.bytes += bytes
	if q.total != nil {
		q.total.used.Add(int64(bytes))
	}
}

// keptCapacity is the largest backing array that an emptied queue keeps.
const keptCapacity = 256

// pop moves up to len(out) deliveries to out.
func (q *queue) pop(out []delivery) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := copy(out, q.items[q.head:])
	for i := range n {
		q.account(-out[i].bytes())
	}
	clear(q.items[q.head : q.head+n])
	q.head += n
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keptCapacity {
			q.items = nil
		}
	}
	if n > 0 && q.room != nil {
		close(q.room)
		q.room = nil
	}
	return n
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.head
}

// close drops what waits and lets nothing more in; those who wait for room are let go.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.account(-q.bytes)
	q.items, q.head = nil, 0
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}
