package bus

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/runtime/mapper"
)

// The kinds of records. A message: kind, sequence number, milliseconds, flags, identity, topic,
// payload. A mark: kind, sequence number, identity; all of that identity up to it is taken. Numbers
// are varints; strings have their length before them, but for the payload, which is the rest.
const (
	kindMessage = 1
	kindMark    = 2

	retainFlag = 4 // above the two bits of QoS
)

var errRecord = errors.New("a record of the queue is malformed")

func encode(e *entry, as string) []byte {
	m := e.message
	b := make([]byte, 0, 32+len(as)+len(m.Topic)+len(m.Payload))
	b = append(b, kindMessage)
	b = binary.AppendUvarint(b, e.seq)
	b = binary.AppendUvarint(b, uint64(e.since.UnixMilli()))
	flags := m.QoS
	if m.Retain {
		flags |= retainFlag
	}
	b = append(b, flags)
	b = appendText(appendText(b, as), m.Topic)
	return append(b, m.Payload...)
}

func encodeMark(seq uint64, as string) []byte {
	return appendText(binary.AppendUvarint([]byte{kindMark}, seq), as)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// stored is a decoded record.
type stored struct {
	kind    byte
	seq     uint64
	since   time.Time
	as      string
	message mapper.Message // its payload is within the record
}

// reader takes a record apart; its first failure stays.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.err = errRecord
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.err, r.rest = errRecord, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.err, r.rest = errRecord, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func decode(record []byte) (stored, error) {
	r := &reader{rest: record}
	s := stored{kind: r.byte(), seq: r.number()}
	switch s.kind {
	case kindMark:
		s.as = r.text()
	case kindMessage:
		s.since = time.UnixMilli(int64(r.number()))
		flags := r.byte()
		s.message.QoS, s.message.Retain = flags&3, flags&retainFlag != 0
		s.as, s.message.Topic = r.text(), r.text()
		s.message.Payload = r.rest
	default:
		return s, errRecord
	}
	return s, r.err
}

// openQueue reads back what the disk holds.
func (b *Bus) openQueue() error {
	marks := map[string]uint64{}
	var superseded []journal.Position
	j, err := journal.Open(journal.Options{FS: b.o.Storage, Dir: b.o.Dir, Log: b.log, Move: b.move}, func(_ *journal.Journal, at journal.Position, record []byte) (int, error) {
		s, err := decode(record)
		if err != nil {
			b.log.Error("a record of the queue for the broker is left out", "at", uint64(at), "error", err)
			return 0, nil
		}
		b.seq = max(b.seq, s.seq)
		if s.kind == kindMark {
			marks[s.as] = max(marks[s.as], s.seq)
			return 0, nil
		}
		l := b.lane(s.as)
		l.entries = append(l.entries, &entry{seq: s.seq, at: at, size: int32(len(record)), since: s.since, qos: s.message.QoS})
		return 1, nil
	})
	if err != nil {
		return err
	}
	b.journal = j
	for as, l := range b.lanes {
		superseded = append(superseded, l.sort(marks[as])...)
		for _, e := range l.entries {
			b.stats.Queued++
			b.stats.QueuedBytes += int64(e.size)
		}
	}
	for _, at := range superseded {
		j.Release(at)
	}
	if b.stats.Queued > 0 {
		b.log.Info("messages wait for the broker", "messages", b.stats.Queued, "bytes", b.stats.QueuedBytes)
	}
	b.bound()
	return nil
}

// sort puts a lane's entries in order and returns the positions of those that are of no use: taken
// before, or moved since.
func (l *lane) sort(mark uint64) []journal.Position {
	slices.SortFunc(l.entries, func(a, b *entry) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.at, b.at)) })
	var useless []journal.Position
	kept := l.entries[:0]
	for i, e := range l.entries {
		if e.seq <= mark || i+1 < len(l.entries) && l.entries[i+1].seq == e.seq {
			useless = append(useless, e.at)
			continue
		}
		kept = append(kept, e)
	}
	clear(l.entries[len(kept):])
	l.entries = kept
	return useless
}

// move is journal.Options.Move: it appends anew what still waits.
func (b *Bus) move(at journal.Position, record []byte) {
	s, err := decode(record)
	if err != nil || s.kind != kindMessage {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.lanes[s.as]
	if !ok {
		return
	}
	i := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].seq >= s.seq })
	if i == len(l.entries) || l.entries[i].seq != s.seq || l.entries[i].done || l.entries[i].at != at {
		return
	}
	l.entries[i].at = b.journal.Append(1, record)
	b.journal.Release(at)
}
