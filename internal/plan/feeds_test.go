package plan

import (
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The print shows the first three of what falls silent; the step has all.
func TestAllThatFallsSilent(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/service/feeds.txtar")
	if err != nil {
		t.Fatal(err)
	}
	steps := mustPlan(t, readCase(t, archive)).Steps
	want := []string{"all", "hall/by/name", "plant/press/+", "plant/press/a", "plant/press/b", "services/press/temp"}
	if len(steps) != 1 || !slices.Equal(steps[0].Stops, want) {
		t.Errorf("silent are %q", steps[0].Stops)
	}
}
