package gateway

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

var update = flag.Bool("update", false, "refresh generated files")

// TestGeneratedLimits holds the table in docs/reference/limits.md.
func TestGeneratedLimits(t *testing.T) {
	const begin, end = "<!-- limits:begin -->\n", "<!-- limits:end -->"
	path := filepath.Join("..", "..", "docs", "reference", "limits.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	_, foot, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has lost its marks")
	}
	want := head + begin + limitsTable() + end + foot
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(page) != want {
		t.Error("the page differs from the list; run make generate")
	}
}

func TestParseLimits(t *testing.T) {
	l, err := ParseLimits([]string{"broker.connections=7", "broker.connect-timeout=1m"})
	if err != nil || l.Connections != 7 || l.ConnectTimeout != time.Minute || l.Sessions != 0 {
		t.Errorf("got %+v, %v", l, err)
	}
	for _, s := range []string{"broker.connections", "broker.connections=0", "broker.connections=-1", "broker.connections=1099511627776", "nonsense=1", "broker.connect-timeout=5", ""} {
		if _, err := ParseLimits([]string{s}); spec.KindOf(err) != spec.Invalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}
