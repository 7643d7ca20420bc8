package modbus

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	epoch    = time.Unix(1_700_000_000, 0)
	usual    = limits{registers: 120, bits: 1920, registerGap: 16, bitGap: 128, join: true}
	holding1 = table{unit: 1, fc: 3}
)

func register(first, count, size int) item {
	return item{span: span{holding1, first, count}, size: size}
}

func spansOf(requests []request) []span {
	var out []span
	for _, r := range requests {
		out = append(out, r.span)
	}
	return out
}

func TestPlan(t *testing.T) {
	apart := usual
	apart.join = false
	small := usual
	small.registers = 6
	other := item{span: span{table{2, 3}, 2, 1}, size: 1}
	tests := []struct {
		name   string
		limits limits
		items  []item
		want   []span
	}{
		{"nothing", usual, nil, nil},
		{"neighbours join", usual, []item{register(2, 2, 2), register(0, 2, 2)}, []span{{holding1, 0, 4}}},
		{"a hole of 16 is filled", usual, []item{register(0, 1, 1), register(17, 1, 1)}, []span{{holding1, 0, 18}}},
		{"a hole of 17 is not", usual, []item{register(0, 1, 1), register(18, 1, 1)}, []span{{holding1, 0, 1}, {holding1, 18, 1}}},
		{"units stay apart", usual, []item{other, register(0, 2, 2)}, []span{{holding1, 0, 2}, other.span}},
		{"overlaps are read once", usual, []item{register(0, 10, 1), register(3, 1, 1), register(3, 1, 1)}, []span{{holding1, 0, 10}}},
		{"the limit holds", small, []item{register(0, 4, 4), register(4, 4, 4)}, []span{{holding1, 0, 4}, {holding1, 4, 4}}},
		{"a long one is cut between values", small, []item{register(0, 16, 4)}, []span{{holding1, 0, 4}, {holding1, 4, 4}, {holding1, 8, 4}, {holding1, 12, 4}}},
		{"one request a point", apart, []item{register(0, 1, 1), register(1, 1, 1), register(1, 1, 1)}, []span{{holding1, 0, 1}, {holding1, 1, 1}, {holding1, 1, 1}}},
	}
	for _, test := range tests {
		if got := spansOf(plan(test.items, test.limits, newMemory(), epoch)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func randomItems(r *rand.Rand) []item {
	sizes := []int{1, 2, 4}
	items := make([]item, 1+r.IntN(60))
	for i := range items {
		tab := table{unit: byte(1 + r.IntN(3)), fc: byte(1 + r.IntN(4))}
		size := 1
		if !tab.bits() {
			size = sizes[r.IntN(len(sizes))]
		}
		count := size * (1 + r.IntN(3))
		if r.IntN(20) == 0 {
			count = size * (1 + r.IntN(400))
		}
		first := r.IntN(300)
		if r.IntN(10) == 0 {
			first = tableLength - count
		}
		items[i] = item{span: span{tab, first, count}, size: size}
	}
	return items
}

func randomLimits(r *rand.Rand) limits {
	n := 4 + r.IntN(122)
	return limits{registers: n, bits: min(16*n, 2000), registerGap: r.IntN(20), bitGap: r.IntN(200), join: r.IntN(5) > 0}
}

func randomMemory(r *rand.Rand, items []item) *memory {
	m := newMemory()
	for _, it := range items {
		switch r.IntN(8) {
		case 0:
			m.alone[it.span] = epoch.Add(time.Minute)
		case 1:
			m.breaks[it.span] = epoch.Add(time.Minute)
		}
	}
	return m
}

// TestPlanProperties shows for random points that each is covered once and exactly, that no
// request is longer than allowed, and that no hole is longer than allowed.
func TestPlanProperties(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		items, l := randomItems(r), randomLimits(r)
		m := randomMemory(r, items)
		requests := plan(items, l, m, epoch)
		covered := make([][]bool, len(items))
		for i, it := range items {
			covered[i] = make([]bool, it.count)
		}
		for _, request := range requests {
			checkRequest(t, request, l, m)
			for _, p := range request.pieces {
				it := items[p.item]
				if p.table != it.table || p.first < it.first || p.end() > it.end() || p.first < request.first || p.end() > request.end() {
					t.Fatalf("seed %d: piece %v of %v in %v", seed, p.span, it.span, request.span)
				}
				if most, _ := l.of(it.table); it.size <= most && (p.first-it.first)%it.size != 0 {
					t.Fatalf("seed %d: piece %v tears a value of %v", seed, p.span, it.span)
				}
				for at := p.first; at < p.end(); at++ {
					if covered[p.item][at-it.first] {
						t.Fatalf("seed %d: %d of %v is read twice", seed, at, it.span)
					}
					covered[p.item][at-it.first] = true
				}
			}
		}
		for i, c := range covered {
			if slices.Contains(c, false) {
				t.Fatalf("seed %d: %v is not covered", seed, items[i].span)
			}
		}
	}
}

func checkRequest(t *testing.T, r request, l limits, m *memory) {
	t.Helper()
	most, gap := l.of(r.table)
	if r.count < 1 || r.count > most || r.end() > tableLength {
		t.Fatalf("request %v is longer than %d", r.span, most)
	}
	if !l.join && len(r.pieces) > 1 {
		t.Fatalf("request %v joins %d points", r.span, len(r.pieces))
	}
	end := r.first
	for i, p := range r.pieces {
		if p.first > end+gap {
			t.Fatalf("request %v fills a hole before %v", r.span, p.span)
		}
		end = max(end, p.end())
		if different := p.span != r.pieces[0].span; different && !m.alone[p.span].IsZero() {
			t.Fatalf("request %v holds %v, which should be alone", r.span, p.span)
		}
		if i > 0 && p.span != r.pieces[i-1].span && !m.breaks[p.span].IsZero() {
			t.Fatalf("request %v goes on over a break before %v", r.span, p.span)
		}
	}
	if end != r.end() {
		t.Fatalf("request %v ends after its last piece, %d", r.span, end)
	}
}

// TestHalves shows that splitting ends, keeps every piece and never parts equal ones.
func TestHalves(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		for _, whole := range plan(randomItems(r), usual, newMemory(), epoch) {
			var leaves int
			var walk func(request)
			walk = func(q request) {
				left, right, ok := q.halves()
				if !ok {
					leaves += len(q.pieces)
					for _, p := range q.pieces {
						if p.span != q.span {
							t.Fatalf("seed %d: %v in a request for %v is not split", seed, p.span, q.span)
						}
					}
					return
				}
				if left.pieces[len(left.pieces)-1].span == right.pieces[0].span {
					t.Fatalf("seed %d: %v is on both sides", seed, right.pieces[0].span)
				}
				walk(left)
				walk(right)
			}
			walk(whole)
			if leaves != len(whole.pieces) {
				t.Fatalf("seed %d: %d pieces became %d", seed, len(whole.pieces), leaves)
			}
		}
	}
}

func TestMemoryForgets(t *testing.T) {
	a, b := register(0, 1, 1), register(1, 1, 1)
	items := []item{a, b}
	m := newMemory()
	if got := len(plan(items, usual, m, epoch)); got != 1 {
		t.Fatalf("%d requests at first", got)
	}
	m.learn(trail{bad: []span{a.span}, splits: []span{b.span}}, epoch.Add(time.Minute), epoch)
	if got := len(plan(items, usual, m, epoch)); got != 2 {
		t.Errorf("%d requests after one point was refused", got)
	}
	if len(m.breaks) != 0 {
		t.Error("a hole is blamed though a point was bad")
	}
	if got := len(plan(items, usual, m, epoch.Add(time.Hour))); got != 1 {
		t.Errorf("%d requests after an hour: the split is not tried again", got)
	}
	m.forgive(a.span)
	if got := len(plan(items, usual, m, epoch)); got != 1 {
		t.Errorf("%d requests after the point was read", got)
	}
	m.learn(trail{splits: []span{b.span}}, epoch.Add(time.Minute), epoch)
	if got := len(plan(items, usual, m, epoch)); got != 2 {
		t.Errorf("%d requests after a hole was refused", got)
	}
	m.learn(trail{}, epoch, epoch.Add(time.Hour))
	if len(m.breaks)+len(m.alone) != 0 {
		t.Error("old experience is kept for ever")
	}
}

func BenchmarkPlan1000(b *testing.B) {
	items := make([]item, 1000)
	for i := range items {
		items[i] = register(1000+i, 1, 1)
	}
	m := newMemory()
	for b.Loop() {
		plan(items, usual, m, epoch)
	}
}
