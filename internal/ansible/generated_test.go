package ansible

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "refresh generated files")

// TestGeneratedStubs holds the collection's documentation to the schema.
func TestGeneratedStubs(t *testing.T) {
	plugins := filepath.Join("..", "..", "ansible_collections", "millwright", "shopfloor", "plugins")
	files := map[string]string{}
	for _, m := range Modules() {
		text, err := m.Stub()
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(plugins, "modules", m.Name+".py")] = text
	}
	fragments, err := Fragments()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range fragments {
		files[filepath.Join(plugins, "doc_fragments", name+".py")] = text
	}
	for path, want := range files {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the schema says (%v): run `make generate`", path, err)
		}
	}
	for _, kind := range []string{"modules", "action"} {
		found, err := filepath.Glob(filepath.Join(plugins, kind, "*.py"))
		if err != nil || len(found) != len(Modules()) {
			t.Errorf("%s: %d files (%v), %d modules", kind, len(found), err, len(Modules()))
		}
	}
}
