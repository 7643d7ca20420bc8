package provider_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// Settings that only an apply tells: everything comes in one apply, and a plan before it says
// what it can.
func TestForeignTerraformSettingsFromApply(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	w.write("press.yml", testFile(t, "press.yml"))
	w.main(fmt.Sprintf(`
resource "terraform_data" "instance" {
  input = { url = %q, token = %q, name = "plant" }
}
provider "millwright" {
  url      = terraform_data.instance.output.url
  token    = terraform_data.instance.output.token
  contexts = { plant = { url = terraform_data.instance.output.url, token = terraform_data.instance.output.token } }
}
resource "millwright_role" "r" {
  name        = "operators"
  permissions = [%s]
}
resource "millwright_service" "s" {
  context       = terraform_data.instance.output.name
  id            = "press"
  commissioning = file("press.yml")
}
resource "millwright_user" "u" {
  context  = millwright_service.s.context
  username = "line1"
  roles    = [millwright_role.r.name]
}
`, i.url, i.token, readPlant))
	if out := w.must("plan", "-input=false"); !strings.Contains(out, "known after apply") {
		t.Errorf("plan:\n%s", out)
	}
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	w.must("destroy", "-auto-approve", "-input=false")
}

// A server that dies in the middle of an apply leaves a state from which the next one finishes.
func TestForeignTerraformServerDies(t *testing.T) {
	i := start(t)
	var dead atomic.Bool
	var applies atomic.Int32
	front := i.front(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/v1/apply" && applies.Add(1) == 7 {
			dead.Store(true)
		}
		if dead.Load() {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	w := newWorkspace(t)
	w.write("press.yml", testFile(t, "press.yml"))
	w.main(many(block(front, i.token), 12))
	if out, code := w.run("apply", "-auto-approve", "-input=false"); code != 1 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	dead.Store(false)
	i.again()
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	if all, err := i.Services().List(t.Context(), nil); err != nil || len(all) != 12 {
		t.Errorf("%d services, %v", len(all), err)
	}
}

// moved, removed, import with generated configuration, -refresh-only and -target.
func TestForeignTerraformStateCommands(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	p := i.provider()
	w.main(p + roleConfig("operators", readPlant))
	w.must("apply", "-auto-approve", "-input=false")
	w.main(p + strings.ReplaceAll(roleConfig("operators", readPlant), `"r"`, `"renamed"`) + "moved {\n  from = millwright_role.r\n  to   = millwright_role.renamed\n}\n")
	if out := w.must("plan", "-input=false"); !strings.Contains(out, "has moved to") || strings.Contains(out, "to add") && !strings.Contains(out, "0 to add, 0 to change, 0 to destroy") {
		t.Errorf("moved:\n%s", out)
	}
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	i.by(role("operators", spec.Permission{Resource: "other", Operation: spec.Read, Context: spec.MQTT}))
	if out := w.must("apply", "-refresh-only", "-auto-approve", "-input=false"); !strings.Contains(out, `"other"`) {
		t.Errorf("refresh-only:\n%s", out)
	}
	if out, code := w.run("plan", "-detailed-exitcode", "-input=false"); code != 2 || !strings.Contains(out, "1 to change") {
		t.Errorf("after refresh-only: exit %d\n%s", code, out)
	}
	w.must("apply", "-auto-approve", "-input=false", "-target=millwright_role.renamed")
	w.settled()
	w.main(p + "removed {\n  from = millwright_role.renamed\n  lifecycle {\n    destroy = false\n  }\n}\n")
	w.must("apply", "-auto-approve", "-input=false")

	i.by(plan.Request{
		Users:    []spec.User{{Username: "line1", Password: text("line1-password"), Roles: []string{"operators"}}},
		Services: []spec.Service{{ID: "press", Commissioning: testFile(t, "press.yml"), Parameters: map[string]any{"line": "two", "interval": 5}}},
	})
	imports := ""
	for kind, id := range map[string]string{"role": "operators", "user": "line1", "service": "press"} {
		imports += fmt.Sprintf("import {\n  to = millwright_%s.it\n  id = %q\n}\n", kind, id)
	}
	w.main(p + imports)
	w.must("plan", "-input=false", "-generate-config-out=generated.tf")
	if out := w.must("apply", "-auto-approve", "-input=false"); !strings.Contains(out, "3 imported, 0 added, 0 changed, 0 destroyed") {
		generated, err := os.ReadFile(filepath.Join(w.dir, "generated.tf"))
		t.Errorf("generated configuration (%v):\n%s\n%s", err, generated, out)
	}
	w.settled()
}

// Services that refer to each other are planned and applied together.
func TestForeignTerraformReferences(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	w.write("press.yml", testFile(t, "press.yml"))
	w.write("reader.yml", "description: reads the press\nmetadata: {name: reader}\nresources:\n  copy:\n    type: Cybus::Mapping\n    properties:\n      mappings:\n        - subscribe: {endpoint: !ref 'press::temp'}\n          publish: {topic: line/copy}\n")
	config := `
resource "millwright_service" "press" {
  id            = "press"
  commissioning = file("press.yml")
}
resource "millwright_service" "reader" {
  id            = "reader"
  commissioning = file("reader.yml")
  depends_on    = [millwright_service.press]
}
`
	w.main(i.provider() + config)
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	w.must("destroy", "-auto-approve", "-input=false")
}
