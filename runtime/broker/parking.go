package broker

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// parking holds a client's messages back while the disk takes none, so that its connection is
// served meanwhile: pings are answered, and its own acknowledgements make room. They are not
// acknowledged before they are taken in, in their order. What is parked is bounded by the
// Receive Maximum, or else by parkedMessages and parkedBytes, beyond which the reader waits.
type parking struct {
	queue chan parked
	bytes atomic.Int64
	count atomic.Int64 // taken over and not handled
	some  chan struct{}
	end   func()
}

type parked struct {
	e topicEntry
	p incoming
}

const (
	parkedMessages = 1024
	parkedBytes    = 1 << 20
)

// mustPark reports whether messages that need the disk must wait: it takes none, or others wait already.
func (c *conn) mustPark() bool {
	return c.park != nil && c.park.count.Load() > 0 || !c.b.journal.HasRoom()
}

// parkPublish takes a message over for later.
func (c *conn) parkPublish(e *topicEntry, p *incoming) error {
	if c.park == nil {
		c.startParking()
	}
	k := c.park
	held := parked{*e, *p}
	held.p.payload, held.p.props, held.p.topic = bytes.Clone(p.payload), bytes.Clone(p.props), nil
	c.fanout().flush()
	for k.count.Load() > 0 && k.bytes.Load()+int64(len(p.payload)) > parkedBytes {
		select {
		case <-k.some:
		case <-c.over:
			return c.cause
		}
	}
	k.count.Add(1)
	k.bytes.Add(int64(len(p.payload)))
	select {
	case k.queue <- held:
		return nil
	case <-c.over:
		return c.cause
	}
}

// startParking starts the goroutine that takes the messages in; it ends with the connection.
func (c *conn) startParking() {
	k := &parking{queue: make(chan parked, parkedMessages), some: make(chan struct{}, 1)}
	var running sync.WaitGroup
	k.end = running.Wait
	c.park = k
	running.Go(func() {
		if err := guard(func() error { return c.unpark(k) }); err != nil {
			c.stop(err)
		}
	})
}

func (c *conn) unpark(k *parking) error {
	f := newFanout()
	defer f.free()
	for {
		select {
		case <-c.over:
			return nil
		case held := <-k.queue:
			if err := c.b.journal.Room(life{c}); err != nil {
				return err
			}
			err := c.takeIn(f, &held.e, &held.p, &message{})
			f.flush()
			k.bytes.Add(-int64(len(held.p.payload)))
			k.count.Add(-1)
			select {
			case k.some <- struct{}{}:
			default:
			}
			if err != nil {
				return err
			}
		}
	}
}
