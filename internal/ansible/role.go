package ansible

import (
	"context"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func roleModule() *Module {
	return &Module{
		Name: "role", Short: "Manage a role of a Millwright instance", Connection: true,
		Description: []string{"Creates, changes and deletes a named set of permissions, on topics of the broker and routes of the API."},
		Options: []Option{
			{Name: "name", Type: Str, Required: true, Doc: []string{"Name of the role: 1 to 64 letters, digits, C(_), C(.), C(@), C(-)."}},
			{Name: "permissions", Type: List, Elements: Dict, Options: permissionOptions(), Doc: []string{"All that the role allows. Required unless I(state=absent)."}},
			{Name: "state", Type: Str, Default: "present", Choices: []string{"present", "absent"}, Doc: []string{"Whether the role exists. With C(absent) nothing else is compared."}},
		},
		RequiredIf: []RequiredIf{{Option: "state", Value: "present", Needs: []string{"permissions"}}},
		SeeAlso:    []string{"user"},
		Examples: `- name: Operators see what the plant measures, and set what the press makes
  millwright.shopfloor.role:
    name: operators
    permissions:
      - {resource: plant/#, operation: read, context: mqtt}
      - {resource: plant/press/set, operation: write, context: mqtt}

- name: The role is gone
  millwright.shopfloor.role:
    name: operators
    state: absent
`,
		Returns: []Return{{
			Name: "role", Type: Dict, Returned: "when the role exists afterwards", Doc: "The role as it is.",
			Sample: map[string]any{"name": "operators", "owner": "api", "permissions": []any{map[string]any{"resource": "plant/#", "operation": "read", "context": "mqtt"}}},
		}},
		run: runRole,
	}
}

func runRole(ctx context.Context, t *task) error {
	r, err := decode[spec.Role](t.args)
	if err != nil {
		return err
	}
	if r.State == spec.Absent {
		r.Permissions = nil
	}
	if err := r.Check(); err != nil {
		return err
	}
	if err := t.bring(ctx, plan.Request{Roles: []spec.Role{r}}); err != nil {
		return err
	}
	return show(ctx, t, "role", t.client.Roles(), r.Name)
}
