package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/examples"
	"github.com/millwright/millwright/internal/spec"
)

// TestEndToEndExportMakesTheSameAgain installs one instance's export on another one.
func TestEndToEndExportMakesTheSameAgain(t *testing.T) {
	t.Parallel()
	from, to := newInstance(t), newInstance(t)
	from.up()
	to.up()
	from.install("quickstart", string(examples.QuickstartFile), "--set", "OPCUA_HOST=127.0.0.1")
	from.must("apply", from.write("stack.yaml", `stack: exported
roles:
  - {name: "yes", permissions: [{resource: "plant/#", operation: read, context: mqtt}]}
users:
  - {username: "0815", password: planted-4711, roles: ["yes"], permissions: [{resource: "a/'b' \"c\": {d}, e", operation: write, context: mqtt}], grants: []}
`), "--yes")
	out := from.must("export", "--out", filepath.Join(to.dir, "plant"))
	if !strings.Contains(out, "Exported: 1 role, 2 users, 1 service.") {
		t.Errorf("got\n%s", out)
	}
	to.must("apply", "plant/stack.yaml", "--yes")
	to.must("export", "--out", filepath.Join(from.dir, "again"))
	for _, file := range []string{"stack.yaml", "services/quickstart.yml"} {
		first, again := to.read(filepath.Join(to.dir, "plant", file)), to.read(filepath.Join(from.dir, "again", file))
		if first != again {
			t.Errorf("%s: got\n%s\nand again\n%s", file, first, again)
		}
	}
	from.stop()
	to.stop()
}

// TestExportNames holds that an export stays below its folder, whatever the server says.
func TestExportNames(t *testing.T) {
	held := holdings{services: []spec.ServiceView{{ID: "../../etc/cron", Commissioning: "resources: {}\n"}}}
	if _, err := held.export(""); spec.KindOf(err) != spec.Invalid {
		t.Errorf("got %v", err)
	}
	names := fileNames{}
	for _, want := range [][2]string{{"a", "a.yml"}, {"A", "A-2.yml"}, {"b", "b.yml"}} {
		if got := names.of(want[0]); got != servicesFolder+"/"+want[1] {
			t.Errorf("%s lies in %s", want[0], got)
		}
	}
}

// TestExportOfOneStack holds which name an export gets.
func TestExportOfOneStack(t *testing.T) {
	role := func(owner string) spec.RoleView { return spec.RoleView{Name: "r" + owner[len(owner)-1:], Owner: owner} }
	for want, roles := range map[string][]spec.RoleView{
		"exported": {role("stack:a"), role("stack:b")},
		"a":        {role("stack:a"), role("api"), role("service:press")},
	} {
		x, err := holdings{roles: roles}.export("")
		if err != nil || x.stack != want || x.counts.roles != 2 {
			t.Errorf("got %+v, %v; want %s", x, err, want)
		}
	}
}

// TestExportWritesAllOrNothing refuses before the first file is written.
func TestExportWritesAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	x := exported{files: []exportedFile{{"stack.yaml", []byte("new")}, {"services/a.yml", []byte("new")}}}
	if err := os.MkdirAll(filepath.Join(dir, servicesFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, servicesFolder, "a.yml"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.write(dir, false); spec.KindOf(err) != spec.Invalid {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stack.yaml")); err == nil {
		t.Error("a file was written")
	}
	if err := x.write(dir, true); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, servicesFolder, "a.yml")); err != nil || string(text) != "new" {
		t.Errorf("got %q, %v", text, err)
	}
}
