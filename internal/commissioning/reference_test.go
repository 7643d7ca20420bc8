package commissioning

import (
	"encoding/json"
	"testing"
)

// TestGeneratedReference holds that the published page and schema are those of the structs.
func TestGeneratedReference(t *testing.T) {
	schema, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/reference/commissioning.schema.json", schema)
	golden(t, "../../docs/reference/commissioning-file.md", ReferencePage())
}

// TestSchemaReferences holds that every $ref of the schema leads somewhere.
func TestSchemaReferences(t *testing.T) {
	raw, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	defs := root["$defs"].(map[string]any)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if r, ok := v["$ref"].(string); ok && defs[r[len("#/$defs/"):]] == nil {
				t.Errorf("%s leads nowhere", r)
			}
			for _, item := range v {
				walk(item)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(root)
}
