package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/control"
)

// TestGeneratedMetrics holds the table in docs/reference/metrics.md.
func TestGeneratedMetrics(t *testing.T) {
	families, err := newRegistry(func() control.Figures {
		return control.Figures{
			Broker:    &spec.BrokerFigures{},
			Agents:    []control.AgentFigures{{Name: "a", Online: true, Bus: &spec.BusFigures{}}},
			Resources: []spec.ResourceStatus{{Service: "s", ID: "r", Type: "Endpoint"}},
		}
	}).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| name | kind | tells |\n|---|---|---|\n")
	for _, f := range families {
		if name, ours := strings.CutPrefix(f.GetName(), "millwright_"); ours {
			fmt.Fprintf(&table, "| `millwright_%s` | %s | %s |\n", name, strings.ToLower(f.GetType().String()), f.GetHelp())
		}
	}
	const begin, end = "<!-- metrics:begin -->\n", "<!-- metrics:end -->"
	path := filepath.Join("..", "..", "docs", "reference", "metrics.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	_, foot, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has lost its marks")
	}
	want := head + begin + table.String() + end + foot
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(page) != want {
		t.Error("the page differs from the metrics; run make generate")
	}
}
