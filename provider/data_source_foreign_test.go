package provider_test

import (
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// Data sources read what is there, whoever made it.
func TestForeignTerraformDataSources(t *testing.T) {
	i := start(t)
	i.by(plan.Request{
		Roles: []spec.Role{{Name: "operators", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}},
		Users: []spec.User{{Username: "line1", Roles: []string{"operators"}}},
		Services: []spec.Service{
			{ID: "press", Commissioning: testFile(t, "press.yml"), Parameters: map[string]any{"line": "two"}},
			{ID: "guarded", Commissioning: testFile(t, "guarded.yml"), State: spec.Disabled, Parameters: map[string]any{"host": "127.0.0.1", "password": "planted"}},
		},
	})
	p := i.provider()
	missing := func(kind, key string) resource.TestStep {
		return resource.TestStep{Config: p + "data \"millwright_" + kind + "\" \"x\" {\n  " + key + " = \"nobody\"\n}\n", ExpectError: regexp.MustCompile(`(?s)Cannot find ` + kind + ` "nobody".*depends_on`)}
	}
	run(
		t,
		missing("role", "name"), missing("user", "username"), missing("service", "id"),
		resource.TestStep{
			Config: p + `
data "millwright_role" "r" { name = "operators" }
data "millwright_user" "u" { username = "line1" }
data "millwright_service" "s" { id = "press" }
data "millwright_service" "g" { id = "guarded" }
data "millwright_services" "all" {}
data "millwright_services" "some" { filter = "press" }
output "parameters" { value = data.millwright_service.g.parameters }
`,
			Check: resource.ComposeTestCheckFunc(
				resource.TestCheckResourceAttr("data.millwright_role.r", "permissions.#", "1"),
				resource.TestCheckResourceAttr("data.millwright_role.r", "owner", "api"),
				resource.TestCheckTypeSetElemAttr("data.millwright_user.u", "roles.*", "operators"),
				resource.TestCheckResourceAttr("data.millwright_service.s", "parameters.line", "two"),
				resource.TestCheckResourceAttr("data.millwright_service.s", "resources.temp.type", "Endpoint"),
				resource.TestCheckResourceAttr("data.millwright_service.g", "state", "disabled"),
				resource.TestCheckResourceAttr("data.millwright_service.g", "parameters.password", "(sensitive)"),
				resource.TestCheckResourceAttr("data.millwright_services.all", "ids.#", "2"),
				resource.TestCheckResourceAttr("data.millwright_services.all", "services.1.id", "press"),
				resource.TestCheckResourceAttr("data.millwright_services.some", "ids.0", "press"),
			),
		},
	)
}
