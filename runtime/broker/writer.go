package broker

import (
	"errors"
	"os"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal"
)

const (
	// writeAhead is how much is encoded for a connection before it waits for its writer.
	writeAhead = 64 << 10
	// smallBuffer is what a connection begins with.
	smallBuffer = 2 << 10
	// writeLimit is how long one write to a client that does not read may take.
	writeLimit = 30 * time.Second
	// maxAnswers is how many answers may wait for the disk.
	maxAnswers = 4096
)

// reply sends a packet when the journal is on disk up to at, after the answers before it.
// It holds the caller back while too many wait.
func (c *conn) reply(f *fanout, at journal.Position, data []byte) error {
	if err := c.awaitRoom(f); err != nil {
		return err
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.replyLocked(f, answer{at: at, data: data})
	return nil
}

func (c *conn) replyLocked(f *fanout, a answer) {
	if c.out.answers.len() == 0 && c.b.onDisk(a.at) {
		c.out.answer(a)
		f.touch(c)
		return
	}
	if a.suback {
		c.out.subacks++
	}
	if a.puback {
		c.out.owed++
	}
	c.out.answers.push(a)
	c.awaitCommit()
}

// onDisk reports whether the record at the position, 0 for none, is on disk.
func (b *Broker) onDisk(at journal.Position) bool { return at == 0 || at < b.journal.Durable() }

// awaitCommit has the journal call Committed. The caller holds session.mu.
func (c *conn) awaitCommit() {
	if !c.out.waiting {
		c.out.waiting = true
		c.b.journal.Notify(c)
	}
}

// Committed implements journal.Waiter: answers that waited for the disk may go, and messages
// that did.
func (c *conn) Committed() {
	if err := guard(func() error { c.committed(); return nil }); err != nil {
		c.stop(err)
	}
}

func (c *conn) committed() {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	c.out.waiting = false
	for c.out.answers.len() > 0 && c.b.onDisk(c.out.answers.at(0).at) {
		a := c.out.answers.pop()
		c.out.answer(a)
		if a.suback {
			c.out.subacks--
		}
		if a.puback {
			c.out.owed--
		}
	}
	if c.out.answers.len() > 0 {
		c.awaitCommit()
	}
	c.startWriter()
}

// awaitRoom returns when one more answer may wait.
func (c *conn) awaitRoom(f *fanout) error {
	s := c.session
	for {
		s.mu.Lock()
		if !c.out.full() && c.out.answers.len() < maxAnswers {
			s.mu.Unlock()
			return nil
		}
		c.startWriter()
		room := c.out.awaitRoom()
		s.mu.Unlock()
		f.flush()
		select {
		case <-c.over:
			return c.cause
		case <-room:
		}
	}
}

// kick leaves what is encoded to a writer.
func (c *conn) kick() {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.out.dirty = false
	c.startWriter()
}

// flush writes what is encoded, as far as the socket takes it at once; a writer does the rest.
func (c *conn) flush() {
	buf := c.begin()
	if buf == nil {
		return
	}
	defer c.out.writer.Done()
	n, err := c.writeNow(buf)
	if err != nil {
		c.stop(err)
	}
	c.wrote(buf, n, err)
}

// begin takes what is encoded, for one attempt to write it without waiting; nil where there is
// nothing, or a writer has it.
func (c *conn) begin() []byte {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.out.dirty = false
	if c.raw == nil || c.out.empty() || c.out.writing || c.out.closed {
		c.startWriter()
		return nil
	}
	c.out.writing = true
	c.out.writer.Add(1)
	return c.out.take()
}

// wrote goes on after an attempt that has written n bytes of buf.
func (c *conn) wrote(buf []byte, n int, err error) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.out.writing = false
	switch {
	case err != nil:
		c.out.broken, c.out.closed = true, true
	case n < len(buf):
		c.startWriterWith(buf, n)
		return
	}
	recycle(buf)
	c.out.freed()
	c.startWriter()
}

// writeNow writes as much as the socket takes without waiting.
func (c *conn) writeNow(data []byte) (n int, err error) {
	rawErr := c.raw.Write(func(fd uintptr) bool {
		n, err = writeSocket(fd, data)
		return true
	})
	c.b.stats.bytesSent.Add(int64(n))
	if errors.Is(rawErr, os.ErrDeadlineExceeded) {
		rawErr = nil // of an earlier write; a writer sets its own
	}
	return n, errors.Join(err, rawErr)
}

// startWriter makes sure that somebody writes what there is. The caller holds session.mu.
func (c *conn) startWriter() {
	if c.out.writing || c.out.closed {
		return
	}
	if c.out.empty() && !c.more() {
		c.out.dirty = false
		return
	}
	c.startWriterWith(nil, 0)
}

func (c *conn) startWriterWith(buf []byte, n int) {
	if c.out.closed {
		c.out.broken = c.out.broken || n < len(buf)
		return
	}
	c.out.writing = true
	c.out.writer.Go(func() {
		if err := guard(func() error { return c.write(buf, n) }); err != nil {
			c.stop(err)
			s := c.session
			s.mu.Lock()
			c.out.broken, c.out.closed, c.out.writing = true, true, false
			c.out.freed()
			s.mu.Unlock()
		}
	})
}

