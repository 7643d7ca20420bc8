package control

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
)

func TestLogRingBounds(t *testing.T) {
	long := strings.Repeat("ü", 60_000)
	r := NewLogRing(slog.NewTextHandler(io.Discard, nil), 10)
	slog.New(r).With("with", long).WithGroup("g").Info(long, "text", long, "error", errors.New(long), "short", "as it is")
	entries, _ := r.lines.after(0)
	line := entries[0].value
	for name, v := range map[string]any{"message": line.Message, "with": line.Attributes["with"], "text": line.Attributes["g.text"], "error": line.Attributes["g.error"]} {
		s, _ := v.(string)
		if len(s) > maxLogValue+len("…") || !strings.HasSuffix(s, "ü…") {
			t.Errorf("%s is kept with %d bytes", name, len(s))
		}
	}
	if line.Attributes["g.short"] != "as it is" {
		t.Errorf("the line is %+v", line)
	}
}
