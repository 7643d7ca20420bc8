package rules

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReference runs the examples of the reference page; -update rewrites what comes out.
func TestReference(t *testing.T) {
	const page = "../../docs/reference/rules.md"
	before, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```\n\n```text\n(.*?)```\n")
	shown := map[string]bool{}
	after := example.ReplaceAllStringFunc(string(before), func(block string) string {
		m := example.FindStringSubmatch(block)
		for _, rule := range readRules(t, m[1]) {
			shown[kindOf(t, rule)] = true
		}
		return strings.Replace(block, m[2], runScript(t, m[1], m[2]), 1)
	})
	if len(shown) != 8 {
		t.Errorf("the page shows %v; there are 8 rules", shown)
	}
	if after == string(before) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what really comes out (-update rewrites it):\n%s", page, after)
	}
	if err := os.WriteFile(page, []byte(after), 0o644); err != nil {
		t.Fatal(err)
	}
}
