package broker

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker/journal"
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

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([writeAhead]byte) }}
)

// outgoingBytes is what is encoded for a connection and not written. The session's mu guards it.
type outgoingBytes struct {
	buf     []byte // encoded
	body    []byte // a large payload, shared with the message, that follows buf; nil: none
	after   []byte // what follows body
	answers fifo[answer]
	subacks int  // SUBACKs among the answers, or being made, and the CONNACK: messages wait for them
	owed    int  // PUBACKs among the answers
	dirty   bool // somebody will flush it
	writing bool // somebody writes; buf is what comes after
	closed  bool // nothing is written any more
	broken  bool // a write has failed: what is written would be no packet
	stuck   bool // it had no room for so long that nobody waits for it
	waiting bool // the journal will call Committed

	room    chan struct{} // closed when there is room again; nil while nobody waits
	writer  sync.WaitGroup
	aliases map[string]uint16 // of this connection, for its client
}

// answer is a packet that waits until the journal is on disk up to at.
type answer struct {
	at     journal.Position
	small  [5]byte
	n      uint8 // of small; 0: it is data
	suback bool
	puback bool
	data   []byte
}

// grow makes room for n bytes in buf.
func (o *outgoingBytes) grow(n int) {
	if len(o.buf)+n <= cap(o.buf) {
		return
	}
	var next []byte
	switch need := len(o.buf) + n; {
	case need <= smallBuffer:
		next = smallBuffers.Get().(*[smallBuffer]byte)[:0]
	case need <= writeAhead:
		next = largeBuffers.Get().(*[writeAhead]byte)[:0]
	default:
		next = make([]byte, 0, max(need, 2*cap(o.buf)))
	}
	next = append(next, o.buf...)
	recycle(o.buf)
	o.buf = next
}

func recycle(buf []byte) {
	switch cap(buf) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(buf[:smallBuffer]))
	case writeAhead:
		largeBuffers.Put((*[writeAhead]byte)(buf[:writeAhead]))
	}
}

func (o *outgoingBytes) append(data []byte) []byte {
	if o.body != nil {
		o.after = append(o.after, data...)
		return o.after[len(o.after)-len(data):]
	}
	o.grow(len(data))
	o.buf = append(o.buf, data...)
	return o.buf[len(o.buf)-len(data):]
}

func (o *outgoingBytes) answer(a answer) {
	if a.n > 0 {
		o.append(a.small[:a.n])
		return
	}
	o.append(a.data)
}

// take takes what is written next: buf, or the body after it.
func (o *outgoingBytes) take() []byte {
	o.dirty = false
	buf := o.buf
	if o.buf = nil; len(buf) == 0 {
		buf, o.body, o.buf, o.after = o.body, nil, o.after, nil
	}
	return buf
}

func (o *outgoingBytes) empty() bool { return len(o.buf) == 0 && o.body == nil }

func (o *outgoingBytes) full() bool { return len(o.buf) >= writeAhead || o.body != nil }

// freed tells those who wait for room.
func (o *outgoingBytes) freed() {
	o.stuck = false
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

func (o *outgoingBytes) awaitRoom() <-chan struct{} {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

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

// load reads messages from disk and puts them where fill finds them.
func (c *conn) load(wanted []stored) error {
	loaded, err := c.readDeliveries(wanted)
	if err != nil {
		return err
	}
	c.place(loaded)
	return nil
}

// readDeliveries reads the first of the messages, as many as may be in memory, one at least. The
// next fill asks again for the others, and for what a compaction has moved meanwhile. One that is
// damaged has no msg.
func (c *conn) readDeliveries(wanted []stored) ([]delivery, error) {
	s := c.session
	loaded := make([]delivery, 0, len(wanted))
	size := 0
	for _, w := range wanted {
		d, err := c.b.readDelivery(w.at, s.num)
		switch {
		case err == nil:
			size += d.msg.bytes()
		case s.moved(w):
			return loaded, nil
		case !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, errRecord) && spec.KindOf(err) != spec.NotFound:
			return nil, err // the disk fails for now: the client comes again
		default:
			c.logger().Error("a queued message is damaged: it is dropped", "error", err)
			c.b.stats.dropped.Add(1)
			s.lost.Add(1)
		}
		d.seq = w.seq
		if loaded = append(loaded, d); size >= bufferBytes {
			break
		}
	}
	return loaded, nil
}

// place puts messages that were read where fill finds them.
func (c *conn) place(loaded []delivery) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	defer c.b.account(s)
	for _, d := range loaded {
		if i := s.box.search(d.seq); i >= 0 {
			o := s.box.inflight.at(i)
			o.msg, o.ids, o.retain = d.msg, d.ids, d.retain
			if d.msg == nil {
				c.b.settle(s, o.at, o.seq)
				s.box.land(i)
			}
			continue
		}
		if s.box.tail.len() == 0 || s.box.tail.at(0).seq != d.seq {
			continue
		}
		w := s.box.takeFromDisk()
		d.at, d.qos = w.at, w.qos
		if d.msg == nil {
			c.b.settle(s, d.at, d.seq)
			continue
		}
		s.box.keep(d)
	}
}

