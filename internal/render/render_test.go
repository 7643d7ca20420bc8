package render

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files")

// Each folder of testdata holds an instance's settings, and the files that they come to.
func TestGeneratedFiles(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/instance.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			i := settled(t, file)
			d, err := Deployment(i)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range d.Files {
				golden(t, filepath.Join(dir, strings.TrimPrefix(filepath.Base(f.Path), ".")), f.Content)
			}
			if applied := Applied(d.Files[0].Content); applied == nil || fmt.Sprint(digest(t, *applied)) != digest(t, i) {
				t.Errorf("the compose file says that %+v was applied", applied)
			}
		})
	}
}

func digest(t *testing.T, i spec.Instance) string {
	t.Helper()
	d, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func settled(t *testing.T, file string) spec.Instance {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var given spec.Instance
	if err := yaml.Unmarshal(text, &given); err != nil {
		t.Fatal(err)
	}
	i, err := given.Over(nil, spec.InstanceDefaults{Version: "0.1.0", InstallPath: "/opt/millwright", Timezone: "Europe/Berlin"})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (refresh with -update):\n%s", path, got)
	}
}

// Whatever a value holds, compose reads it back as it was.
func TestEnvIsReadLiterally(t *testing.T) {
	values := map[string]string{
		"A": "plain", "B": "with space", "C": `it's`, "D": `"double"`, "E": `${HOME}`, "F": `it's ${HOME} "x" \n`,
		"G": "", "H": "a#b # c", "I": `back\slash`, "J": "$", "K": `\$x'`,
	}
	i := spec.Instance{Name: "m", Timezone: "UTC", Env: values}
	read, err := dotenv.UnmarshalBytesWithLookup(Env(i), func(string) (string, bool) { return "wrong", true })
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range values {
		if read[name] != want {
			t.Errorf("%s: got %q, want %q", name, read[name], want)
		}
	}
}
