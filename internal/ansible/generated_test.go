package ansible

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
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

// TestCollectionFiles holds what is written by hand to the modules that there are.
func TestCollectionFiles(t *testing.T) {
	home := filepath.Join("..", "..", "ansible_collections", "millwright", "shopfloor")
	var galaxy struct{ Namespace, Name, Version string }
	var meta struct {
		Groups map[string][]string `yaml:"action_groups"`
	}
	readYAML(t, filepath.Join(home, "galaxy.yml"), &galaxy)
	readYAML(t, filepath.Join(home, "meta", "runtime.yml"), &meta)
	if galaxy.Version != "" || galaxy.Namespace+"."+galaxy.Name != Collection { // make collection adds the version
		t.Errorf("galaxy.yml: %+v", galaxy)
	}
	if !slices.Equal(meta.Groups["all"], names()) {
		t.Errorf("the action group has %v, the modules are %v", meta.Groups["all"], names())
	}
	readme, err := os.ReadFile(filepath.Join(home, "README.md"))
	for _, name := range names() {
		if err != nil || !strings.Contains(string(readme), "`"+Collection+"."+name+"`") {
			t.Errorf("the README does not name %s (%v)", name, err)
		}
	}
}

func readYAML(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
