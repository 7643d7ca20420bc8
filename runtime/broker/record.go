package broker

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// The kinds of record in the journal. Each begins with its kind; numbers are unsigned
// varints, texts have a varint length before them. A session is named by its number.
const (
	recordMessage     = 'M' // a message: whom it waits for, whether it is its topic's retained one
	recordSession     = 'S' // a session as it is now
	recordEnd         = 'X' // a session has ended, with all that belongs to it
	recordSubscribe   = 'U'
	recordUnsubscribe = 'V'
	recordDone        = 'A' // a session's message needs no delivery any more
	recordReleased    = 'R' // PUBREC has come for a session's message: PUBREL is what is repeated
	recordID          = 'P' // the packet id of a session's message, where its seq does not make it
	recordForgotten   = 'O' // PUBREL has come for a QoS 2 packet id that was taken in
)

var errRecord = errors.New("a record that this release does not understand")

// fields decodes a record.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.bad, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) bytes() []byte {
	n := f.uint()
	if n > uint64(len(f.rest)) {
		f.bad, f.rest = true, nil
		return nil
	}
	v := f.rest[:n:n]
	f.rest = f.rest[n:]
	return v
}

func (f *fields) time() time.Time {
	if v := f.uint(); v != 0 {
		return time.Unix(0, int64(v))
	}
	return time.Time{}
}

func appendBytes[T ~string | ~[]byte](out []byte, v T) []byte {
	return append(binary.AppendUvarint(out, uint64(len(v))), v...)
}

func appendTime(out []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(out, 0)
	}
	return binary.AppendUvarint(out, uint64(t.UnixNano()))
}

// recipient is one session that a message on disk waits for.
type recipient struct {
	num    uint32
	seq    uint64
	qos    byte
	retain bool
	ids    []int
}

func appendRecipient(out []byte, r *recipient) []byte {
	out = binary.AppendUvarint(out, uint64(r.num))
	out = binary.AppendUvarint(out, r.seq)
	flags := uint64(r.qos)
	if r.retain {
		flags |= 4
	}
	out = binary.AppendUvarint(out, flags|uint64(len(r.ids))<<3)
	for _, id := range r.ids {
		out = binary.AppendUvarint(out, uint64(id))
	}
	return out
}

func (f *fields) recipient(r *recipient) {
	r.num, r.seq = uint32(f.uint()), f.uint()
	flags := f.uint()
	r.qos, r.retain = byte(flags&3), flags&4 != 0
	r.ids = nil
	for range min(flags>>3, uint64(len(f.rest))) {
		r.ids = append(r.ids, int(f.uint()))
	}
}

// receipt names the QoS 2 exchange in which a message came: a session's number, 0 for none, and its packet id.
type receipt struct {
	num uint32
	id  uint16
}

// messageRecord is what of a message stands before its body.
type messageRecord struct {
	stored   time.Time
	retained bool
	receipt  receipt
	count    int // of recipients
}

func appendMessage(out []byte, h *messageRecord, to []recipient, m *message) []byte {
	out = appendTime(append(out, recordMessage), h.stored)
	flags := uint64(m.QoS)
	if h.retained {
		flags |= 4
	}
	if m.Retain {
		flags |= 8
	}
	out = binary.AppendUvarint(out, flags)
	out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(h.receipt.num)), uint64(h.receipt.id))
	out = binary.AppendUvarint(out, uint64(len(to)))
	for i := range to {
		out = appendRecipient(out, &to[i])
	}
	out = appendTime(out, m.expires)
	out = appendBytes(out, m.Topic)
	out = appendBytes(out, m.props)
	return appendBytes(out, m.Payload)
}

// head reads what stands before the recipients; m gets its QoS and Retain.
func (f *fields) head(m *message) (h messageRecord) {
	h.stored = f.time()
	flags := f.uint()
	m.QoS, h.retained, m.Retain = byte(flags&3), flags&4 != 0, flags&8 != 0
	h.receipt.num, h.receipt.id = uint32(f.uint()), uint16(f.uint())
	h.count = int(min(f.uint(), uint64(len(f.rest))))
	return h
}

// body reads the message itself, which then shares its bytes with the record.
func (f *fields) body(m *message) {
	m.expires = f.time()
	m.Topic = string(f.bytes())
	m.props = f.bytes()
	m.Payload = f.bytes()
}

