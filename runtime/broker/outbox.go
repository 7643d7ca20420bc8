package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// outbox is what waits for one network session, in order: what is in flight, what is
// buffered in memory, and what lies on disk only. session.mu guards it.
type outbox struct {
	inflight fifo[outgoing] // sent and not acknowledged in full, ascending by seq
	sent     int            // of inflight, those that this connection has sent
	buffer   fifo[delivery]
	size     int          // bytes in buffer
	tail     fifo[stored] // after buffer
	onDisk   int64        // bytes of tail
	seq      uint64       // the last one given
	sentSeq  uint64       // the highest one ever sent
	others   int          // of inflight, those whose packet id is not what their seq makes
	counted  counted
}

// outgoing is one QoS 1 or 2 message that the client has not acknowledged in full. Its msg is
// nil, but for one that was read from disk to be repeated.
type outgoing struct {
	delivery
	sent     bool // on this connection
	released bool // PUBREC came: what is repeated is PUBREL
	dup      bool // it may have been sent on an earlier connection
}

// stored is a delivery on disk.
type stored struct {
	at       journal.Position
	seq      uint64
	size     uint32
	qos      byte
	released bool   // read back after a restart
	id       uint16 // read back after a restart: the packet id, where seq does not make it
}

func (o *outbox) empty() bool { return o.buffer.len() == 0 && o.tail.len() == 0 }

// resending reports whether what an earlier connection left unacknowledged has not all been repeated.
func (o *outbox) resending() bool { return o.sent < o.inflight.len() }

// open reports whether one more QoS 1 or 2 message may go out, for a client that takes window
// unacknowledged ones.
func (o *outbox) open(window int) bool { return o.inflight.len() < window }

// assign gives the message its packet id and reports whether it is another than its seq makes,
// since that one is still in flight.
func (o *outbox) assign(d *delivery) (other bool) {
	d.id = packetID(d.seq)
	if o.others == 0 && (o.inflight.len() == 0 || d.seq-o.inflight.at(0).seq < 65535) {
		return false
	}
	for o.uses(d.id) {
		d.id, other = d.id%65535+1, true
	}
	return other
}

func (o *outbox) uses(id uint16) bool {
	return slices.ContainsFunc(o.inflight.all(), func(out outgoing) bool { return out.id == id })
}

func (o *outbox) launch(out outgoing) {
	if out.id != packetID(out.seq) {
		o.others++
	}
	o.inflight.push(out)
}

// land takes the i-th message out of those in flight.
func (o *outbox) land(i int) outgoing {
	out := o.inflight.remove(i)
	if out.id != packetID(out.seq) {
		o.others--
	}
	return out
}

func (o *outbox) keep(d delivery) {
	o.size += d.msg.bytes()
	o.buffer.push(d)
}

func (o *outbox) take() delivery {
	d := o.buffer.pop()
	o.size -= d.msg.bytes()
	return d
}

func (o *outbox) keepOnDisk(s stored) {
	o.onDisk += int64(s.size)
	o.tail.push(s)
}

func (o *outbox) takeFromDisk() stored {
	s := o.tail.pop()
	o.onDisk -= int64(s.size)
	return s
}

// readable returns the first messages of the tail that have their place on disk, up to n.
func (o *outbox) readable(n int) (out []stored) {
	for _, s := range o.tail.all()[:min(n, o.tail.len())] {
		if s.at == 0 {
			break // it is being written
		}
		out = append(out, s)
	}
	return out
}

// find returns the place in inflight of the message with the packet id, -1 for none.
func (o *outbox) find(id uint16) int {
	if o.inflight.len() == 0 || id == 0 {
		return -1
	}
	first := o.inflight.at(0).seq
	ahead := (int(id) - int(packetID(first)) + 65535) % 65535
	if i := o.search(first + uint64(ahead)); i >= 0 && o.inflight.at(i).id == id {
		return i
	}
	if o.others == 0 && o.inflight.at(o.inflight.len()-1).seq-first < 65535 {
		return -1
	}
	return slices.IndexFunc(o.inflight.all(), func(out outgoing) bool { return out.id == id })
}

