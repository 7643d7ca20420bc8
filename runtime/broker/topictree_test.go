package broker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

// matched returns the topics that a filter finds, sorted, with a check of their values.
func matched(t testing.TB, tree *topicTree[string], filter string) []string {
	t.Helper()
	topics := []string{}
	tree.match(filter, func(topic, v string) bool {
		if topic != v {
			t.Errorf("filter %q: topic %q has the value of %q", filter, topic, v)
		}
		topics = append(topics, topic)
		return true
	})
	slices.Sort(topics)
	return topics
}

// wanted are those that spec.TopicMatches finds one by one.
func wanted(model map[string]string, filter string) []string {
	topics := []string{}
	for topic := range model {
		if spec.TopicMatches(filter, topic) {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	return topics
}

// checkTree compares the tree with the model, and its shape with what it promises.
func checkTree(t testing.TB, tree *topicTree[string], model map[string]string) {
	t.Helper()
	if tree.len() != len(model) {
		t.Fatalf("len is %d, want %d", tree.len(), len(model))
	}
	for topic := range model {
		if v, there := tree.get(topic); !there || v != topic {
			t.Fatalf("get(%q) = %q, %v", topic, v, there)
		}
	}
	if tree.root.kids != nil {
		checkNodes(t, &tree.root, true)
	} else if len(model) > 0 {
		t.Fatal("the root has lost its kids")
	}
}

func checkNodes(t testing.TB, n *topicNode[string], root bool) {
	t.Helper()
	kids := 0
	n.kids.each(func(kid *topicNode[string]) bool {
		kids++
		if n.kid(firstLevel(kid.label)) != kid {
			t.Errorf("the kid %q is not found", kid.label)
		}
		checkNodes(t, kid, false)
		return true
	})
	switch {
	case kids == 0 && (n.kids != nil || !n.set), kids == 1 && !n.set && !root:
		t.Errorf("the node %q is needed by nobody", n.label)
	}
}

// randomPath makes paths that share much, of which some are filters or begin with "$".
func randomPath(rnd *rand.Rand, alphabet []string) string {
	levels := make([]string, 1+rnd.IntN(5))
	for i := range levels {
		levels[i] = alphabet[rnd.IntN(len(alphabet))]
	}
	return strings.Join(levels, "/")
}

// The tree holds what a map holds and finds what spec.TopicMatches finds, through additions
// and removals, with few kids and with many.
func TestTopicTreeMatchesSpec(t *testing.T) {
	names := []string{"", "$SYS", "ä", "aa"}
	for i := range 30 {
		names = append(names, fmt.Sprint("n", i))
	}
	for _, alphabet := range [][]string{{"a", "b", "", "$x"}, names} {
		rnd := rand.New(rand.NewPCG(3, uint64(len(alphabet))))
		filters := append([]string{"+", "#", "+", "#"}, alphabet[:4]...)
		var tree topicTree[string]
		model := map[string]string{}
		for round := range 6000 {
			topic := randomPath(rnd, alphabet)
			if spec.CheckTopic(topic) != nil {
				continue
			}
			if removing := round/1500%2 == 1; rnd.IntN(4) > 0 == removing {
				v, there := tree.remove(topic)
				if _, want := model[topic]; there != want || there && v != topic {
					t.Fatalf("remove(%q) = %q, %v", topic, v, there)
				}
				delete(model, topic)
			} else {
				tree.put(topic, topic)
				model[topic] = topic
			}
			if filter := randomPath(rnd, filters); spec.CheckFilter(filter) == nil {
				if got, want := matched(t, &tree, filter), wanted(model, filter); !slices.Equal(got, want) {
					t.Fatalf("filter %q finds %q, want %q", filter, got, want)
				}
			}
			if round%50 == 0 {
				checkTree(t, &tree, model)
			}
		}
		for topic := range model {
			tree.remove(topic)
		}
		checkTree(t, &tree, map[string]string{})
	}
}

func TestTopicTreeStopsWhenToldTo(t *testing.T) {
	var tree topicTree[int]
	for i := range 100 {
		tree.put(fmt.Sprintf("a/%d/x", i), i)
		tree.put(fmt.Sprintf("a/%d", i), i)
	}
	for _, filter := range []string{"#", "a/+", "a/+/x", "+/#"} {
		calls := 0
		tree.match(filter, func(string, int) bool { calls++; return calls < 7 })
		if calls != 7 {
			t.Errorf("filter %q: called %d times after it was told to stop at 7", filter, calls)
		}
	}
}

// A topic as deep as MQTT can carry, and a crowd of those that share its levels.
func TestTopicTreeDeep(t *testing.T) {
	var tree topicTree[string]
	model := map[string]string{}
	deep := strings.Repeat("/", 65535)
	for i := 1; i < len(deep); i = i*5/4 + 1 {
		tree.put(deep[:i], deep[:i])
		model[deep[:i]] = deep[:i]
	}
	for _, filter := range []string{"#", "/#", "/+/+/#", strings.Repeat("+/", 1000) + "#", strings.Repeat("+/", 100) + "x"} {
		if got, want := matched(t, &tree, filter), wanted(model, filter); !slices.Equal(got, want) {
			t.Errorf("filter %.20q finds %d topics, want %d", filter, len(got), len(want))
		}
	}
	checkTree(t, &tree, model)
}

// What grew with a flood goes with it.
func TestTopicTreeGivesBack(t *testing.T) {
	var tree topicTree[int]
	before := heap()
	for i := range 100_000 {
		tree.put(fmt.Sprintf("flood/%d/%d", i%7, i), i)
	}
	tree.put("kept", 1)
	full := heap()
	for i := range 100_000 {
		tree.remove(fmt.Sprintf("flood/%d/%d", i%7, i))
	}
	// The flood took megabytes. What may stay is the one topic, and noise of the runtime.
	if left := int64(heap()) - int64(before); left > 256<<10 {
		t.Errorf("%d bytes are left of %d", left, full-before)
	}
	runtime.KeepAlive(&tree)
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// FuzzTopicTree builds a tree of the lines of topics, "-" before one removes it, and holds
// each line of filters to what spec.TopicMatches says.
func FuzzTopicTree(f *testing.F) {
	f.Add("a\na/b\na/b/c\n$SYS/x\n-a/b\n/\n//", "#\n+\n+/#\na/#\na/+\n/+\n+/+")
	f.Add("a/b/c\na/b\na/bc\na\n-a/b/c\na/bb/c\n-a", "a/b/#\na/+/c\n+/b/#")
	f.Fuzz(func(t *testing.T, topics, filters string) {
		var tree topicTree[string]
		model := map[string]string{}
		for line := range strings.Lines(topics) {
			line = strings.TrimSuffix(line, "\n")
			topic, removed := strings.CutPrefix(line, "-")
			if spec.CheckTopic(topic) != nil {
				continue
			}
			if removed {
				tree.remove(topic)
				delete(model, topic)
			} else {
				tree.put(topic, topic)
				model[topic] = topic
			}
		}
		for line := range strings.Lines(filters) {
			filter := strings.TrimSuffix(line, "\n")
			if spec.CheckFilter(filter) != nil {
				continue
			}
			if got, want := matched(t, &tree, filter), wanted(model, filter); !slices.Equal(got, want) {
				t.Errorf("filter %q finds %q, want %q", filter, got, want)
			}
		}
		checkTree(t, &tree, model)
	})
}

// plantTopics are n topics as a plant has them, most with many siblings.
func plantTopics(n int) []string {
	topics := make([]string, n)
	for i := range topics {
		topics[i] = fmt.Sprintf("services/press%d/line%d/value%d", i%100, i/100%20, i)
	}
	return topics
}

// BenchmarkTopicTree is 200,000 topics: what one costs in memory, and what filters cost.
func BenchmarkTopicTree(b *testing.B) {
	topics := plantTopics(200_000)
	var tree topicTree[*message]
	m := &message{}
	before := heap()
	for _, topic := range topics {
		tree.put(topic, m)
	}
	perTopic := float64(heap()-before) / float64(len(topics))
	b.Run("put", func(b *testing.B) {
		b.ReportMetric(perTopic, "B/topic")
		for i := range b.N {
			tree.put(topics[i%len(topics)], m)
		}
	})
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, there := tree.get(topics[i%len(topics)]); !there {
				b.Fatal("not there")
			}
		}
	})
	for _, filter := range []string{
		"services/press7/line7/value707", "services/press7/line7/#", "services/+/line7/value707",
		strings.Repeat("+/", 1000) + "#", "none/#", "#",
	} {
		b.Run(fmt.Sprintf("match %.30s", filter), func(b *testing.B) {
			found := 0
			for range b.N {
				tree.match(filter, func(string, *message) bool { found++; return true })
			}
			b.ReportMetric(float64(found)/float64(b.N), "found/op")
		})
	}
	b.Run("remove and put", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			tree.remove(topics[i%len(topics)])
			tree.put(topics[i%len(topics)], m)
		}
	})
	runtime.KeepAlive(&tree)
}