// readMessage decodes a whole message record; each is called for its recipients.
func readMessage(rec []byte, each func(*recipient)) (h messageRecord, m *message, err error) {
	f := fields{rest: rec[1:]}
	m = &message{}
	h = f.head(m)
	var r recipient
	for range h.count {
		f.recipient(&r)
		each(&r)
	}
	f.body(m)
	if f.bad {
		return h, nil, errRecord
	}
	return h, m, spec.CheckTopic(m.Topic)
}

func appendNumbers(out []byte, kind byte, numbers ...uint64) []byte {
	out = append(out, kind)
	for _, n := range numbers {
		out = binary.AppendUvarint(out, n)
	}
	return out
}

// sessionRecord is what of a session stands on disk, beside its subscriptions and messages.
type sessionRecord struct {
	num       uint32
	key       sessionKey
	expiry    uint32
	connected bool
	endsAt    time.Time // while not connected; zero: never
	sent      uint64    // the highest seq that may have been sent, while not connected
	will      *will
}

func appendSession(out []byte, r *sessionRecord) []byte {
	connected := uint64(0)
	if r.connected {
		connected = 1
	}
	out = appendNumbers(out, recordSession, uint64(r.num), uint64(r.expiry), connected, r.sent)
	out = appendTime(out, r.endsAt)
	out = appendBytes(appendBytes(out, r.key.user), r.key.client)
	if r.will == nil {
		return out
	}
	w := r.will
	flags := uint64(w.msg.QoS)
	if w.msg.Retain {
		flags |= 4
	}
	out = binary.AppendUvarint(append(out, 1), flags)
	out = binary.AppendUvarint(out, uint64(w.delay))
	out = appendTime(out, w.at)
	out = binary.AppendUvarint(out, uint64(w.lifetime))
	out = appendBytes(appendBytes(appendBytes(out, w.msg.Topic), w.msg.props), w.msg.Payload)
	return out
}

// readSession decodes a session's record. It shares no bytes with it.
func readSession(rec []byte) (r sessionRecord, err error) {
	f := fields{rest: rec[1:]}
	r.num, r.expiry = uint32(f.uint()), uint32(f.uint())
	r.connected, r.sent = f.uint() == 1, f.uint()
	r.endsAt = f.time()
	r.key.user, r.key.client = string(f.bytes()), string(f.bytes())
	if len(f.rest) > 0 {
		f.rest = f.rest[1:]
		w := &will{as: r.key.user, msg: &message{}}
		flags := f.uint()
		w.msg.QoS, w.msg.Retain = byte(flags&3), flags&4 != 0
		w.delay, w.at, w.lifetime = time.Duration(f.uint()), f.time(), time.Duration(f.uint())
		w.msg.Topic = string(f.bytes())
		w.msg.props, w.msg.Payload = append([]byte(nil), f.bytes()...), append([]byte(nil), f.bytes()...)
		r.will = w
	}
	if f.bad {
		return r, errRecord
	}
	return r, nil
}

func appendSubscription(out []byte, num uint32, s *subscription) []byte {
	flags := uint64(s.qos) | uint64(s.retainHandling)<<2
	if s.noLocal {
		flags |= 16
	}
	if s.retainAsPublished {
		flags |= 32
	}
	out = appendNumbers(out, recordSubscribe, uint64(num), flags, uint64(s.id))
	return appendBytes(out, s.name())
}

func readSubscription(rec []byte) (num uint32, s *subscription, err error) {
	f := fields{rest: rec[1:]}
	num = uint32(f.uint())
	flags, id := f.uint(), f.uint()
	name := string(f.bytes())
	if f.bad {
		return 0, nil, errRecord
	}
	if s, err = parseFilter(name); err != nil {
		return 0, nil, err
	}
	s.id, s.qos, s.retainHandling = int(id), byte(flags&3), byte(flags>>2&3)
	s.noLocal, s.retainAsPublished = flags&16 != 0, flags&32 != 0
	return num, s, nil
}

func appendUnsubscription(out []byte, num uint32, name string) []byte {
	return appendBytes(appendNumbers(out, recordUnsubscribe, uint64(num)), name)
}
