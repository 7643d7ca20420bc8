package modbus

import (
	"fmt"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// retryAfter is how long a session remembers that a joined request was refused.
	retryAfter = 10 * time.Minute
	// firstRevival and lastRevival bound the growing pause between two questions to a silent unit.
	firstRevival = time.Second
	lastRevival  = 8 * time.Second
	// lineShare is the least part of the time that a shared line keeps for units that answer:
	// after asking a silent unit for one time-out, it is left alone for this many.
	lineShare = 4
)

// unit is what a session knows of one unit.
type unit struct {
	answered bool
	silent   bool      // its points fail at once, and a goroutine asks whether it is back
	mute     bool      // silent, and nobody else spoke for it
	why      error     // why it is silent
	revived  time.Time // when it came back last
	question span      // a read that it should answer
}

// unit returns the entry; s.mu is held.
func (s *session) unit(id byte) *unit {
	u := s.units[id]
	if u == nil {
		u = &unit{}
		s.units[id] = u
	}
	return u
}

// rank orders units by how likely they answer; s.mu is held.
func (s *session) rank(id byte) int {
	if u := s.units[id]; u != nil && u.answered {
		return 0
	}
	return 1
}

// silence returns why a unit is not asked at present, nil if it is.
func (s *session) silence(id byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.units[id]; u != nil && u.silent {
		return spec.Errorf(spec.Unavailable, "unit %d is silent and is asked now and then whether it is back: %w", id, u.why)
	}
	return nil
}

// judge draws the conclusions from how a request ended: the session ends if the link is lost or
// no unit answers, and goes on without the unit if others do.
func (s *session) judge(what span, err error, probe bool) {
	if answered(err) {
		s.garbled = 0
		s.noteAnswer(what.unit)
		return
	}
	framed := s.c.framed()
	switch f := faultOf(err); {
	case f == faultLost, f == faultBroken && framed:
		s.lose(err)
	case f == faultForeign && framed:
		// The frame was whole and numbered as it should be: only this request has failed.
	case f == faultForeign, f == faultBroken:
		s.clearLine(err)
	case probe && f == faultSilent:
		s.clearLine(nil)
	case !probe:
		s.isolate(what, err, f == faultSilent)
	}
}

// lose ends the session with its link. A device that drops it because of a second connection
// gets no second one again.
func (s *session) lose(err error) {
	s.mu.Lock()
	kicked := !s.aside.IsZero() && time.Since(s.aside) < firstRevival
	s.mu.Unlock()
	if kicked && s.c.single.CompareAndSwap(false, true) {
		s.c.config.Log.Info("the device drops the first connection for a second one; silent units are asked on the first one from now on")
	}
	s.fail(fmt.Errorf("the connection is lost: %w", err))
}

func (s *session) noteAnswer(id byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unit(id).answered = true
	s.lastAnswer = time.Now()
}

// clearLine makes sure, where frames have no transaction ids, that a late answer is not taken
// for the next question's: the line is closed and opened again.
func (s *session) clearLine(broken error) {
	if s.c.framed() {
		return
	}
	if broken != nil {
		if s.garbled++; s.garbled >= garbledInARow {
			s.fail(fmt.Errorf("%d broken answers in a row: %w", s.garbled, broken))
			return
		}
	}
	s.link.close()
	l, err := s.c.open(s.ctx)
	if err != nil {
		s.fail(fmt.Errorf("cannot open the line again: %w", err))
		return
	}
	s.link = l
}

// isolate leaves a silent unit aside, or ends the session if there is nobody else to talk to.
func (s *session) isolate(what span, err error, mute bool) {
	question := readable(what)
	if s.hopeless(question, err, mute) {
		s.fail(fmt.Errorf("no unit answers: %w", err))
		return
	}
	s.c.config.Log.Warn("a unit is silent; the others are read on", "unit", int(what.unit), "error", err)
	if mute {
		s.clearLine(nil)
	}
	go s.revive(question)
}

// hopeless marks the unit as silent and reports whether the whole link is to blame: every unit
// is mute, or this one came back on a link of its own but has never answered on this one since.
func (s *session) hopeless(question span, err error, mute bool) bool {
	s.c.mu.Lock()
	known := make([]byte, 0, len(s.c.units))
	for id := range s.c.units {
		known = append(known, id)
	}
	s.c.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.unit(question.unit)
	u.silent, u.mute, u.why, u.question = true, mute, err, question
	if !mute {
		return false
	}
	all := true
	for _, id := range known {
		all = all && s.unit(id).mute
	}
	stale := !u.revived.IsZero() && s.lastAnswer.Before(u.revived)
	if !all && !stale {
		return false
	}
	var doubts []span
	for _, other := range s.units {
		if other.mute {
			doubts = append(doubts, other.question)
		}
	}
	s.c.setDoubts(doubts)
	return true
}

// readable turns a write into a read of its first entry, which is safe to repeat.
func readable(s span) span {
	switch s.fc {
	case 5, 15:
		s.fc, s.count = 1, 1
	case 6, 16:
		s.fc, s.count = 3, 1
	}
	return s
}

// revive asks a silent unit with growing pauses until it answers or the session ends.
func (s *session) revive(question span) {
	wait := firstRevival
	for n := 0; sleep(s.ctx, wait) == nil; n++ {
		numbered, err := s.askAside(question)
		if !numbered {
			err = s.askBetween(question.varied(n), n > 0)
		}
		if answered(err) {
			s.welcome(question.unit)
			return
		}
		wait = min(2*wait, lastRevival)
	}
}

// askAside asks on a connection of its own, so that nobody waits. It reports false, and has not
// asked, if that is not to be had.
func (s *session) askAside(question span) (bool, error) {
	if !s.c.framed() || s.c.single.Load() {
		return false, nil
	}
	s.mu.Lock()
	s.aside = time.Now()
	s.mu.Unlock()
	l, err := s.c.open(s.ctx)
	if err != nil {
		return false, nil //nolint:nilerr // the device may take one connection only
	}
	defer l.close()
	if err := sleep(s.ctx, milliseconds(s.c.conn.ConnectDelay)); err != nil {
		return true, err
	}
	_, err = l.ask(question, nil)
	return true, err
}

// askBetween asks between the others' questions, and, when it is not the first time, rarely.
func (s *session) askBetween(question span, again bool) error {
	if again {
		if err := sleep(s.ctx, lineShare*s.c.timeout()); err != nil {
			return err
		}
	}
	_, err := s.do(s.ctx, &call{ctx: s.ctx, span: question, probe: true})
	return err
}

// varied returns a question whose answer has another length than s's and than the one before,
// so that on a line without transaction ids a late answer is recognised.
func (s span) varied(n int) span {
	short, long := 1, 2
	if s.bits() {
		long = 9
	}
	if (s.count == short) != (n%2 == 1) {
		short = long
	}
	s.count = min(short, tableLength-s.first)
	return s
}

// welcome lets a unit be asked again.
func (s *session) welcome(id byte) {
	s.mu.Lock()
	u := s.unit(id)
	u.silent, u.mute, u.why, u.revived = false, false, nil, time.Now()
	s.mu.Unlock()
	s.c.config.Log.Info("a silent unit is back", "unit", int(id))
}
