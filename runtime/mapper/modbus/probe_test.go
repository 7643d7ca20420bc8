package modbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/simulator"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

func TestProbe(t *testing.T) {
	m := startMachine(t, "127.0.0.1:0").(machine)
	defer m.Close()
	for name, ask := range map[string][3]int{"registers": {3, 10, 8}, "bits": {1, 10, 4}} {
		report, err := Probe(t.Context(), m.Addr(), 1, ask[0], ask[1], ask[2])
		if err != nil {
			t.Fatal(err)
		}
		report.Device = "device:502"
		var text bytes.Buffer
		if err := report.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		golden(t, "probe-"+name+".txt", text.Bytes())
		data, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "probe-"+name+".json", data)
	}
}

func TestProbeFailures(t *testing.T) {
	p := plant(t, 0)
	tests := []struct {
		name                      string
		addr                      string
		unit, fc, address, length int
		kind                      spec.Kind
	}{
		{"no port", "127.0.0.1", 1, 3, 0, 1, spec.Invalid},
		{"bad port", "127.0.0.1:http", 1, 3, 0, 1, spec.Invalid},
		{"bad unit", p.Modbus(), 256, 3, 0, 1, spec.Invalid},
		{"a writing function", p.Modbus(), 1, 6, 0, 1, spec.Invalid},
		{"too long", p.Modbus(), 1, 3, 0, 126, spec.Invalid},
		{"nothing", p.Modbus(), 1, 3, 0, 0, spec.Invalid},
		{"past the end", p.Modbus(), 1, 3, 65535, 2, spec.Invalid},
		{"refused address", p.Modbus(), 1, 3, 500, 1, spec.Unavailable},
		{"absent unit", p.Modbus(), 9, 3, 0, 1, spec.Unavailable},
		{"closed port", "127.0.0.1:1", 1, 3, 0, 1, spec.Unavailable},
	}
	for _, test := range tests {
		_, err := Probe(t.Context(), test.addr, test.unit, test.fc, test.address, test.length)
		if spec.KindOf(err) != test.kind {
			t.Errorf("%s: %v (%s), want %s", test.name, err, spec.KindOf(err), test.kind)
		}
	}
	if err := p.Misbehave("modbus", simulator.Hang); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Probe(ctx, p.Modbus(), 1, 3, 0, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging device: %v", err)
	}
}

func TestProbeReportHoldsNaN(t *testing.T) {
	var report ProbeReport
	report.fill(holding1, []byte{0x7f, 0xc0, 0, 0})
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
	if jsonSafe(math.Inf(-1)) != "-Inf" {
		t.Errorf("minus infinity is %v", jsonSafe(math.Inf(-1)))
	}
}
