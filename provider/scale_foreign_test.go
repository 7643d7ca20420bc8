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

// A plan of many services that nobody changed reads one list, and asks nothing else. An apply
// sends a few requests for each, and 50 at a time do not get into each other's way.
func TestForeignTerraformManyServices(t *testing.T) { manyServices(t, 200) }

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
	own := time.Duration(0) // what Terraform takes by itself, with nothing to plan
	measured := func(most int, what string, args ...string) {
		begun := time.Now()
		w.must(args...)
		took, counts := time.Since(begun), c.take()
		t.Logf("%s: %s beyond Terraform's own %s, %s", what, (took - own).Round(10*time.Millisecond), own.Round(10*time.Millisecond), printed(counts))
		if total := sum(counts); total > most {
			t.Errorf("%s sent %d requests, and not at most %d", what, total, most)
		}
		if own == 0 {
			own = took
		}
	}
	const pages = 2 // lists are read once, or once before and once after the changes
	w.main(block(c.url, i.token))
	measured(0, "plan of nothing", "plan", "-input=false")
	w.main(many(block(c.url, i.token), n))
	name := func(what string) string { return fmt.Sprintf("%s of %d services", what, n) }
	measured(4*n+pages, name("apply"), "apply", "-auto-approve", "-input=false", "-parallelism=50")
	measured((n+999)/1000, name("plan"), "plan", "-input=false")
	w.settled()
	c.take()
	measured(2*n+pages, name("destroy"), "destroy", "-auto-approve", "-input=false", "-parallelism=50")
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
