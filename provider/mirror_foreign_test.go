package provider_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What make provider makes is installed by terraform init, from a mirror that the command line's
// configuration names and from one in the folder itself, without any registry.
func TestForeignTerraformMirror(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	mirror := filepath.Join(w.dir, "mirror")
	build := exec.CommandContext(t.Context(), "make", "-C", "..", "provider", "VERSION=1.2.3",
		"PROVIDER_DIR="+filepath.Join(mirror, "registry.terraform.io", "millwright", "millwright"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make provider: %v\n%s", err, out)
	}
	w.configure(fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
	w.main(i.provider() + roleConfig("operators", readPlant))
	if out := w.must("init", "-input=false"); !strings.Contains(out, "v1.2.3") {
		t.Errorf("init:\n%s", out)
	}
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	w.must("destroy", "-auto-approve", "-input=false")

	again := newWorkspace(t)
	again.configure("")
	if err := os.MkdirAll(filepath.Join(again.dir, "terraform.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(mirror, filepath.Join(again.dir, "terraform.d", "plugins")); err != nil {
		t.Fatal(err)
	}
	again.main(i.provider() + roleConfig("operators", readPlant))
	again.must("init", "-input=false")
	again.must("plan", "-input=false")
}
