package control

import (
	"context"
	"encoding/base64"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// messageQueue and feedBytes are how far a reader may fall behind before it misses messages.
	messageQueue = 10_000
	feedBytes    = 16 << 20
	// userStreams bounds the streams that one user has open.
	userStreams = 32
	// viewBytes is what a queued message costs beside its topic and payload.
	viewBytes = 128
)

// feed is a bounded queue between the broker and one reader: a slow reader misses messages,
// is told how many, and holds nobody back.
type feed struct {
	queue   chan spec.MessageView
	bytes   atomic.Int64 // of what is queued
	dropped atomic.Int64
}

func newFeed() *feed { return &feed{queue: make(chan spec.MessageView, messageQueue)} }

// deliver queues a message if there is room; an empty feed takes one of any size.
func (f *feed) deliver(m Message) {
	v := spec.MessageView{Time: time.Now().UTC(), Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, Payload: string(m.Payload)}
	if !utf8.Valid(m.Payload) {
		v.Payload, v.PayloadBase64 = base64.StdEncoding.EncodeToString(m.Payload), true
	}
	if n := viewSize(v); f.bytes.Add(n) > max(feedBytes, n) {
		f.miss(n)
		return
	}
	select {
	case f.queue <- v:
	default:
		f.miss(viewSize(v))
	}
}

func (f *feed) miss(bytes int64) {
	f.bytes.Add(-bytes)
	f.dropped.Add(1)
}

// taken makes the room free that a message had, which was read from queue.
func (f *feed) taken(v spec.MessageView) { f.bytes.Add(-viewSize(v)) }

func viewSize(v spec.MessageView) int64 { return viewBytes + int64(len(v.Topic)+len(v.Payload)) }

// openStream counts one stream of the caller until ctx ends, which is the request's. It
// fails with kind Unavailable where the user has as many open as one may.
func (c *Control) openStream(ctx context.Context) error {
	user := callerOf(ctx).username
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[user] >= userStreams {
		return spec.Errorf(spec.Unavailable, "cannot open a stream: user %q has %d open", user, userStreams).
			WithHint("close one, or use another user for each application")
	}
	c.streams[user]++
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.streams[user]--; c.streams[user] == 0 {
			delete(c.streams, user)
		}
	})
	return nil
}
