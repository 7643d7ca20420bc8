package bus

import (
	"slices"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	// memoryMessages is how many messages of a lane wait in memory while the broker is there.
	memoryMessages = 1000
	// markEvery is how often, at most, it is noted on disk what the broker has taken.
	markEvery = 100 * time.Millisecond
	// warnEvery bounds how often drops are logged.
	warnEvery = time.Minute
)

// entry is one message that the broker has not taken.
type entry struct {
	seq     uint64           // over all lanes, ascending; names it on disk
	at      journal.Position // 0: not on disk
	size    int32            // of its record there
	since   time.Time
	qos     byte
	id      uint16          // packet identifier of QoS 1 and 2, once it was sent
	done    bool            // taken, refused or dropped
	message *mapper.Message // nil: to be read from disk
	taken   chan error      // capacity 1; nil: nobody waits
}

// lane is the queue of one identity, in order. Its fields are guarded by Bus.mu.
type lane struct {
	as       string
	kick     chan struct{} // there may be something to send
	up       bool          // connected
	entries  []*entry
	sent     int // how many of them were sent over this connection
	inMemory int // how many of them are not on disk
	onDisk   int // so many at the front are all on disk, or done

	// Of the connection: QoS 0 is taken when the PINGRESP comes that follows it.
	zero     uint64   // the last one of QoS 0 that was sent
	pinged   uint64   // zero when the last PINGREQ was sent
	barriers []uint64 // what each PINGREQ under way will show to be taken
	hangUps  int      // how often in a row the broker hung up on what was sent

	inUse     map[uint16]*entry // by packet identifier
	releasing map[uint16]bool   // identifiers of QoS 2 that wait for PUBCOMP
	lastID    uint16
	session   bool      // the broker may have a session of this process
	marked    time.Time // when the last mark was written
	unmarked  uint64    // what it is to say: all up to this one is taken; 0: nothing new
}

func (l *lane) push(e *entry) {
	l.entries = append(l.entries, e)
	l.inMemory++
}

// spill puts on disk what of a lane is in memory only. Those who wait are answered when it is
// there. The caller has the lock.
func (b *Bus) spill(l *lane) {
	if l.inMemory == 0 || b.journal == nil {
		return
	}
	var waiters waiters
	for _, e := range l.entries[l.onDisk:] {
		if e.done || e.at != 0 {
			continue
		}
		record := encode(e, l.as)
		e.at, e.size = b.journal.Append(1, record), int32(len(record))
		e.message = nil
		l.inMemory--
		b.stats.QueuedBytes += int64(e.size)
		if e.taken != nil {
			waiters = append(waiters, e.taken)
			e.taken = nil
		}
	}
	l.onDisk = len(l.entries)
	if len(waiters) > 0 {
		b.journal.Notify(waiters)
	}
	b.bound()
}

// waiters are publishers whose messages go to disk.
type waiters []chan error

// Committed implements journal.Waiter.
func (w waiters) Committed() {
	for _, taken := range w {
		taken <- nil
	}
}

// bound drops the oldest messages of the fullest lane until what is on disk is within MaxBytes.
func (b *Bus) bound() {
	for b.stats.QueuedBytes > b.o.MaxBytes {
		var oldest *entry
		var of *lane
		for _, l := range b.lanes {
			i := slices.IndexFunc(l.entries, func(e *entry) bool { return !e.done && e.at != 0 })
			if i >= 0 && (oldest == nil || l.entries[i].seq < oldest.seq) {
				oldest, of = l.entries[i], l
			}
		}
		if oldest == nil {
			return
		}
		b.drop(of, oldest, "the queue is full")
	}
}

// expire drops what is too old.
func (b *Bus) expire(l *lane, now time.Time) {
	for len(l.entries) > 0 && (l.entries[0].done || now.Sub(l.entries[0].since) > b.o.MaxAge) {
		if e := l.entries[0]; !e.done {
			b.drop(l, e, "it is too old")
		} else {
			b.settle(l)
		}
	}
}

func (b *Bus) drop(l *lane, e *entry, why string) {
	b.stats.Dropped++
	if now := time.Now(); now.Sub(b.warned) >= warnEvery {
		b.warned = now
		b.log.Warn("messages for the broker are dropped", "identity", l.as, "because", why, "dropped", b.stats.Dropped, "waiting", b.stats.Queued)
	}
	b.finish(l, e, spec.Errorf(spec.Conflict, "cannot keep the message for the broker: %s", why))
}

// finish ends a message's wait. The caller has the lock.
func (b *Bus) finish(l *lane, e *entry, err error) {
	if e.done {
		return
	}
	e.done = true
	e.message = nil
	b.stats.Queued--
	if e.at == 0 {
		l.inMemory--
	} else {
		b.stats.QueuedBytes -= int64(e.size)
		b.journal.Release(e.at)
	}
	if err == nil {
		b.stats.Sent++
		l.hangUps = 0
	}
	if e.id != 0 && l.inUse[e.id] == e {
		delete(l.inUse, e.id)
	}
	if e.taken != nil {
		e.taken <- err
		e.taken = nil
	}
	b.settle(l)
}

// settle removes from a lane's front what is done, and notes that on disk from time to time.
func (b *Bus) settle(l *lane) {
	n := 0
	for n < len(l.entries) && l.entries[n].done {
		if l.entries[n].at != 0 {
			l.unmarked = l.entries[n].seq
		}
		l.entries[n] = nil
		n++
	}
	if n == 0 {
		return
	}
	l.entries = l.entries[n:]
	l.sent, l.onDisk = max(l.sent-n, 0), max(l.onDisk-n, 0)
	if len(l.entries) == 0 {
		l.entries = nil // frees the array
	}
	if l.unmarked != 0 && (len(l.entries) == 0 || time.Since(l.marked) >= markEvery) {
		b.mark(l)
	}
}

// mark notes on disk how far a lane has come, so that another start does not send that again.
func (b *Bus) mark(l *lane) {
	b.journal.Append(0, encodeMark(l.unmarked, l.as))
	l.marked, l.unmarked = time.Now(), 0
}
