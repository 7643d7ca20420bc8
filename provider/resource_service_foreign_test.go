package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func testFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// escaped is text as Terraform's strings take it.
func escaped(text string) string { return strings.ReplaceAll(text, "${", "$${") }

func serviceConfig(id, text, more string) string {
	return fmt.Sprintf("resource \"millwright_service\" \"s\" {\n  id = %q\n  commissioning = <<-EOT\n%sEOT\n%s\n}\n", id, escaped(text), more)
}

// A service is installed, changed, disabled and imported; the plan says which of its resources
// change, and what the file says in other words is no difference.
func TestForeignTerraformService(t *testing.T) {
	i := start(t)
	p := i.provider()
	press := testFile(t, "press.yml")
	const at = "millwright_service.s"
	config := func(text, more string) string { return p + serviceConfig("press", text, more) }
	update, noop := plancheck.ResourceActionUpdate, plancheck.ResourceActionNoop
	elsewhere := strings.Replace(press, "raw/${line}/temp", "raw2/${line}/temp", 1)
	resourceAt := func(id, key string) tfjsonpath.Path { return tfjsonpath.New("resources").AtMapKey(id).AtMapKey(key) }
	run(
		t,
		resource.TestStep{Config: config(press, ""), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
			plancheck.ExpectResourceAction(at, plancheck.ResourceActionCreate),
			plancheck.ExpectKnownValue(at, resourceAt("temp", "topic"), knownvalue.StringExact("services/press/plant/press/temp")),
			plancheck.ExpectKnownValue(at, tfjsonpath.New("topics"), knownvalue.SetExact([]knownvalue.Check{
				knownvalue.StringExact("plant/press/copy"), knownvalue.StringExact("services/press/plant/press/temp"),
			})),
			plancheck.ExpectUnknownValue(at, tfjsonpath.New("state")),
		}}},
		resource.TestStep{Config: config("# a comment\n"+strings.Replace(press, `version: "1"`, `version: '1'`, 1), ""), ConfigPlanChecks: action(at, noop)},
		resource.TestStep{Config: config(strings.Replace(press, "line: {type: string, default: one}", "line: {type: string, default: one, title: ''}", 1), ""), ConfigPlanChecks: action(at, noop)},
		resource.TestStep{Config: config(elsewhere, ""), ConfigPlanChecks: action(at, update)},
		resource.TestStep{Config: config(press, `  parameters = { line = "two" }`), ConfigPlanChecks: action(at, update)},
		resource.TestStep{Config: config(press, `  parameters = tomap({ line = "two" })`), ConfigPlanChecks: action(at, noop)},
		resource.TestStep{Config: config(press, `  parameters = { line = "two", interval = 500 }`), ConfigPlanChecks: action(at, update)},
		resource.TestStep{
			ResourceName: at, ImportState: true, ImportStateId: "press", ImportStateVerify: true,
			ImportStateVerifyIdentifierAttribute: "id", ImportStateVerifyIgnore: []string{"timeouts", "state"},
		},
		resource.TestStep{Config: config(press, "  enabled = false"), ConfigPlanChecks: action(at, update), Check: resource.TestMatchResourceAttr(at, "state", regexp.MustCompile("^disabl"))},
		resource.TestStep{Config: config(press, ""), ConfigPlanChecks: action(at, update)},
	)
	if _, err := i.Services().Get(t.Context(), "press"); spec.KindOf(err) != spec.NotFound {
		t.Errorf("after destroy: %v", err)
	}
}

// What others do to a service shows, each in its own way.
func TestForeignTerraformServiceDrift(t *testing.T) {
	i := start(t)
	press := testFile(t, "press.yml")
	const at = "millwright_service.s"
	config := i.provider() + serviceConfig("press", press, `  parameters = { line = "two" }`)
	others := func(s spec.Service) func() {
		return func() {
			s.ID = "press"
			i.by(plan.Request{Services: []spec.Service{s}})
		}
	}
	create, update, noop := plancheck.ResourceActionCreate, plancheck.ResourceActionUpdate, plancheck.ResourceActionNoop
	run(
		t,
		resource.TestStep{Config: config},
		resource.TestStep{PreConfig: others(spec.Service{State: spec.Disabled}), Config: config, ConfigPlanChecks: action(at, update)},
		resource.TestStep{PreConfig: others(spec.Service{Commissioning: strings.Replace(press, "plant/press/copy", "plant/press/other", 1)}), Config: config, ConfigPlanChecks: action(at, update)},
		resource.TestStep{PreConfig: others(spec.Service{Parameters: map[string]any{"line": "three"}}), Config: config, ConfigPlanChecks: action(at, update)},
		resource.TestStep{ // a parameter that Terraform does not declare
			PreConfig: others(spec.Service{Parameters: map[string]any{"line": "two", "interval": 7}}), Config: config, ConfigPlanChecks: action(at, update),
		},
		resource.TestStep{PreConfig: others(spec.Service{State: spec.Restarted}), Config: config, ConfigPlanChecks: action(at, noop)},
		resource.TestStep{PreConfig: others(spec.Service{State: spec.Absent}), Config: config, ConfigPlanChecks: action(at, create)},
	)
}

