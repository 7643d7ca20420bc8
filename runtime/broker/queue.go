package broker

import (
	"sync"
)

// queue holds deliveries for one in-process subscriber, in order, up to a bound. Many push, one pops.
type queue struct {
	maxMessages, maxBytes int
	ready                 chan struct{} // holds a token when there may be something to pop

	mu     sync.Mutex
	items  fifo[delivery]
	bytes  int
	room   chan struct{} // closed when something was popped; nil while nobody waits
	closed bool
}

// localCapacity is what the queue of an in-process subscriber keeps for the next messages.
const localCapacity = 256

func newQueue(maxMessages, maxBytes int) *queue {
	return &queue{items: fifo[delivery]{kept: localCapacity}, maxMessages: maxMessages, maxBytes: maxBytes, ready: make(chan struct{}, 1)}
}

// push appends, unless the queue is full. An empty queue takes a message of any size.
func (q *queue) push(d delivery) result {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pushLocked(d)
}

func (q *queue) pushLocked(d delivery) result {
	n := q.items.len()
	switch {
	case q.closed:
		return gone
	case n > 0 && (n >= q.maxMessages || q.bytes+d.msg.bytes() > q.maxBytes):
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
	q.items.push(d)
	q.bytes += d.msg.bytes()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop moves up to len(out) deliveries to out.
func (q *queue) pop(out []delivery) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(out), q.items.len())
	for i := range n {
		out[i] = q.items.pop()
		q.bytes -= out[i].msg.bytes()
	}
	if n > 0 && q.room != nil {
		close(q.room)
		q.room = nil
	}
	return n
}

// close drops what waits and lets nothing more in; those who wait for room are let go.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.items, q.bytes = fifo[delivery]{}, 0
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}
