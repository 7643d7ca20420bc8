package rules

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestScripts runs testdata/*.txtar: a chain's rules and a script, which is what goes in and
// what has to come out. Lines that go in:
//
//	> topic [label=x] [+name=value]... payload     a payload; hex:0aff stands for bytes
//	@ topic timestamp int64:1                      an endpoint's value; also uint64, float64, bool, json
//	wait 1s
//	close
//
// Lines that come out: "< topic [$name=value]... payload" and "! rule: error".
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+1 < len(archive.Files); i += 2 {
				rules, script := archive.Files[i], &archive.Files[i+1]
				want := string(script.Data)
				got := runScript(t, string(rules.Data), want)
				if got != want && !*update {
					t.Errorf("%s: got\n%s\nwant\n%s", script.Name, got, want)
				}
				script.Data = []byte(got)
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// runScript returns the script with what really comes out.
func runScript(t *testing.T, rules, script string) (result string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out transcript
		c, err := Compile(readRules(t, rules), Options{
			Emit: func(o Output) { out.add(printOutput(o)) },
			Fail: func(f Failure) { out.add(fmt.Sprintf("! %d: %v\n", f.Rule, f.Err)) },
		})
		if err != nil {
			result = fmt.Sprintf("! %v\n", err)
			return
		}
		defer c.Close()
		for line := range strings.Lines(script) {
			if strings.HasPrefix(line, "< ") || strings.HasPrefix(line, "! ") {
				continue
			}
			out.add(line)
			runLine(t, c, strings.TrimSuffix(line, "\n"))
		}
		result = out.text()
	})
	return result
}

// transcript is written by the script and by the chain's own goroutines.
type transcript struct {
	mu    sync.Mutex
	lines []string
}

func (o *transcript) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, line)
}

func (o *transcript) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "")
}

func runLine(t *testing.T, c *Chain, line string) {
	t.Helper()
	command, rest, _ := strings.Cut(line, " ")
	switch command {
	case ">":
		c.Process(readPayload(t, rest))
	case "@":
		c.Process(readReading(t, rest))
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(d) // of the bubble's clock
		synctest.Wait()
	case "close":
		c.Close()
	case "", "#":
	default:
		t.Fatalf("cannot run script line %q", line)
	}
}

func readPayload(t *testing.T, text string) Message {
	t.Helper()
	topic, rest, _ := strings.Cut(text, " ")
	m := Message{Topic: topic, Vars: map[string]string{}}
	for {
		word, tail, _ := strings.Cut(rest, " ")
		if label, ok := strings.CutPrefix(word, "label="); ok {
			m.Label, rest = label, tail
			continue
		}
		if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "+") {
			m.Vars[name[1:]], rest = value, tail
			continue
		}
		break
	}
	m.Payload = []byte(rest)
	if digits, ok := strings.CutPrefix(rest, "hex:"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		m.Payload = b
	}
	return m
}

func readReading(t *testing.T, text string) Message {
	t.Helper()
	var topic, value string
	var timestamp int64
	if _, err := fmt.Sscanf(text, "%s %d %s", &topic, &timestamp, &value); err != nil {
		t.Fatalf("cannot read %q: %v", text, err)
	}
	return Message{Topic: topic, HasValue: true, Value: map[string]any{"timestamp": timestamp, "value": readValue(t, value)}}
}

func readValue(t *testing.T, text string) any {
	t.Helper()
	kind, text, _ := strings.Cut(text, ":")
	var v any
	var err error
	switch kind {
	case "int64":
		v, err = strconv.ParseInt(text, 10, 64)
	case "uint64":
		v, err = strconv.ParseUint(text, 10, 64)
	case "float64":
		v, err = strconv.ParseFloat(text, 64)
	case "bool":
		v, err = strconv.ParseBool(text)
	case "nans":
		v = []any{1.5, math.NaN()}
	case "json":
		err = json.Unmarshal([]byte(text), &v)
	default:
		t.Fatalf("cannot read a value of kind %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func printOutput(o Output) string {
	s := "< " + o.Topic
	for _, name := range slices.Sorted(maps.Keys(o.Vars)) {
		s += fmt.Sprintf(" $%s=%s", name, expr.Append(nil, o.Vars[name]))
	}
	if !utf8.Valid(o.Payload) || bytes.ContainsFunc(o.Payload, func(r rune) bool { return r < ' ' }) {
		return s + " hex:" + hex.EncodeToString(o.Payload) + "\n"
	}
	return s + " " + string(o.Payload) + "\n"
}

// readRules reads rules as a commissioning file has them.
func readRules(t testing.TB, text string) []commissioning.Rule {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var list []commissioning.Rule
	if err := json.Unmarshal(asJSON, &list); err != nil {
		t.Fatalf("cannot read rules %s: %v", asJSON, err)
	}
	return list
}

// kindOf returns a rule's name in commissioning files.
func kindOf(t testing.TB, rule commissioning.Rule) string {
	t.Helper()
	asJSON, err := json.Marshal(rule)
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(string(asJSON), `{"`), `"`)
	return name
}
