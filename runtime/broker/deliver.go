package broker

import (
	"context"
	"time"
)

const (
	// networkPatience is how long a publisher waits for network clients that make progress.
	networkPatience = 5 * time.Millisecond
	// bufferMessages and bufferBytes bound what of QoS 1 and 2 waits in memory for one
	// connected client; what is more lies on disk.
	bufferMessages = 1000
	bufferBytes    = 1 << 20
)

// deliver gives a network session its copy: into what its connection writes next, where
// nothing waits before it; else it waits in memory or on disk, where d.at says it lies.
func (b *Broker) deliver(s *session, d *delivery, f *fanout) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.link
	if d.qos == 0 {
		return b.deliverOnce(s, c, d, f)
	}
	if c == nil {
		return b.store(s, d)
	}
	next := *d
	if next.seq == 0 { // a durable session's has been given with its place on disk
		next.seq = s.box.seq + 1
	}
	switch {
	case c.free() && c.ready(&next):
		s.box.seq = max(s.box.seq, next.seq)
		c.send(&next, f)
	case s.box.tail.len() > 0 || s.box.buffer.len() >= bufferMessages || s.box.size+d.msg.bytes() > bufferBytes || b.buffered.Load() >= int64(b.limits.TotalBufferBytes):
		if !c.out.stuck {
			f.slow = append(f.slow, s)
		}
		return b.store(s, d)
	default:
		s.box.seq = max(s.box.seq, next.seq)
		next.msg = d.msg.keep()
		s.box.keep(next)
		b.account(s)
	}
	f.touch(c)
	return pushed
}

// free reports whether a message may pass straight to what is written next. The caller holds session.mu.
func (c *conn) free() bool {
	return c.out.subacks == 0 && c.session.box.empty() && !c.session.box.resending() && !c.out.full() && !c.out.closed
}

// store leaves a QoS 1 or 2 message on disk only.
func (b *Broker) store(s *session, d *delivery) result {
	if d.at == 0 {
		return spill
	}
	s.box.keepOnDisk(stored{at: d.at, seq: d.seq, qos: d.qos, size: uint32(d.msg.bytes())})
	b.account(s)
	return pushed
}

// deliverOnce is deliver for QoS 0.
func (b *Broker) deliverOnce(s *session, c *conn, d *delivery, f *fanout) result {
	switch {
	case c == nil || c.out.closed:
		return gone
	case c.free():
		c.send(d, f)
		f.touch(c)
		return pushed
	case !c.out.stuck && c.out.full():
		return full
	}
	b.buffer(s, c, d, f)
	return pushed
}

// buffer keeps a QoS 0 message for a connection that has no room, or drops it. Of what was
// retained, who subscribes gets all that the total allows.
func (b *Broker) buffer(s *session, c *conn, d *delivery, f *fanout) {
	size := d.msg.bytes()
	crowded := s.box.buffer.len() >= b.limits.BufferMessages || s.box.size+size > b.limits.BufferBytes
	if crowded && !d.stored || b.buffered.Load()+int64(size) > int64(b.limits.TotalBufferBytes) {
		b.drop(&s.subscriber, d.msg, "it does not read as fast as messages come")
		return
	}
	d.msg = d.msg.keep()
	s.box.keep(*d)
	b.account(s)
	f.touch(c)
}

// awaitNetwork waits until a client that makes progress has room, and hands it the QoS 0
// message. Who has none in time is not waited for again until it has made progress.
func (b *Broker) awaitNetwork(ctx context.Context, to *copyFor, f *fanout, until time.Time) {
	s := to.to.session
	f.kick()
	s.mu.Lock()
	c := s.link
	if c == nil || !c.out.full() || c.out.stuck || c.out.closed {
		s.mu.Unlock()
		b.deliverLast(to, f)
		return
	}
	c.startWriter()
	room := c.out.awaitRoom()
	s.mu.Unlock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-room:
	case <-ctx.Done():
	case <-c.over:
	case <-timer.C:
		s.mu.Lock()
		c.out.stuck = c.out.full()
		s.mu.Unlock()
	}
	b.deliverLast(to, f)
}

// awaitSlow waits until the connected clients whose messages of QoS 1 and 2 must wait on disk have
// caught up, so that publishers keep to their speed. Who has not in time is not waited for again
// until it has made progress: its messages wait on disk.
func (b *Broker) awaitSlow(ctx context.Context, f *fanout) {
	f.kick()
	late, cancel := context.WithTimeout(ctx, networkPatience)
	defer cancel()
	for i, s := range f.slow {
		f.slow[i] = nil
		for s.awaitCaughtUp(late) {
		}
	}
	f.slow = f.slow[:0]
}

// awaitCaughtUp waits for the client's next progress, and reports whether there was some and it
// has not caught up.
func (s *session) awaitCaughtUp(late context.Context) bool {
	s.mu.Lock()
	c := s.link
	if c == nil || c.out.stuck || c.out.closed || s.box.tail.len() < bufferMessages {
		s.mu.Unlock()
		return false
	}
	room := c.out.awaitRoom()
	s.mu.Unlock()
	select {
	case <-room:
		return true
	case <-c.over:
	case <-late.Done():
		s.mu.Lock()
		c.out.stuck = true
		s.mu.Unlock()
	}
	return false
}

// deliverLast hands over a QoS 0 message, or keeps or drops it.
func (b *Broker) deliverLast(to *copyFor, f *fanout) {
	s := to.to.session
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.link
	switch {
	case c == nil || c.out.closed:
	case c.free():
		c.send(&to.d, f)
		f.touch(c)
	default:
		b.buffer(s, c, &to.d, f)
	}
}
