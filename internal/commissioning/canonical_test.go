package commissioning

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// canonicalOf evaluates src and returns what plans compare: resources by id, without places.
func canonicalOf(t *testing.T, src string) map[string]any {
	t.Helper()
	f, ds := Parse("f.yml", []byte(src))
	if f == nil {
		t.Fatalf("cannot parse: %v\n%s", ds, src)
	}
	s, _ := f.Evaluate(Input{ID: "it", AllowMissing: true})
	out := map[string]any{}
	for _, r := range s.Resources {
		out[r.ID] = []any{r.Type, r.Properties, r.DependsOn, r.Unsupported}
	}
	return out
}

// TestReordering shuffles the keys of every case and holds that the canonical form stays.
func TestReordering(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*/input.yml")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../../examples/*/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, file := range append(files, examples...) {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// What contradicts itself has no canonical form, and the library writes no loops.
		var document yaml.Node
		name := filepath.Base(filepath.Dir(file))
		if slices.Contains([]string{"anchors", "mistakes", "bomb", "empty"}, name) || yaml.Unmarshal(src, &document) != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := canonicalOf(t, string(src))
			for range 20 {
				shuffle(&document, random)
				out, err := yaml.Marshal(&document)
				if err != nil {
					t.Fatal(err)
				}
				if got := canonicalOf(t, string(out)); !reflect.DeepEqual(got, want) {
					t.Fatalf("another canonical form after shuffling:\n%s", out)
				}
			}
		})
	}
}

// shuffle reorders the keys of maps in which no anchor is defined: an alias must follow it.
func shuffle(n *yaml.Node, random *rand.Rand) {
	for _, c := range n.Content {
		shuffle(c, random)
	}
	if n.Kind != yaml.MappingNode || hasAnchor(n) {
		return
	}
	random.Shuffle(len(n.Content)/2, func(i, j int) {
		n.Content[2*i], n.Content[2*j] = n.Content[2*j], n.Content[2*i]
		n.Content[2*i+1], n.Content[2*j+1] = n.Content[2*j+1], n.Content[2*i+1]
	})
}

func hasAnchor(n *yaml.Node) bool { return n.Anchor != "" || slices.ContainsFunc(n.Content, hasAnchor) }

const oneEndpoint = `description: d
definitions: {I: 250}
resources:
  c:
    type: Cybus::Connection
    properties: {protocol: Modbus, connection: {host: a}}
  e:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref c
      rules:
        - filter: {expression: a}
        - filter: {expression: b}
      subscribe: {fc: 3, address: 1, dataType: int16BE, interval: !ref I}
`

// TestSemanticEquality holds what makes a difference and what does not.
func TestSemanticEquality(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		same     bool
	}{
		"comment":                 {"resources:", "# a comment\nresources: # another", true},
		"quoting":                 {"protocol: Modbus", `"protocol": 'Modbus'`, true},
		"case of the protocol":    {"protocol: Modbus", "protocol: modbus", true},
		"a default written out":   {"{host: a}", "{host: a, port: 502, scheme: tcp, connectionStrategy: {maxDelay: 30000}}", true},
		"null for a default":      {"{host: a}", "{host: a, port: }", true},
		"topic written out":       {"connection: !ref c", "connection: !ref c\n      topic: e", true},
		"plain id":                {"connection: !ref c", "connection: c", true},
		"definition of one value": {"{I: 250}", "{I: 0xFA}", true},
		"value instead of ref":    {"interval: !ref I", "interval: 250", true},
		"unused definition":       {"{I: 250}", "{I: 250, J: 1}", true},
		"prefix":                  {"Cybus::Endpoint", "Millwright::Endpoint", true},
		"changed definition":      {"{I: 250}", "{I: 251}", false},
		"order of rules":          {"expression: a}\n        - filter: {expression: b}", "expression: b}\n        - filter: {expression: a}", false},
		"topic":                   {"connection: !ref c", "connection: !ref c\n      topic: f", false},
		"host":                    {"{host: a}", "{host: b}", false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.ReplaceAll(oneEndpoint, c.old, c.new)
			if changed == oneEndpoint {
				t.Fatal("the case changes nothing")
			}
			if got := reflect.DeepEqual(canonicalOf(t, oneEndpoint), canonicalOf(t, changed)); got != c.same {
				t.Errorf("equal is %v, want %v", got, c.same)
			}
		})
	}
}

// TestSecretsAreNotPrinted tries the ways by which a value reaches a log.
func TestSecretsAreNotPrinted(t *testing.T) {
	s := Secret{Value: "hunter22"}
	nested := map[string]any{"a": []any{s}, "p": Parameter{Name: "n", Value: "hunter22", Sensitive: true}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", s, "nested", nested)
	raw, err := json.Marshal(nested["a"])
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %d %x", s, s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", nested, nested, nested),
		fmt.Sprintf("%+v", struct{ S Secret }{s}), fmt.Sprintf("%v", &s), string(raw), log.String(),
	} {
		if strings.Contains(text, "hunter22") || strings.Contains(text, "68756e") {
			t.Errorf("a secret is printed: %s", text)
		}
	}
}

// TestSymbolsPrint holds that they read as they were written.
func TestSymbolsPrint(t *testing.T) {
	for want, s := range map[string]Symbol{
		"!ref Cybus::MqttHost":                 {Parts: []SymbolPart{{Name: "Cybus::MqttHost"}}},
		"!sub 'tcp://${Cybus::MqttHost}:1883'": {Parts: []SymbolPart{{Text: "tcp://"}, {Name: "Cybus::MqttHost"}, {Text: ":1883"}}},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestBounds feeds what would run for hours, or until memory ends, without limits.
func TestBounds(t *testing.T) {
	var chain strings.Builder
	chain.WriteString("definitions:\n  d0: x\n")
	for i := 1; i < 5000; i++ {
		fmt.Fprintf(&chain, "  d%d: [!ref d%d, !ref d%d]\n", i, i-1, i-1)
	}
	var texts strings.Builder
	texts.WriteString("definitions:\n  d0: 0123456789\n")
	for i := 1; i < 100; i++ {
		fmt.Fprintf(&texts, "  d%d: !sub '${d%d}${d%d}'\n", i, i-1, i-1)
	}
	var lists strings.Builder
	lists.WriteString("definitions:\n  d0: [1, 2]\n")
	for i := 1; i < 100; i++ {
		fmt.Fprintf(&lists, "  d%d: !merge [!ref d%d, !ref d%d]\n", i, i-1, i-1)
	}
	use := "resources:\n  c: {type: Cybus::Container, properties: {image: x, command: !ref d%d}}\n"
	for name, src := range map[string]string{
		"references": chain.String() + fmt.Sprintf(use, 4999),
		"texts":      texts.String() + fmt.Sprintf(use, 99),
		"lists":      lists.String() + fmt.Sprintf(use, 99),
		"depth":      strings.Repeat("[", 100_000),
		"block":      strings.Repeat("- ", 50_000) + "x",
		"digits":     "definitions: {n: " + strings.Repeat("9", 1_000_000) + "}",
		"parameter":  "parameters: {p: {default: !ref d40}}\n" + lists.String(),
		"size":       strings.Repeat("#", maxBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			f, ds := Parse("f.yml", []byte(src))
			if f != nil {
				_, more := f.Evaluate(Input{ID: "x"})
				ds = append(ds, more...)
			}
			if !spec.HasErrors(ds) {
				t.Error("no error was found")
			}
		})
	}
}
