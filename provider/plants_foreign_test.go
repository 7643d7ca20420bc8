package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// One for_each runs several plants. One that is away blocks the others or not, as the provider
// block says, and keeps its state.
func TestForeignTerraformPlants(t *testing.T) {
	a, b := start(t), start(t)
	w := newWorkspace(t)
	config := func(unreachable, permissions string) string {
		return fmt.Sprintf(`
provider "millwright" {
  contexts = {
    a = { url = %q, token = %q }
    b = { url = %q, token = %q }
  }
  on_unreachable = %q
}
resource "millwright_role" "operators" {
  for_each    = toset(["a", "b"])
  context     = each.key
  name        = "operators"
  permissions = [%s]
}
resource "millwright_user" "line1" {
  for_each = toset(["a", "b"])
  context  = each.key
  username = "line1"
  roles    = [millwright_role.operators[each.key].name]
}
`, a.url, a.token, b.url, b.token, unreachable, permissions)
	}
	w.main(config("error", readPlant))
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	for _, i := range []*instance{a, b} {
		if _, err := i.Users().Get(t.Context(), "line1"); err != nil {
			t.Error(err)
		}
	}
	b.end()
	if out, code := w.run("plan", "-input=false"); code != 1 || !strings.Contains(out, "connection refused") || !strings.Contains(out, "on_unreachable") {
		t.Errorf("plan without plant b: exit %d\n%s", code, out)
	}
	w.main(config("keep", readPlant))
	if out := w.must("plan", "-detailed-exitcode", "-input=false"); !strings.Contains(out, "does not answer") {
		t.Errorf("no warning:\n%s", out)
	}
	w.main(config("keep", setPress)) // plant a gets it; b has to wait, and is not forgotten
	if out, code := w.run("apply", "-auto-approve", "-input=false"); code != 1 || !strings.Contains(out, `Cannot change role "operators"`) && !strings.Contains(out, "Cannot use the instance of context b") {
		t.Errorf("apply without plant b: exit %d\n%s", code, out)
	}
	if r, err := a.Roles().Get(t.Context(), "operators"); err != nil || r.Permissions[0].Resource != "plant/press/set" {
		t.Errorf("plant a: %+v, %v", r, err)
	}
	b.again()
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	w.must("destroy", "-auto-approve", "-input=false")
	if left, err := b.Users().List(t.Context(), nil); err != nil || len(left) != 1 {
		t.Errorf("users left on plant b: %+v, %v", left, err)
	}
}

// Import ids name the plant.
func TestForeignTerraformImportOfPlant(t *testing.T) {
	i := start(t)
	i.by(plan.Request{Roles: []spec.Role{{Name: "operators", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}}})
	w := newWorkspace(t)
	w.main(fmt.Sprintf("provider \"millwright\" {\n  contexts = { a = { url = %q, token = %q } }\n}\n", i.url, i.token) +
		"resource \"millwright_role\" \"r\" {\n  context     = \"a\"\n  name        = \"operators\"\n  permissions = [" + readPlant + "]\n}\n")
	w.must("import", "millwright_role.r", "a/operators")
	w.settled()
	for _, wrong := range []string{"a/", "/operators", "a/b/c"} {
		w.must("state", "rm", "millwright_role.r")
		if out, code := w.run("import", "millwright_role.r", wrong); code != 1 || !strings.Contains(out, "CONTEXT/NAME") {
			t.Errorf("import of %q: exit %d\n%s", wrong, code, out)
		}
		w.must("import", "millwright_role.r", "a/operators")
	}
	w.must("state", "rm", "millwright_role.r")
	if out, code := w.run("import", "millwright_role.r", "a/nobody"); code != 1 || !strings.Contains(out, "non-existent") {
		t.Errorf("import of what does not exist: exit %d\n%s", code, out)
	}
}

// An import by name alone finds the provider's own context: the plan after it is empty whether
// the configuration names that context or none. Another one that becomes the provider's own is another place.
func TestForeignTerraformImportByName(t *testing.T) {
	i, other := start(t), start(t)
	operators := plan.Request{Roles: []spec.Role{{Name: "operators", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}}}
	i.by(operators)
	contexts := fmt.Sprintf("contexts = { a = { url = %q, token = %q }, b = { url = %q, token = %q } }", i.url, i.token, other.url, other.token)
	role := func(place string) string {
		return "resource \"millwright_role\" \"r\" {\n  name        = \"operators\"\n  permissions = [" + readPlant + "]\n" + place + "}\n"
	}
	provider := func(own string) string {
		return "provider \"millwright\" {\n  context = \"" + own + "\"\n  " + contexts + "\n}\n"
	}
	w := newWorkspace(t)
	for _, place := range []string{"", "  context = \"a\"\n"} {
		w.main(provider("a") + role(place))
		w.must("import", "millwright_role.r", "operators")
		w.settled()
		w.must("state", "rm", "millwright_role.r")
	}
	w.main(provider("a") + role(""))
	w.must("import", "millwright_role.r", "operators")
	w.main(provider("b") + role(""))
	if out, code := w.run("plan", "-detailed-exitcode", "-input=false"); code != 2 || !strings.Contains(out, "must be replaced") {
		t.Errorf("the plan for another instance: exit %d\n%s", code, out)
	}
}