// moved reports whether a compaction has put a message elsewhere.
func (s *session) moved(w stored) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.box.place(w.seq)
	return place == nil || *place != w.at
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

// encodeDelivery reports false for a packet that is too large for the client (MQTT 5.0, 3.1.2.11.4).
func (c *conn) encodeDelivery(d *delivery, f *fanout, dup bool) bool {
	fr, shared := c.sharedFrame(d, f)
	if !shared {
		p := publishFrame{version: c.version, qos: min(d.qos, 1), topic: d.msg.Topic, ids: d.ids}
		fresh := c.alias(&p)
		fr = encodePublish(nil, d.msg, p)
		if fresh && c.maxPacket > 0 && fr.size() > c.maxPacket {
			delete(c.out.aliases, d.msg.Topic) // the client will not hear of it
		}
	}
	if c.maxPacket > 0 && fr.size() > c.maxPacket {
		return false
	}
	fr.stamp(c.out.append(fr.data), d, dup)
	c.out.body = fr.body
	return true
}

// sharedFrame returns the frame that all who get the message in this form share.
func (c *conn) sharedFrame(d *delivery, f *fanout) (frame, bool) {
	if f == nil || d.ids != nil || c.aliasesOut > 0 {
		return frame{}, false
	}
	return f.frame(d.msg, c.version, d.qos), true
}

// alias lets a number stand for the topic, for clients that take that (MQTT 5.0, 3.3.2.3.4).
// Fresh reports that the number is new to the client.
func (c *conn) alias(p *publishFrame) (fresh bool) {
	if c.aliasesOut == 0 || len(p.topic) > maxAliasBytes/aliasMaximum {
		return false
	}
	n, known := c.out.aliases[p.topic]
	switch {
	case known:
		p.topic, p.alias = "", n
	case len(c.out.aliases) < int(c.aliasesOut):
		if c.out.aliases == nil {
			c.out.aliases = map[string]uint16{}
		}
		p.alias = uint16(len(c.out.aliases) + 1)
		c.out.aliases[p.topic] = p.alias
		return true
	}
	return false
}

// settle notes that a message needs no delivery to the session any more.
func (b *Broker) settle(s *session, at journal.Position, seq uint64) {
	if at == 0 {
		return
	}
	if s.durable {
		var record [24]byte
		b.journal.Append(0, appendNumbers(record[:0], recordDone, uint64(s.num), seq))
	}
	b.journal.Release(at)
}

// readDelivery reads a message that waits for the session numbered num.
func (b *Broker) readDelivery(at journal.Position, num uint32) (delivery, error) {
	rec, err := b.journal.Read(at)
	if err != nil {
		return delivery{}, err
	}
	if len(rec) == 0 || rec[0] != recordMessage {
		return delivery{}, errRecord
	}
	var d delivery
	_, m, err := readMessage(rec, func(r *recipient) {
		if r.num == num {
			d.ids, d.qos, d.retain = r.ids, r.qos, r.retain
		}
	})
	if err != nil {
		return delivery{}, errors.Join(errRecord, err)
	}
	d.msg = m
	return d, nil
}