// search returns the place in inflight of a seq, -1 for none.
func (o *outbox) search(seq uint64) int {
	low, high := 0, o.inflight.len()
	for low < high {
		if mid := (low + high) / 2; o.inflight.at(mid).seq < seq {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < o.inflight.len() && o.inflight.at(low).seq == seq {
		return low
	}
	return -1
}

// searchTail is search for what lies on disk only.
func (o *outbox) searchTail(seq uint64) int {
	low, high := 0, o.tail.len()
	for low < high {
		if mid := (low + high) / 2; o.tail.at(mid).seq < seq {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < o.tail.len() && o.tail.at(low).seq == seq {
		return low
	}
	return -1
}

// place returns where the position of a message that waits is noted, nil when it waits no longer.
func (o *outbox) place(seq uint64) *journal.Position {
	if i := o.search(seq); i >= 0 {
		return &o.inflight.at(i).at
	}
	if i := o.searchTail(seq); i >= 0 {
		return &o.tail.at(i).at
	}
	for i := range o.buffer.len() {
		if d := o.buffer.at(i); d.seq == seq {
			return &d.at
		}
	}
	return nil
}

// suspend prepares for the time without a connection: QoS 0 is let go, and what lies on disk
// leaves the memory.
func (o *outbox) suspend() {
	for i := range o.inflight.len() {
		if out := o.inflight.at(i); out.at != 0 {
			out.msg = nil
		}
	}
	var tail fifo[stored]
	if n := o.buffer.len() + o.tail.len(); n > 0 {
		tail.items = make([]stored, 0, n)
	}
	for _, d := range o.buffer.all() {
		if d.at != 0 {
			tail.push(stored{at: d.at, seq: d.seq, qos: d.qos, size: uint32(d.msg.bytes())})
			o.onDisk += int64(d.msg.bytes())
		}
	}
	tail.items = append(tail.items, o.tail.all()...)
	o.tail, o.buffer, o.size = tail, fifo[delivery]{}, 0
}

// resume marks what an earlier connection has sent to be sent again.
func (o *outbox) resume() {
	o.sent = 0
	for i := range o.inflight.len() {
		out := o.inflight.at(i)
		out.dup = out.dup || out.sent
		out.sent = false
	}
}

// restore puts what was read back after a restart in place: what may have been sent, up to seq
// sent, and what is in the second half of its handshake is in flight.
func (o *outbox) restore(sent uint64, most int) {
	for o.tail.len() > 0 && o.inflight.len() < most {
		s := *o.tail.at(0)
		if s.seq > sent && !s.released {
			break
		}
		o.takeFromDisk()
		o.launch(outgoing{delivery: delivery{seq: s.seq, at: s.at, qos: s.qos, id: cmp.Or(s.id, packetID(s.seq))}, released: s.released, dup: s.seq <= sent})
	}
	o.seq, o.sentSeq = max(o.seq, sent), sent // the journal may have forgotten what was acknowledged last
}

// positions calls f for each position that is noted.
func (o *outbox) positions(f func(journal.Position)) {
	for _, out := range o.inflight.all() {
		f(out.at)
	}
	for _, d := range o.buffer.all() {
		f(d.at)
	}
	for _, s := range o.tail.all() {
		f(s.at)
	}
}

// waiting is how many messages wait, with those in flight.
func (o *outbox) waiting() int { return o.inflight.len() + o.buffer.len() + o.tail.len() }

// deliverable reports whether a delivery may still go out: it has not expired, and a policy
// that came since it was queued still permits it.
func (to *subscriber) deliverable(d *delivery) bool {
	return (d.msg.expires.IsZero() || !d.msg.expired(time.Now())) && to.permitted(d)
}

func (to *subscriber) permitted(d *delivery) bool {
	now := to.identity.Load()
	return now != nil && (now == d.checked || now.may(spec.Read, d.msg.Topic))
}