// A wrong file fails the plan, with its place; so does what this build cannot run, and a change
// that disturbs more than it may.
func TestForeignTerraformServiceRefused(t *testing.T) {
	i := start(t)
	p := i.provider()
	press := testFile(t, "press.yml")
	config := func(text, more string) string { return p + serviceConfig("press", text, more) }
	refused := func(text, more, why string) resource.TestStep {
		return resource.TestStep{Config: config(text, more), PlanOnly: true, ExpectError: regexp.MustCompile(why)}
	}
	elsewhere := strings.Replace(press, "raw/${line}/temp", "raw2/${line}/temp", 1)
	other := "description: x\nmetadata: {name: other}\nresources:\n  l: {type: Cybus::Link, properties: {name: x, ingressRoute: r}}\n  r: {type: Cybus::IngressRoute, properties: {container: !ref w, slug: s, target: {path: /}}}\n  w: {type: Cybus::Container, properties: {image: x}}\n"
	run(
		t,
		refused(strings.Replace(press, "!ref bus", "!ref buss", 1), "", `(?s)press\.yml,\s+line\s+23,\s+column\s+\d+.*bus`),
		refused("a: [\n", "", `(?s)press\.yml,\s+line\s+1`),
		refused(press, `  parameters = { line = 1 }`, `(?s)line`),
		refused(press, `  parameters = "x"`, `must\s+be\s+an\s+object`),
		refused(other, "", `allow_unsupported\s+=\s+true`),
		resource.TestStep{Config: config(press, "")},
		refused(elsewhere, `  max_disturbance = "none"`, `max_disturbance\s+=\s+"endpoint"`),
		resource.TestStep{Config: config(elsewhere, `  max_disturbance = "endpoint"`)},
		resource.TestStep{Config: config(elsewhere, `  max_disturbance = "endpoint"`), Destroy: true, PlanOnly: true, ExpectError: regexp.MustCompile(`max_disturbance\s+=\s+"service"`)},
		resource.TestStep{Config: config(elsewhere, "")},
	)
}

// Secret parameters are written when their version changes, or when others wrote them.
func TestForeignTerraformServiceSecrets(t *testing.T) {
	i := start(t)
	guarded := testFile(t, "guarded.yml")
	const at = "millwright_service.s"
	config := func(more string) string { return i.provider() + serviceConfig("guarded", guarded, more) }
	secret := func(password, version string) string {
		return fmt.Sprintf("  parameters = { host = \"127.0.0.1\" }\n  parameters_wo = { password = %q }\n  parameters_wo_version = %q", password, version)
	}
	update, noop := plancheck.ResourceActionUpdate, plancheck.ResourceActionNoop
	run(
		t,
		resource.TestStep{Config: config(`  parameters = { host = "127.0.0.1", password = "clear" }`), ExpectError: regexp.MustCompile(`(?s)"password"\s+as\s+a\s+secret.*parameters_wo`)},
		resource.TestStep{Config: config(`  parameters = { host = "127.0.0.1" }`), ExpectError: regexp.MustCompile(`password`)},
		resource.TestStep{Config: config(secret("one", "1"))},
		resource.TestStep{Config: config(secret("two", "1")), ConfigPlanChecks: action(at, noop)},
		resource.TestStep{Config: config(secret("two", "2")), ConfigPlanChecks: action(at, update)},
		resource.TestStep{
			PreConfig: func() {
				i.by(plan.Request{Services: []spec.Service{{ID: "guarded", Parameters: map[string]any{"host": "127.0.0.1"}, SecretParameters: map[string]any{"password": "other"}}}})
			},
			Config: config(secret("two", "2")), ConfigPlanChecks: action(at, update),
		},
		resource.TestStep{Config: config(strings.Replace(secret("two", "2"), "127.0.0.1", "127.0.0.2", 1)), ConfigPlanChecks: action(at, update)},
		resource.TestStep{ResourceName: at, ImportState: true, ImportStateId: "guarded", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "id", ImportStateVerifyIgnore: []string{"timeouts", "state"}},
		resource.TestStep{Config: i.provider() + "removed {\n  from = millwright_service.s\n  lifecycle {\n    destroy = false\n  }\n}\n"},
		resource.TestStep{
			Config:           "import {\n  to = millwright_service.s\n  id = \"guarded\"\n}\n" + config(strings.Replace(secret("two", "2"), "127.0.0.1", "127.0.0.2", 1)),
			ConfigPlanChecks: action(at, noop),
		},
	)
}

// A machine that is off is health: a warning, and no difference. Who waits for it in vain has a
// tainted service, which the next apply replaces.
func TestForeignTerraformServiceDeviated(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	config := func(more string) {
		w.main(i.provider() + serviceConfig("guarded", testFile(t, "guarded.yml"),
			"  parameters = { host = \"127.0.0.1\" }\n  parameters_wo = { password = \"secret-of-it\" }\n  parameters_wo_version = 1\n"+more))
	}
	config("")
	w.must("apply", "-auto-approve", "-input=false")
	i.becomes("guarded", "deviated")
	if out := w.must("plan", "-detailed-exitcode", "-input=false"); !strings.Contains(out, "is deviated") || !strings.Contains(out, "connection refused") {
		t.Errorf("plan of a deviated service:\n%s", out)
	}
	w.must("destroy", "-auto-approve", "-input=false")
	config("  wait_for = \"connected\"\n  timeouts = { create = \"1s\" }")
	if out, code := w.run("apply", "-auto-approve", "-input=false"); code != 1 || !strings.Contains(out, "Everything is stored") {
		t.Errorf("wait in vain: exit %d\n%s", code, out)
	}
	config("")
	if out := w.must("apply", "-auto-approve", "-input=false"); !strings.Contains(out, "tainted") {
		t.Errorf("after a wait in vain:\n%s", out)
	}
	w.settled()
}
