package stack

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "refresh generated pages")

// TestGeneratedReference holds that the published page and schema are those of the structs.
func TestGeneratedReference(t *testing.T) {
	schema, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]byte{
		"../../../docs/reference/stack.schema.json": schema,
		"../../../docs/reference/stack-file.md":     ReferencePage(),
	} {
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the structs say (%v): run `make generate`", path, err)
		}
	}
}

// TestSchemaReferences holds that every $ref of the schema leads somewhere.
func TestSchemaReferences(t *testing.T) {
	raw, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var root struct {
		Defs map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if _, name, ok := strings.Cut(line, "#/$defs/"); ok && root.Defs[strings.Trim(name, "\",\n")] == nil {
			t.Errorf("%s leads nowhere", strings.TrimSpace(line))
		}
	}
}
