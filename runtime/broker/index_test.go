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
	if !x.root.empty() {
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
