package mapper

import (
	"context"
	"sync"
	"time"
)

// queue hands items, one after the other and in order, to work. Its goroutine lives only
// while there is something to do, so that ten thousand idle queues cost nothing.
type queue[T any] struct {
	work  func(T)
	limit int

	mu     sync.Mutex
	items  []T
	busy   bool
	closed bool
	idle   chan struct{} // closed when busy ends; nil unless busy
	space  chan struct{} // capacity 1: an item was taken from a full queue
}

func newQueue[T any](limit int, work func(T)) *queue[T] {
	return &queue[T]{work: work, limit: max(limit, 1), space: make(chan struct{}, 1)}
}

// push appends an item. While the queue is full it waits up to patience for space, and
// then reports false. After close it reports true and the item is gone.
func (q *queue[T]) push(ctx context.Context, item T, patience time.Duration) bool {
	if q.offer(item) {
		return true
	}
	if patience <= 0 {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-q.space:
		case <-timer.C:
			return q.offer(item)
		case <-ctx.Done():
			return q.offer(item)
		}
		if q.offer(item) {
			wake(q.space) // somebody else may wait too, and there may be more
			return true
		}
	}
}

// force appends an item, dropping the oldest if the queue is full, and reports whether it did.
func (q *queue[T]) force(item T) (dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= q.limit && !q.closed {
		q.items = q.items[1:]
		dropped = true
	}
	q.add(item)
	return dropped
}

func (q *queue[T]) offer(item T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= q.limit && !q.closed {
		return false
	}
	q.add(item)
	return true
}

// add appends under the lock.
func (q *queue[T]) add(item T) {
	if q.closed {
		return
	}
	q.items = append(q.items, item)
	if !q.busy {
		q.busy = true
		q.idle = make(chan struct{})
		go q.drain()
	}
}

func (q *queue[T]) drain() {
	for {
		item, ok := q.take()
		if !ok {
			return
		}
		q.work(item)
	}
}

func (q *queue[T]) take() (item T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		q.items = nil
		q.busy = false
		close(q.idle)
		return item, false
	}
	var none T
	full := len(q.items) >= q.limit
	item, q.items[0] = q.items[0], none
	q.items = q.items[1:]
	if full {
		wake(q.space)
	}
	return item, true
}

// close takes nothing more.
func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// wait returns when the queue has nothing left to do. It can be used after close only.
func (q *queue[T]) wait() {
	q.mu.Lock()
	idle, busy := q.idle, q.busy
	q.mu.Unlock()
	if busy {
		<-idle
	}
}
