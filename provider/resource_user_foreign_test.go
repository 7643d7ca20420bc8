package provider_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func userConfig(more string) string {
	return fmt.Sprintf("resource \"millwright_user\" \"u\" {\n  username = \"line1\"\n%s\n}\n", more)
}

func withPassword(password, version, more string) string {
	return userConfig(fmt.Sprintf("  password_wo = %q\n  password_wo_version = %q\n%s", password, version, more))
}

// mayLogIn checks a password.
func (i *instance) mayLogIn(name, password string, want bool) resource.TestCheckFunc {
	return func(*terraform.State) error {
		_, err := i.Login(i.t.Context(), name, password)
		if got := err == nil; got != want {
			return fmt.Errorf("%s logs in with %q: %v, %w", name, password, got, err)
		}
		return nil
	}
}

// A user is created, changed and imported. A password is written when its version changes, or
// when somebody else wrote it; what is not given is left alone.
func TestForeignTerraformUser(t *testing.T) {
	i := start(t)
	p := i.provider()
	const at = "millwright_user.u"
	created := withPassword("first-password", "1", "")
	update, noop := plancheck.ResourceActionUpdate, plancheck.ResourceActionNoop
	other := "somebody-elses"
	run(
		t,
		resource.TestStep{Config: p + userConfig(`  password_wo = "first-password"`), ExpectError: regexp.MustCompile(`belong together`)},
		resource.TestStep{Config: p + withPassword("tiny", "1", ""), ExpectError: regexp.MustCompile(`at least 5`)},
		resource.TestStep{Config: p + userConfig(`  roles = ["nobody"]`), ExpectError: regexp.MustCompile(`(?s)no\s+such\s+role.*depends_on`)},
		resource.TestStep{Config: p + created, Check: resource.ComposeTestCheckFunc(
			i.mayLogIn("line1", "first-password", true),
			resource.TestCheckResourceAttr(at, "grants.#", "2"), resource.TestCheckNoResourceAttr(at, "password_wo"),
		)},
		resource.TestStep{Config: p + withPassword("second-password", "1", ""), ConfigPlanChecks: action(at, noop), Check: i.mayLogIn("line1", "first-password", true)},
		resource.TestStep{Config: p + withPassword("second-password", "2", ""), ConfigPlanChecks: action(at, update), Check: i.mayLogIn("line1", "second-password", true)},
		resource.TestStep{ // the instance forgets the version when somebody else writes the password
			PreConfig: func() { i.by(plan.Request{Users: []spec.User{{Username: "line1", Password: &other}}}) },
			Config:    p + withPassword("second-password", "2", ""), ConfigPlanChecks: action(at, update), Check: i.mayLogIn("line1", "second-password", true),
		},
		resource.TestStep{Config: p + withPassword("second-password", "2", "  roles = [\"admin\"]\n  grants = [\"token\"]"), ConfigPlanChecks: action(at, update)},
		resource.TestStep{Config: p + withPassword("second-password", "2", ""), ConfigPlanChecks: action(at, noop), Check: resource.TestCheckResourceAttr(at, "roles.#", "1")},
		resource.TestStep{Config: p + withPassword("second-password", "2", `  roles = []`), ConfigPlanChecks: action(at, update)},
		resource.TestStep{
			ResourceName: at, ImportState: true, ImportStateId: "line1", ImportStateVerify: true,
			ImportStateVerifyIdentifierAttribute: "username", ImportStateVerifyIgnore: []string{"timeouts"},
		},
		resource.TestStep{Config: p + "removed {\n  from = millwright_user.u\n  lifecycle {\n    destroy = false\n  }\n}\n"},
		resource.TestStep{
			Config:           p + "import {\n  to = millwright_user.u\n  id = \"line1\"\n}\n" + withPassword("second-password", "2", "  roles = []\n  adopt = true\n  timeouts = { update = \"2m\" }"),
			ConfigPlanChecks: action(at, noop),
		},
		resource.TestStep{Config: p + withPassword("third-password", "3", `  timeouts = { update = "3m" }`), ConfigPlanChecks: action(at, update)},
	)
}

// A user and its role come, change and go in one apply.
func TestForeignTerraformUserWithRole(t *testing.T) {
	i := start(t)
	config := func(role, permissions string) string {
		return i.provider() + fmt.Sprintf(`
resource "millwright_role" "r" {
  name        = %q
  permissions = [%s]
  lifecycle { create_before_destroy = true }
}
resource "millwright_user" "u" {
  username = "line1"
  roles    = [millwright_role.r.name]
}
`, role, permissions)
	}
	run(
		t,
		resource.TestStep{Config: config("operators", readPlant)},
		resource.TestStep{Config: config("operators", setPress)},
		resource.TestStep{Config: config("crew", setPress)},
		resource.TestStep{Config: i.provider() + "# all gone\n"},
	)
}
