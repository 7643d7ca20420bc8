package broker

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/journal"
)

// recovery rebuilds sessions, queues and retained messages from the journal.
type recovery struct {
	b        *Broker
	sessions map[uint32]*recovered
	log      quiet
	now      time.Time
}

// recovered is a session of the journal. A compaction may have put its own record after
// others that name it; if none comes it is one that was never to outlive its connection.
type recovered struct {
	*session
	last sessionRecord
	late map[uint64]stored // messages that a compaction has put after later ones
}

// lookup returns the session with the number, as far as it is known yet.
func (r *recovery) lookup(num uint32) *recovered {
	s := r.sessions[num]
	if s == nil {
		s = &recovered{session: &session{num: num, durable: true}}
		r.sessions[num] = s
		r.b.lastSession = max(r.b.lastSession, num)
	}
	return s
}

func newRecovery(b *Broker) *recovery {
	return &recovery{b: b, sessions: map[uint32]*recovered{}, now: time.Now()}
}

// replay takes one record in and returns how many references to it live.
func (r *recovery) replay(j *journal.Journal, at journal.Position, rec []byte) (live int, err error) {
	if len(rec) == 0 {
		return 0, nil
	}
	switch rec[0] {
	case recordMessage:
		live, err = r.message(j, at, rec)
	case recordSession:
		live, err = r.session(j, at, rec)
	case recordSubscribe:
		live, err = r.subscribe(j, at, rec)
	default:
		err = r.change(j, rec)
	}
	if err != nil {
		if r.log.allow() {
			r.b.log.Error("a record of the broker's journal cannot be understood: it is left out", "position", at, "error", err)
		}
	}
	return live, nil
}

func (r *recovery) session(j *journal.Journal, at journal.Position, rec []byte) (int, error) {
	read, err := readSession(rec)
	if err != nil {
		return 0, err
	}
	s := r.lookup(read.num)
	if s.record != 0 {
		j.Release(s.record)
	}
	s.last, s.record, s.key = read, at, read.key
	return 1, nil
}

func (r *recovery) subscribe(j *journal.Journal, at journal.Position, rec []byte) (int, error) {
	num, sub, err := readSubscription(rec)
	if err != nil {
		return 0, err
	}
	s := r.lookup(num)
	if former := s.subscriptions.get(sub.name()); former != nil {
		j.Release(former.record)
	}
	sub.record = at
	s.subscriptions.put(sub)
	return 1, nil
}

// message takes in a message, or a later copy of one that a compaction has moved.
func (r *recovery) message(j *journal.Journal, at journal.Position, rec []byte) (live int, err error) {
	f := fields{rest: rec[1:]}
	var m message
	h := f.head(&m)
	var to recipient
	size := uint32(messageBytes + len(rec))
	for range h.count {
		f.recipient(&to)
		if f.bad || to.num == 0 {
			return live, errRecord
		}
		live++
		r.lookup(to.num).keep(j, stored{at: at, seq: to.seq, size: size, qos: to.qos})
	}
	if h.receipt.num != 0 {
		s := r.lookup(h.receipt.num)
		if former, again := s.received[h.receipt.id]; again {
			j.Release(former)
		}
		s.receive(h.receipt.id, at)
		live++
	}
	if !h.retained || f.bad {
		return live, nil
	}
	_, whole, err := readMessage(append([]byte(nil), rec...), func(*recipient) {})
	if err != nil {
		return live, err
	}
	if len(whole.Payload) == 0 || whole.expired(r.now) {
		r.release(j, r.b.retained.set(whole.Topic, nil, 0))
		return live, nil
	}
	r.release(j, r.b.retained.set(whole.Topic, whole, at))
	return live + 1, nil
}

// keep puts a message at the end of the queue, or notes the new place of one that was moved.
func (s *recovered) keep(j *journal.Journal, st stored) {
	if i := s.box.searchTail(st.seq); i >= 0 {
		old := s.box.tail.at(i)
		j.Release(old.at)
		old.at = st.at
		return
	}
	old, again := s.late[st.seq]
	if n := s.box.tail.len(); !again && (n == 0 || s.box.tail.at(n-1).seq < st.seq) {
		s.box.seq = max(s.box.seq, st.seq)
		s.box.keepOnDisk(st)
		return
	}
	if again {
		j.Release(old.at)
		st.released, st.id = old.released, old.id
	}
	if s.late == nil {
		s.late = map[uint64]stored{}
	}
	s.late[st.seq] = st
}

