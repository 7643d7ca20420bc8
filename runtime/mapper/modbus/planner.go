package modbus

import (
	"cmp"
	"slices"
	"time"
)

// table is one of a unit's four tables, named by the function code that reads it.
type table struct {
	unit, fc byte
}

// bits reports whether the table holds bits, not registers.
func (t table) bits() bool { return t.fc == 1 || t.fc == 2 || t.fc == 5 || t.fc == 15 }

// width is how many bytes one entry takes in this package: bits are kept as bytes 0 and 1.
func (t table) width() int {
	if t.bits() {
		return 1
	}
	return 2
}

// span is a run of entries of one table.
type span struct {
	table
	first, count int
}

func (s span) end() int { return s.first + s.count }

// item is what one point wants to read. Its values of size entries each are never torn apart.
type item struct {
	span
	size int
}

// piece is an item, or a part of one that is too long for one request.
type piece struct {
	span
	item int // index into plan's items
}

// request is one question to the device and the pieces that its answer holds.
type request struct {
	span
	pieces []piece
}

// limits of requests. A gap is a hole between neighbours that is read along with them.
type limits struct {
	registers, bits     int
	registerGap, bitGap int
	join                bool // false: one point a request
}

func (l limits) of(t table) (most, gap int) {
	if t.bits() {
		return l.bits, l.bitGap
	}
	return l.registers, l.registerGap
}

// plan joins items into requests, in the order of unit, function code and address. Every item
// is covered once, no request is longer than the limits allow, and m's experience is heeded.
func plan(items []item, l limits, m *memory, now time.Time) []request {
	var out []request
	for _, p := range chop(items, l) {
		if n := len(out); n > 0 && joins(out[n-1], p, l, m, now) {
			out[n-1].add(p)
			continue
		}
		out = append(out, request{span: p.span, pieces: []piece{p}})
	}
	return out
}

// chop cuts items that are too long for one request and sorts the pieces.
func chop(items []item, l limits) []piece {
	out := make([]piece, 0, len(items))
	for i, it := range items {
		most, _ := l.of(it.table)
		most = max(most-most%it.size, it.size)
		for first := it.first; first < it.end(); first += most {
			p := piece{span: it.span, item: i}
			p.first, p.count = first, min(most, it.end()-first)
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b piece) int { return compareSpans(a.span, b.span) })
	return out
}

func compareSpans(a, b span) int {
	return cmp.Or(
		cmp.Compare(a.unit, b.unit), cmp.Compare(a.fc, b.fc),
		cmp.Compare(a.first, b.first), cmp.Compare(a.count, b.count),
	)
}

func joins(r request, p piece, l limits, m *memory, now time.Time) bool {
	most, gap := l.of(r.table)
	switch {
	case !l.join || r.table != p.table:
		return false
	case r.span == p.span:
		return true
	case p.first > r.end()+gap || max(r.end(), p.end())-r.first > most:
		return false
	}
	return !m.apart(r, p, now)
}

// add extends the request over a piece that begins no earlier.
func (r *request) add(p piece) {
	r.count = max(r.end(), p.end()) - r.first
	r.pieces = append(r.pieces, p)
}

// halves splits a request between two different pieces, as near to the middle as it goes.
// It reports false if all pieces are the same span.
func (r request) halves() (left, right request, ok bool) {
	middle, best := 0, len(r.pieces)
	for i := 1; i < len(r.pieces); i++ {
		if distance := abs(2*i - len(r.pieces)); r.pieces[i].span != r.pieces[i-1].span && distance < best {
			middle, best = i, distance
		}
	}
	if middle == 0 {
		return r, request{}, false
	}
	return requestFor(r.pieces[:middle]), requestFor(r.pieces[middle:]), true
}

func abs(n int) int { return max(n, -n) }

// requestFor covers sorted pieces of one table.
func requestFor(pieces []piece) request {
	r := request{span: pieces[0].span}
	for _, p := range pieces {
		r.add(p)
	}
	return r
}
