package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

// The index finds exactly what spec.TopicMatches says, through additions and removals.
func TestIndexMatches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	path := func(alphabet ...string) string {
		levels := make([]string, 1+rnd.IntN(4))
		for i := range levels {
			levels[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return strings.Join(levels, "/")
	}
	filter := func() string {
		for {
			if f := path("a", "b", "", "+", "#", "$SYS"); spec.CheckFilter(f) == nil {
				return f
			}
		}
	}
	var x index
	var subs []*subscription
	for round := range 4000 {
		if len(subs) > 50 || len(subs) > 0 && rnd.IntN(3) == 0 {
			i := rnd.IntN(len(subs))
			x.remove(subs[i])
			subs = slices.Delete(subs, i, i+1)
		} else {
			s := &subscription{owner: &subscriber{}, filter: filter()}
			if rnd.IntN(4) == 0 {
				s.group = fmt.Sprint("g", round) // alone in its group: as good as not shared
			}
			if x.add(s) != nil {
				t.Fatal("replaced another's")
			}
			subs = append(subs, s)
		}
		topic := path("a", "b", "", "$SYS", "c")
		if spec.CheckTopic(topic) != nil {
			continue
		}
		var want []*subscription
		for _, s := range subs {
			if spec.TopicMatches(s.filter, topic) {
				want = append(want, s)
			}
		}
		got := x.match(topic, nil)
		if len(got) != len(want) || slices.ContainsFunc(want, func(s *subscription) bool { return !slices.Contains(got, s) }) {
			t.Fatalf("topic %q: %d found, want %d", topic, len(got), len(want))
		}
	}
	for _, s := range subs {
		x.remove(s)
	}
	if x.tree.root.kids != nil || x.tree.root.value != (filterEnds{}) || x.tree.len() != 0 {
		t.Error("levels are left over")
	}
}

func TestIndexReplaces(t *testing.T) {
	var x index
	owner := &subscriber{}
	first, second := &subscription{owner: owner, filter: "a/+"}, &subscription{owner: owner, filter: "a/+", qos: 1}
	x.add(first)
	if x.add(second) != first {
		t.Error("the former one is not returned")
	}
	if got := x.match("a/b", nil); !slices.Equal(got, []*subscription{second}) {
		t.Errorf("found %d", len(got))
	}
}

func TestFilterDepth(t *testing.T) {
	if _, err := parseFilter(strings.Repeat("+/", maxLevels-1) + "+"); err != nil {
		t.Error(err)
	}
	_, err := parseFilter(strings.Repeat("+/", maxLevels) + "+")
	wantKind(t, err, spec.Invalid)
}

// A crowd of one filter is found by its owners, in groups and out of them, and goes again.
func TestIndexCrowd(t *testing.T) {
	var x index
	var subs []*subscription
	for i := range 3 * manySubs {
		s := &subscription{owner: &subscriber{}, filter: "a/#"}
		if i%5 == 0 {
			s.group = fmt.Sprint("g", i%2)
		}
		s.owner.online.Store(true)
		subs = append(subs, s)
		if x.add(s) != nil {
			t.Fatal("replaced another's")
		}
	}
	for i, s := range subs {
		again := *s
		if x.add(&again) != s {
			t.Fatalf("subscription %d is not replaced", i)
		}
		x.remove(s) // is there no more, and takes nothing with it
		subs[i] = &again
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	rnd.Shuffle(len(subs), func(i, j int) { subs[i], subs[j] = subs[j], subs[i] })
	for i, s := range subs {
		want, groups := 0, map[string]bool{}
		for _, left := range subs[i:] {
			if left.group == "" {
				want++
			} else {
				groups[left.group] = true
			}
		}
		if got := x.match("a", nil); len(got) != want+len(groups) {
			t.Fatalf("after %d removals: %d found, want %d", i, len(got), want+len(groups))
		}
		x.remove(s)
	}
	if x.tree.root.kids != nil {
		t.Error("levels are left over")
	}
}

// deepFilters are n filters of many levels which all match the same topic, and share no more
// levels than they must: the worst for an index.
func deepFilters(n, levels int) (filters []string, topic string) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range n {
		path := make([]string, levels)
		for i := range path {
			path[i] = []string{"a", "+"}[rnd.IntN(2)]
		}
		filters = append(filters, strings.Join(path, "/"))
	}
	return filters, strings.TrimSuffix(strings.Repeat("a/", levels), "/")
}

// However filters of 1,000 levels branch, a match looks at each once, and there are never more
// than two nodes for each: no tree of all 2^1000 ways.
func TestIndexDepth(t *testing.T) {
	filters, topic := deepFilters(500, 1000)
	var x index
	for _, f := range filters {
		x.add(&subscription{owner: &subscriber{}, filter: f})
	}
	if got := x.match(topic, nil); len(got) != len(filters) {
		t.Errorf("%d found, want %d", len(got), len(filters))
	}
	var count func(*topicNode[filterEnds]) int
	count = func(n *topicNode[filterEnds]) int {
		nodes := 1
		n.kids.each(func(kid *topicNode[filterEnds]) bool { nodes += count(kid); return true })
		return nodes
	}
	if n := count(&x.tree.root); n > 2*len(filters) {
		t.Errorf("%d nodes for %d filters", n, len(filters))
	}
}

// BenchmarkIndex is what subscriptions cost in memory and a message costs to find them.
func BenchmarkIndex(b *testing.B) {
	kinds := map[string]func(i int) string{
		"one each":    func(i int) string { return fmt.Sprintf("devices/machine%d/commands", i) },
		"by line":     func(i int) string { return fmt.Sprintf("services/press%d/+/value%d", i%100, i) },
		"all of each": func(i int) string { return fmt.Sprintf("services/press%d/line%d/#", i%100, i) },
		"one for all": func(int) string { return "alarms/#" },
	}
	for name, filter := range kinds {
		b.Run(name, func(b *testing.B) {
			const n = 20_000
			owners := make([]subscriber, n)
			filters := make([]string, n)
			for i := range filters {
				filters[i] = filter(i)
			}
			var x index
			before := heap()
			for i, f := range filters {
				s, err := parseFilter(f)
				if err != nil {
					b.Fatal(err)
				}
				s.owner = &owners[i]
				x.add(s)
			}
			perSub := float64(heap()-before) / n
			topics := make([]string, 1000)
			for i := range topics {
				topics[i] = strings.NewReplacer("+", "line7", "#", "value").Replace(filters[i*19])
			}
			b.ReportAllocs()
			b.ResetTimer()
			var out []*subscription
			for i := range b.N {
				out = x.match(topics[i%len(topics)], out[:0])
			}
			b.ReportMetric(perSub, "B/sub")
			b.ReportMetric(float64(len(out)), "found")
		})
	}
	b.Run("1,000 levels", func(b *testing.B) {
		filters, topic := deepFilters(500, 1000)
		var x index
		for _, f := range filters {
			x.add(&subscription{owner: &subscriber{}, filter: f})
		}
		var out []*subscription
		for range b.N {
			out = x.match(topic, out[:0])
		}
		b.ReportMetric(float64(len(out)), "found")
	})
}