// write writes buf from n on, then all that there is, and ends.
func (c *conn) write(buf []byte, n int) error {
	for {
		if n < len(buf) {
			if err := c.setDeadlines(c.net.SetWriteDeadline, time.Now().Add(writeLimit)); err != nil {
				return err
			}
			if err := c.writeAll(buf[n:]); err != nil {
				return err
			}
		}
		recycle(buf)
		next, load := c.next()
		if len(next) == 0 && len(load) == 0 {
			return nil
		}
		buf, n = next, 0
		if err := c.load(load); err != nil {
			return err
		}
	}
}

// next returns what is to be written, and what must be read from disk for more. With
// neither, the writer has ended.
func (c *conn) next() (buf []byte, load []stored) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	c.out.freed()
	load = c.fill()
	if c.out.empty() && len(load) == 0 || c.out.closed {
		c.out.writing, c.out.dirty = false, false
		return nil, nil
	}
	return c.out.take(), load
}

func (c *conn) writeAll(data []byte) error {
	n, err := c.net.Write(data)
	c.b.stats.bytesSent.Add(int64(n))
	return err
}

// more reports whether messages wait that may go out. The caller holds session.mu.
func (c *conn) more() bool {
	box := &c.session.box
	if c.session.link != c || c.out.subacks > 0 {
		return false
	}
	switch {
	case box.resending():
		return box.sent < c.window
	case box.buffer.len() > 0:
		return c.ready(box.buffer.at(0))
	}
	return box.tail.len() > 0 && box.tail.at(0).at != 0 && box.open(c.window)
}

// ready reports whether a message may go out now: for QoS 1 and 2 the window is open, and one
// that was published with QoS 2 is on disk. Else its publisher would bring it again after a
// crash, as a message of its own, and its packet id would stand for another.
func (c *conn) ready(d *delivery) bool {
	if d.qos == 0 {
		return true
	}
	if d.msg.QoS == 2 && !c.b.onDisk(d.at) {
		c.awaitCommit()
		return false
	}
	return c.session.box.open(c.window) && c.identified(d)
}

// identified gives a message its packet id. One that its seq does not make must be on disk
// before a durable session's client sees it: for QoS 2 another would be another message.
func (c *conn) identified(d *delivery) bool {
	s := c.session
	if d.id == 0 && s.box.assign(d) && s.durable {
		var record [32]byte
		d.set = c.b.journal.Append(0, appendNumbers(record[:0], recordID, uint64(s.num), d.seq, uint64(d.id)))
	}
	if c.b.onDisk(d.set) {
		return true
	}
	c.awaitCommit()
	return false
}

// fill encodes what may go out: first what an earlier connection left unacknowledged, then
// what waits in memory. It returns what must be read from disk before more can.
func (c *conn) fill() []stored {
	s := c.session
	if s.link != c || c.out.subacks > 0 {
		return nil
	}
	if s.box.resending() {
		if load := c.resend(); load != nil || s.box.resending() {
			return load
		}
	}
	for s.box.buffer.len() > 0 && !c.out.full() {
		if !c.ready(s.box.buffer.at(0)) {
			break
		}
		d := s.box.take()
		if !s.deliverable(&d) {
			c.b.settle(s, d.at, d.seq)
			continue
		}
		c.send(&d, nil)
	}
	c.b.account(s)
	if s.box.buffer.len() > 0 || c.out.full() || s.box.tail.len() == 0 || !s.box.open(c.window) {
		return nil
	}
	room := max(1, c.window-s.box.inflight.len())
	return s.box.readable(min(room, 64))
}

// resend repeats what an earlier connection left unacknowledged, in its order, as far as the window goes.
func (c *conn) resend() (load []stored) {
	box := &c.session.box
	for box.resending() && box.sent < c.window && !c.out.full() {
		o := box.inflight.at(box.sent)
		switch {
		case o.released:
			rel, n := ack(c.version, packets.Pubrel, o.id, 0)
			c.out.append(rel[:n])
		case o.msg == nil:
			for i := box.sent; i < min(box.inflight.len(), c.window, box.sent+64); i++ {
				if o := box.inflight.at(i); o.msg == nil && !o.released {
					load = append(load, stored{at: o.at, seq: o.seq})
				}
			}
			return load
		case !c.session.permitted(&o.delivery) || !o.dup && o.msg.expired(time.Now()):
			c.b.settle(c.session, o.at, o.seq)
			box.land(box.sent)
			continue
		case !c.encodeDelivery(&o.delivery, nil, o.dup):
			c.b.drop(&c.session.subscriber, o.msg, "the client takes no packet so large")
			c.b.settle(c.session, o.at, o.seq)
			box.land(box.sent)
			continue
		}
		o.sent, o.msg, o.ids = true, nil, nil // yet another connection reads it again
		box.sentSeq = max(box.sentSeq, o.seq)
		box.sent++
	}
	return nil
}

// send sends a message for the first time. The caller holds session.mu, and has seen that it may go.
func (c *conn) send(d *delivery, f *fanout) {
	again := d.qos > 0 && d.seq <= c.session.box.sentSeq // perhaps: the broker has not come to write what it had sent
	if !c.encodeDelivery(d, f, again) {
		c.b.drop(&c.session.subscriber, d.msg, "the client takes no packet so large")
		c.b.settle(c.session, d.at, d.seq)
		return
	}
	c.b.stats.sent.Add(1)
	if d.qos == 0 {
		return
	}
	box := &c.session.box
	o := outgoing{delivery: *d, sent: true, dup: again}
	o.msg, o.ids = nil, nil // another connection reads it from disk
	box.launch(o)
	box.sent++
	box.sentSeq = max(box.sentSeq, d.seq)
}
