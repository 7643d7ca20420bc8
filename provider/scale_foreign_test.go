package provider_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// many is a configuration of n services, made by one for_each.
func many(provider string, n int) string {
	return provider + fmt.Sprintf(`
resource "millwright_service" "s" {
  for_each      = toset([for n in range(%d) : format("press%%03d", n)])
  id            = each.key
  commissioning = replace(file("press.yml"), "press", each.key)
  parameters    = { line = each.key }
}
`, n)
}

// A plan of many services that nobody changed reads one list, and asks nothing else.
func TestForeignTerraformManyServices(t *testing.T) { manyServices(t, 40) }

// BenchmarkTerraform prints what 500 services take.
func BenchmarkTerraform(b *testing.B) {
	for b.Loop() {
		manyServices(b, 500)
	}
}

// manyServices has n services installed, planned and removed, 50 at a time.
func manyServices(t testing.TB, n int) {
	t.Helper()
	i := start(t)
	c := i.counted()
	w := newWorkspace(t)
	w.write("press.yml", testFile(t, "press.yml"))
	w.main(many(block(c.url, i.token), n))
	measured := func(what string, args ...string) map[string]int {
		begun := time.Now()
		w.must(args...)
		took, counts := time.Since(begun), c.take()
		t.Logf("%s of %d services: %s, %s", what, n, took.Round(100*time.Millisecond), printed(counts))
		return counts
	}
	measured("apply", "apply", "-auto-approve", "-input=false", "-parallelism=50")
	counts := measured("plan", "plan", "-input=false")
	if total := sum(counts); total != (n+999)/1000 {
		t.Errorf("the plan sent %d requests: %s", total, printed(counts))
	}
	w.settled()
	measured("destroy", "destroy", "-auto-approve", "-input=false", "-parallelism=50")
	if left, err := i.Services().List(t.Context(), nil); err != nil || len(left) > 0 {
		t.Errorf("after destroy: %d services, %v", len(left), err)
	}
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func printed(counts map[string]int) string {
	text := fmt.Sprintf("%d requests:", sum(counts))
	for _, route := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf(" %d %s;", counts[route], route)
	}
	return text
}
