package spec

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestTopicMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/b/c", false},
		{"a/b/c", "a/b", false},
		{"a/+", "a/b", true},
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"+", "a", true},
		{"+", "/a", false},
		{"+/+", "/a", true},
		{"/+", "/a", true},
		{"a/#", "a", true},
		{"a/#", "a/", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"#", "a/b", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/+", "$SYS/x", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"allowed", "allowed/secret", false},
		{"+/#", "a", true},
	} {
		if got := TopicMatches(c.filter, c.topic); got != c.want {
			t.Errorf("TopicMatches(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

func TestFilterCovers(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"a/#", "a/b", true},
		{"a/#", "a/+/c", true},
		{"a/#", "a/#", true},
		{"a/#", "a", true},
		{"a/#", "#", false},
		{"a/+", "a/+", true},
		{"a/+", "a/#", false},
		{"a/b", "a/+", false},
		{"+/b", "a/b", true},
		{"#", "$SYS/#", false},
		{"$SYS/#", "$SYS/broker/+", true},
		{"a", "a/#", false},
	} {
		if got := FilterCovers(c.wide, c.narrow); got != c.want {
			t.Errorf("FilterCovers(%q, %q) = %v", c.wide, c.narrow, got)
		}
	}
}

// A filter that covers another matches all that the other matches: checked on random
// filters and topics over a small alphabet, where collisions are likely.
func TestFilterCoversMeansMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	level := func(wild bool) string {
		levels := []string{"a", "b", "", "$x"}
		if wild {
			levels = append(levels, "+")
		}
		return levels[r.IntN(len(levels))]
	}
	text := func(wild bool) string {
		var parts []string
		for range 1 + r.IntN(3) {
			parts = append(parts, level(wild))
		}
		if wild && r.IntN(3) == 0 {
			parts = append(parts, "#")
		}
		return strings.Join(parts, "/")
	}
	covered := 0
	for range 200_000 {
		wide, narrow, topic := text(true), text(true), text(false)
		if FilterCovers(wide, narrow) && TopicMatches(narrow, topic) {
			covered++
			if !TopicMatches(wide, topic) {
				t.Fatalf("%q covers %q, which matches %q, but does not match it itself", wide, narrow, topic)
			}
		}
	}
	if covered < 1000 {
		t.Fatalf("only %d cases were worth anything", covered)
	}
}

func TestCheckFilterAndTopic(t *testing.T) {
	for filter, ok := range map[string]bool{
		"a": true, "a/+/b": true, "#": true, "a/#": true, "/": true,
		"": false, "a+": false, "a/#/b": false, "a#": false, "a\x00b": false, "\xff": false,
		strings.Repeat("a", 65536): false,
	} {
		if err := CheckFilter(filter); (err == nil) != ok {
			t.Errorf("CheckFilter(%.20q) = %v", filter, err)
		}
	}
	for topic, ok := range map[string]bool{"a/b": true, "a/+": false, "#": false, "": false} {
		if err := CheckTopic(topic); (err == nil) != ok {
			t.Errorf("CheckTopic(%q) = %v", topic, err)
		}
	}
}

func FuzzTopicMatches(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("$share/g/a", "$SYS")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if CheckFilter(filter) != nil || CheckTopic(topic) != nil {
			t.Skip()
		}
		if !FilterCovers(filter, filter) {
			t.Errorf("%q does not cover itself", filter)
		}
		// A topic is a filter without wildcards.
		if FilterCovers(filter, topic) != TopicMatches(filter, topic) {
			t.Errorf("covers and matches differ on %q, %q", filter, topic)
		}
	})
}

func BenchmarkTopicMatches(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		TopicMatches("services/press/+/temperature/#", "services/press/line1/temperature/actual")
	}
}

func TestFiltersOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/c", false},
		{"a/+", "+/b", true},
		{"a/+", "b/+", false},
		{"a/#", "a", true},
		{"a/#", "+", true},
		{"a/+/c", "a/b", false},
		{"#", "a/b/c", true},
		{"a/b/#", "a/+/c/d", true},
		{"a/b/#", "a/c/#", false},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"a", "a/b", false},
	} {
		if FiltersOverlap(c.a, c.b) != c.want || FiltersOverlap(c.b, c.a) != c.want {
			t.Errorf("FiltersOverlap(%q, %q) is not %v", c.a, c.b, c.want)
		}
	}
}

// A filter overlaps a topic exactly when it matches it.
func FuzzFiltersOverlap(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("$SYS/#", "$SYS")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if CheckFilter(filter) != nil || CheckTopic(topic) != nil {
			return
		}
		if FiltersOverlap(filter, topic) != TopicMatches(filter, topic) {
			t.Errorf("filter %q and topic %q", filter, topic)
		}
	})
}