// sort puts the late messages in their places.
func (s *recovered) sort() {
	if len(s.late) == 0 {
		return
	}
	all := slices.AppendSeq(slices.Clone(s.box.tail.all()), maps.Values(s.late))
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.seq, b.seq) })
	s.box.tail, s.box.onDisk, s.late = fifo[stored]{}, 0, nil
	for _, st := range all {
		s.box.keepOnDisk(st)
	}
}

func (r *recovery) release(j *journal.Journal, at journal.Position) {
	if at != 0 {
		j.Release(at)
	}
}

// change takes in what ends or moves on something that was recorded before.
func (r *recovery) change(j *journal.Journal, rec []byte) error {
	f := fields{rest: rec[1:]}
	s := r.lookup(uint32(f.uint()))
	switch rec[0] {
	case recordEnd:
		r.end(j, s)
	case recordUnsubscribe:
		name := string(f.bytes())
		if sub := s.subscriptions.get(name); sub != nil {
			j.Release(sub.record)
			s.subscriptions.remove(name)
		}
	case recordDone:
		s.done(j, f.uint())
	case recordReleased:
		s.note(f.uint(), func(st *stored) { st.released = true })
	case recordID:
		seq, id := f.uint(), uint16(f.uint())
		s.note(seq, func(st *stored) { st.id = id })
	case recordForgotten:
		id := uint16(f.uint())
		r.release(j, s.received[id])
		delete(s.received, id)
	default:
		return errRecord
	}
	if f.bad {
		return errRecord
	}
	return nil
}

// note changes what is known of a message that waits.
func (s *recovered) note(seq uint64, change func(*stored)) {
	if i := s.box.searchTail(seq); i >= 0 {
		change(s.box.tail.at(i))
	}
	if st, there := s.late[seq]; there {
		change(&st)
		s.late[seq] = st
	}
}

func (s *recovered) done(j *journal.Journal, seq uint64) {
	s.box.seq = max(s.box.seq, seq)
	if st, there := s.late[seq]; there {
		j.Release(st.at)
		delete(s.late, seq)
		return
	}
	i := s.box.searchTail(seq)
	if i < 0 {
		return
	}
	j.Release(s.box.tail.at(i).at)
	s.box.onDisk -= int64(s.box.tail.at(i).size)
	s.box.tail.remove(i)
}

func (r *recovery) end(j *journal.Journal, s *recovered) {
	release := func(at journal.Position) { r.release(j, at) }
	release(s.record)
	s.box.positions(release)
	for _, st := range s.late {
		release(st.at)
	}
	for _, at := range s.received {
		release(at)
	}
	s.subscriptions.each(func(sub *subscription) { release(sub.record) })
	delete(r.sessions, s.num)
}

// finish puts the sessions in force. One that was connected when the broker went down has
// lost its connection now.
func (r *recovery) finish(j *journal.Journal) {
	for _, s := range r.sessions {
		if s.record == 0 {
			r.end(j, s)
			continue
		}
		s.sort()
		r.revive(s)
	}
}

func (r *recovery) revive(s *recovered) {
	b := r.b
	s.expiry, s.endsAt, s.will = s.last.expiry, s.last.endsAt, s.last.will
	sent := s.last.sent
	if s.last.connected {
		sent = r.cutOff(s)
	}
	s.box.restore(sent, b.limits.Inflight)
	b.register(s.session)
	b.account(s.session)
	if id := b.policy.Load().identities[s.key.user]; id != nil {
		s.identity.Store(id)
	} else if b.known() {
		s.expiry, s.endsAt = 0, r.now // the broker went down between the policy and the end of its sessions
	}
	s.subscriptions.each(func(sub *subscription) {
		sub.owner = &s.subscriber
		b.index.add(sub)
		s.filterBytes += sub.bytes()
		b.filterBytes += sub.bytes()
		sub.owner.filters++
		b.stats.subscriptions.Add(1)
	})
}

// cutOff makes of a session that was connected one that has just lost its connection, and
// returns up to which seq it may have been sent messages: all, since acknowledgements of the
// last moments may not have been written.
func (r *recovery) cutOff(s *recovered) (sent uint64) {
	switch s.expiry {
	case 0:
		s.endsAt = r.now // its connection is over, and so is it
	case neverExpires:
		s.endsAt = time.Time{}
	default:
		s.endsAt = r.now.Add(time.Duration(s.expiry) * time.Second)
	}
	if s.will != nil {
		s.will.at = r.now.Add(s.will.delay)
	}
	return max(s.box.seq, s.last.sent)
}
