package commissioning

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestCases evaluates each testdata/cases/*/input.yml, with parameters.json where there is
// one, and compares diagnostics, canonical form and bound resources.
func TestCases(t *testing.T) {
	dirs, err := filepath.Glob("testdata/cases/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join(dir, "input.yml"))
			if err != nil {
				t.Fatal(err)
			}
			s, ds := evaluateCase(t, src, readInput(t, dir))
			golden(t, filepath.Join(dir, "diagnostics.golden"), printDiagnostics(ds))
			golden(t, filepath.Join(dir, "canonical.golden"), printCanonical(t, s))
			golden(t, filepath.Join(dir, "bound.golden"), printBound(t, s))
		})
	}
}

func readInput(t *testing.T, dir string) Input {
	t.Helper()
	in := Input{CheckExpression: bracketsBalance}
	raw, err := os.ReadFile(filepath.Join(dir, "parameters.json"))
	if errors.Is(err, os.ErrNotExist) {
		return in
	}
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&in.Parameters); err != nil {
		t.Fatal(err)
	}
	return in
}

// bracketsBalance stands for the expression compiler, which this package does not import.
func bracketsBalance(expression string) error {
	if strings.Count(expression, "(") != strings.Count(expression, ")") {
		return errors.New("a parenthesis is not closed")
	}
	return nil
}

func evaluateCase(t *testing.T, src []byte, in Input) (*Service, []spec.Diagnostic) {
	t.Helper()
	f, ds := Parse("input.yml", src)
	if f == nil {
		return nil, ds
	}
	s, more := f.Evaluate(in)
	ds = append(ds, more...)
	spec.SortDiagnostics(ds)
	return s, ds
}

func printDiagnostics(ds []spec.Diagnostic) []byte {
	var b bytes.Buffer
	for _, d := range ds {
		b.WriteString(d.String() + " [" + d.Code + "]\n")
	}
	return b.Bytes()
}

func printCanonical(t *testing.T, s *Service) []byte {
	t.Helper()
	if s == nil {
		return nil
	}
	type resource struct {
		ID, Type, Unsupported string
		DependsOn             []string
		Properties            map[string]any
	}
	out := struct {
		ID, Name, Version, Description string
		Parameters                     []string
		Metadata                       map[string]any
		Order, References              []string
		Grants                         []spec.Permission
		Resources                      []resource
	}{ID: s.ID, Name: s.Name, Version: s.Version, Description: s.Description, Metadata: s.Metadata, References: s.References(), Grants: s.Grants()}
	for _, p := range s.Parameters {
		out.Parameters = append(out.Parameters, fmt.Sprint(p))
	}
	for _, r := range s.Order() {
		out.Order = append(out.Order, r.ID)
	}
	for _, r := range s.Resources {
		out.Resources = append(out.Resources, resource{r.ID, r.Type, r.Unsupported, r.DependsOn, r.Properties})
	}
	return indent(t, out)
}

// testEnvironment knows one other service, "other", with a subscribe and a write endpoint.
func testEnvironment() Environment {
	others := map[string]*Resource{
		"temp": {ID: "temp", Type: "Endpoint", Properties: map[string]any{"topic": "services/other/press/temp", "subscribe": map[string]any{}}},
		"set":  {ID: "set", Type: "Endpoint", Properties: map[string]any{"topic": "services/other/set", "write": map[string]any{}}},
		"plc":  {ID: "plc", Type: "Connection", Properties: map[string]any{"protocol": "Modbus"}},
	}
	return Environment{
		MqttHost: "broker.test", MqttPort: 1883, MqttUser: "service:it", MqttPassword: "generated",
		Lookup: func(service, resource string) (*Resource, bool) {
			r, ok := others[resource]
			return r, ok && service == "other"
		},
	}
}

func printBound(t *testing.T, s *Service) []byte {
	t.Helper()
	if s == nil {
		return nil
	}
	bound, ds := s.Bind(testEnvironment())
	for _, r := range bound {
		decodeBound(t, r)
	}
	return append(printDiagnostics(ds), indent(t, bound)...)
}

// decodeBound holds that what the runtime gets fits its structs.
func decodeBound(t *testing.T, r spec.Resource) {
	t.Helper()
	var err error
	switch r.Type {
	case "Connection":
		_, err = Decode[Connection](r.Properties)
	case "Endpoint":
		_, err = Decode[Endpoint](r.Properties)
	case "Mapping":
		_, err = Decode[Mapping](r.Properties)
	}
	if err != nil {
		t.Errorf("cannot decode %s: %v", r.Address(), err)
	}
}

func indent(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if len(got) > 1<<20 {
		t.Fatalf("%s would have %d bytes; make the case smaller", path, len(got))
	}
	if *update {
		if len(got) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && (!errors.Is(err, os.ErrNotExist) || len(got) > 0) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (refresh with -update)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