// A set of filters answers as spec.TopicMatches does one by one.
func TestFilterSet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		var filters []string
		for range rnd.IntN(8) {
			if f := randomPath(rnd, []string{"a", "b", "", "+", "#", "$SYS"}); spec.CheckFilter(f) == nil {
				filters = append(filters, f)
			}
		}
		set := newFilterSet(filters)
		for range 10 {
			topic := randomPath(rnd, []string{"a", "b", "", "$SYS", "c"})
			if spec.CheckTopic(topic) != nil {
				continue
			}
			want := slices.ContainsFunc(filters, func(f string) bool { return spec.TopicMatches(f, topic) })
			if set.matches(topic) != want {
				t.Fatalf("filters %q, topic %q: %v", filters, topic, !want)
			}
		}
	}
}

// BenchmarkFilterSet is what one of 100 permissions costs to find, or not to.
func BenchmarkFilterSet(b *testing.B) {
	filters := make([]string, 100)
	for i := range filters {
		filters[i] = fmt.Sprintf("services/press%d/+/#", i)
	}
	set, topics := newFilterSet(filters), plantTopics(200_000)
	b.Run("granted", func(b *testing.B) {
		for i := range b.N {
			if !set.matches(topics[i%len(topics)]) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("refused", func(b *testing.B) {
		for b.Loop() {
			if set.matches("services/none/line1/value1") {
				b.Fatal("granted")
			}
		}
	})
}
