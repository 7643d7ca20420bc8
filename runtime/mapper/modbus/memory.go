package modbus

import (
	"maps"
	"time"
)

// memory is what a session has learned from refused requests: which spans are refused even
// alone, and before which spans a request must end because the hole in front of them cannot be
// read. Everything is forgotten after a while, so that it is tried again. It belongs to the
// session's one goroutine.
type memory struct {
	alone  map[span]time.Time
	breaks map[span]time.Time
}

func newMemory() *memory {
	return &memory{alone: map[span]time.Time{}, breaks: map[span]time.Time{}}
}

// apart reports whether p must not be joined to r.
func (m *memory) apart(r request, p piece, now time.Time) bool {
	return now.Before(m.breaks[p.span]) || now.Before(m.alone[p.span]) ||
		now.Before(m.alone[r.pieces[len(r.pieces)-1].span])
}

// trail is what splitting one refused request has shown.
type trail struct {
	bad    []span // refused alone
	splits []span // where requests were split
}

// learn keeps the bad spans. If there are none, the holes were to blame, and it keeps the splits.
func (m *memory) learn(t trail, until, now time.Time) {
	for _, known := range []map[span]time.Time{m.alone, m.breaks} {
		maps.DeleteFunc(known, func(_ span, end time.Time) bool { return now.After(end) })
	}
	for _, s := range t.bad {
		m.alone[s] = until
	}
	if len(t.bad) == 0 {
		for _, s := range t.splits {
			m.breaks[s] = until
		}
	}
}

// forgive forgets that a span was refused alone.
func (m *memory) forgive(s span) { delete(m.alone, s) }
