package broker

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// parking holds a client's messages back while the disk takes none, so that its connection is
// served meanwhile: pings are answered, and its own acknowledgements make room. They are not
// acknowledged before they are taken in, in their order. What is parked is bounded by
// parkedMessages and parkedBytes, and for all clients by Limits.TotalPacketBytes: beyond that
// the reader waits.
type parking struct {
	queue chan parked
	bytes atomic.Int64
	count atomic.Int64 // taken over and not handled
	some  chan struct{}
	end   func()
}

type parked struct {
	e    topicEntry
	p    incoming
	size int64
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
	k, size := c.park, int64(messageBytes+len(e.topic)+len(p.payload)+len(p.props))
	crowded := func() bool { return c.b.parked.Load()+size > int64(c.b.limits.TotalPacketBytes) }
	c.fanout().flush()
	for k.count.Load() > 0 && (k.bytes.Load()+size > parkedBytes || crowded()) {
		select {
		case <-k.some:
		case <-c.over:
			return c.cause
		}
	}
	if crowded() { // others hold all there may be, and this client nothing: its reader waits itself
		if err := c.b.journal.Room(life{c}); err != nil {
			return err
		}
		return c.takeIn(c.fanout(), e, p, &message{borrowed: true})
	}
	held := parked{*e, *p, size}
	held.p.payload, held.p.props, held.p.topic = bytes.Clone(p.payload), bytes.Clone(p.props), nil
	k.count.Add(1)
	k.bytes.Add(size)
	c.b.parked.Add(size)
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
	k.end = func() {
		running.Wait()
		c.b.parked.Add(-k.bytes.Load())
	}
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
			if err := c.takeParked(f, &held); err != nil {
				return err
			}
			f.flush()
			k.bytes.Add(-held.size)
			c.b.parked.Add(-held.size)
			k.count.Add(-1)
			select {
			case k.some <- struct{}{}:
			default:
			}
		}
	}
}

// takeParked takes a message in when the disk does. A client of MQTT 3 may have sent it twice meanwhile.
func (c *conn) takeParked(f *fanout, held *parked) error {
	if err := c.b.journal.Room(life{c}); err != nil {
		return err
	}
	if held.p.qos > 0 {
		if again, err := c.admitPublish(f, &held.p); again || err != nil {
			return err
		}
	}
	return c.takeIn(f, &held.e, &held.p, &message{})
}
