package provider_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the state that this version writes, where it is missing")

// stateVersion names the folder of the states that this version writes: the schemas' version. A
// schema that moves on gets an upgrader, the next number, and a state beside the old ones.
const stateVersion = "0"

// A state that any version wrote is read by this one, and the plan after it is empty.
func TestForeignTerraformOldStates(t *testing.T) {
	i := start(t)
	prepare := func() *workspace {
		w := newWorkspace(t)
		w.write("guarded.yml", testFile(t, "guarded.yml"))
		w.main(i.provider() + testFile(t, filepath.Join("states", "main.tf")))
		return w
	}
	w := prepare()
	w.must("apply", "-auto-approve", "-input=false")
	path := filepath.Join("testdata", "states", stateVersion+".tfstate")
	if _, err := os.Stat(path); err != nil && *update {
		state, err := os.ReadFile(filepath.Join(w.dir, "terraform.tfstate"))
		if err == nil {
			err = os.WriteFile(path, state, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	states, err := filepath.Glob(filepath.Join("testdata", "states", "*.tfstate"))
	if err != nil || len(states) == 0 {
		t.Fatal(states, err)
	}
	for _, name := range states {
		w := prepare()
		w.write("terraform.tfstate", testFile(t, filepath.Join("states", filepath.Base(name))))
		w.settled()
	}
	w.must("destroy", "-auto-approve", "-input=false")
}
