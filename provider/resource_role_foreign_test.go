package provider_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func roleConfig(name, permissions string) string {
	return fmt.Sprintf("resource \"millwright_role\" \"r\" {\n  name = %q\n  permissions = [%s]\n}\n", name, permissions)
}

const (
	readPlant = `{ resource = "plant/#", operation = "read", context = "mqtt" }`
	setPress  = `{ resource = "plant/press/set", operation = "write", context = "mqtt" }`
)

// A role is created, changed, renamed, imported; what others do to it shows.
func TestForeignTerraformRole(t *testing.T) {
	i := start(t)
	p := i.provider()
	const at = "millwright_role.r"
	run(
		t,
		resource.TestStep{Config: p + roleConfig("bad name", readPlant), ExpectError: regexp.MustCompile(`(?s)name a role "bad name"`)},
		resource.TestStep{Config: p + roleConfig("crew", `{ resource = "a/#/b", operation = "read", context = "mqtt" }`), ExpectError: regexp.MustCompile(`a/#/b`)},
		resource.TestStep{Config: p + roleConfig("operators", readPlant), ConfigPlanChecks: action(at, plancheck.ResourceActionCreate)},
		resource.TestStep{Config: p + roleConfig("operators", setPress+", "+readPlant), ConfigPlanChecks: action(at, plancheck.ResourceActionUpdate)},
		resource.TestStep{Config: p + roleConfig("operators", readPlant+", "+setPress), ConfigPlanChecks: action(at, plancheck.ResourceActionNoop)}, // a set
		resource.TestStep{ResourceName: at, ImportState: true, ImportStateId: "operators", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name", ImportStateVerifyIgnore: []string{"timeouts"}},
		resource.TestStep{
			PreConfig: func() {
				i.by(role("operators", spec.Permission{Resource: "other", Operation: spec.Read, Context: spec.MQTT}))
			},
			Config: p + roleConfig("operators", readPlant), ConfigPlanChecks: action(at, plancheck.ResourceActionUpdate),
		},
		resource.TestStep{
			PreConfig: func() {
				i.by(plan.Request{Roles: []spec.Role{{Name: "operators", State: spec.Absent}}})
			},
			Config: p + roleConfig("operators", readPlant), ConfigPlanChecks: action(at, plancheck.ResourceActionCreate),
		},
		resource.TestStep{Config: p + roleConfig("crew", readPlant), ConfigPlanChecks: action(at, plancheck.ResourceActionDestroyBeforeCreate)},
	)
	if _, err := i.Roles().Get(t.Context(), "crew"); spec.KindOf(err) != spec.NotFound {
		t.Errorf("after destroy: %v", err)
	}
}

// An object that is there already is taken over only when that is asked for.
func TestForeignTerraformAdopt(t *testing.T) {
	i := start(t)
	i.by(role("theirs"))
	stack := role("stacks")
	stack.Owner = "plant-a"
	i.by(stack)
	p := i.provider()
	adopting := func(name string) string {
		return fmt.Sprintf("resource \"millwright_role\" \"r\" {\n  name = %q\n  permissions = [%s]\n  adopt = true\n}\n", name, readPlant)
	}
	run(
		t,
		resource.TestStep{Config: p + roleConfig("theirs", readPlant), ExpectError: regexp.MustCompile(`(?s)exists already.*adopt\s+=\s+true`)},
		resource.TestStep{Config: p + adopting("theirs")},
		resource.TestStep{Config: p + adopting("stacks")},
	)
}
