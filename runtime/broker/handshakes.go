package broker

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxHandshakes is how many WebSocket handshakes may be under way on one listener.
	maxHandshakes = 1024
	// handshakeShare is what each of them has before it may be ended for one that waits.
	handshakeShare = time.Second
)

// handshakes are the connections of a listener that are not upgraded yet. When there are too
// many the next one waits, until one is done or the oldest has had its share of time and is
// closed: who opens many and never finishes delays others, but cannot keep them out.
type handshakes struct {
	limit int
	freed chan struct{} // holds a token when there may be room

	mu    sync.Mutex
	queue *list.List // of handshake, oldest first
	of    map[net.Conn]*list.Element
}

type handshake struct {
	conn  net.Conn
	since time.Time
}

func newHandshakes(limit int) *handshakes {
	return &handshakes{limit: limit, freed: make(chan struct{}, 1), queue: list.New(), of: map[net.Conn]*list.Element{}}
}

// follow is the server's http.Server.ConnState. A hijacked connection is removed by its handler.
func (h *handshakes) follow(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		h.mu.Lock()
		h.of[conn] = h.queue.PushBack(handshake{conn, time.Now()})
		h.mu.Unlock()
	case http.StateClosed:
		h.remove(conn)
	}
}

// remove takes out a connection that is upgraded, or closed.
func (h *handshakes) remove(conn net.Conn) {
	h.mu.Lock()
	if e, ok := h.of[conn]; ok {
		h.queue.Remove(e)
		delete(h.of, conn)
	}
	h.mu.Unlock()
	select {
	case h.freed <- struct{}{}:
	default:
	}
}

// await returns true when there is room for one more, false when done ends first.
func (h *handshakes) await(done <-chan struct{}) bool {
	for {
		oldest, full := h.oldest()
		if !full {
			return true
		}
		left := time.Until(oldest.since.Add(handshakeShare))
		if left <= 0 {
			_ = oldest.conn.Close() // it was given up; what its goroutine meets is logged there
			h.remove(oldest.conn)
			continue
		}
		timer := time.NewTimer(left)
		select {
		case <-done:
			timer.Stop()
			return false
		case <-h.freed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// oldest returns the first in the queue, and whether the queue is full.
func (h *handshakes) oldest() (handshake, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue.Len() < h.limit {
		return handshake{}, false
	}
	return h.queue.Front().Value.(handshake), true
}
