package ansible

import (
	"context"
	"fmt"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// permissionOptions are those of one permission.
func permissionOptions() []Option {
	return []Option{
		{Name: "resource", Type: Str, Required: true, Doc: []string{"A topic filter, or a route of the API. Wildcards are MQTT's in both."}},
		{Name: "operation", Type: Str, Required: true, Choices: []string{"read", "write", "readWrite"}, Doc: []string{"What is allowed."}},
		{Name: "context", Type: Str, Required: true, Choices: []string{"mqtt", "http"}, Doc: []string{"Where it is allowed."}},
	}
}

func userModule() *Module {
	return &Module{
		Name: "user", Short: "Manage a user of a Millwright instance", Connection: true,
		Description: []string{
			"Creates, changes and deletes the account of a person or program.",
			"What is not given keeps what is there. A list that is given is complete.",
		},
		Options: []Option{
			{Name: "username", Type: Str, Required: true, Aliases: []string{"name"}, Doc: []string{"Name of the managed user: 1 to 64 letters, digits, C(_), C(.), C(@), C(-)."}},
			{Name: "password", Type: Str, NoLog: true, Doc: []string{
				"Password of the managed user, at least 5 characters. It is never read back: the instance compares it, so that a second run changes nothing.",
			}},
			{Name: "update_password", Type: Str, Default: "always", Choices: []string{"always", "on_create"}, Doc: []string{"C(on_create) sets the password of new users alone."}},
			{Name: "roles", Type: List, Elements: Str, Doc: []string{"Names of the user's roles."}},
			{Name: "permissions", Type: List, Elements: Dict, Options: permissionOptions(), Doc: []string{"What the user may do beside its roles."}},
			{Name: "grants", Type: List, Elements: Str, Choices: []string{"password", "token"}, Doc: []string{"How the user may log in. A new user gets both."}},
			{Name: "state", Type: Str, Default: "present", Choices: []string{"present", "absent"}, Doc: []string{"Whether the user exists. With C(absent) nothing else is compared."}},
		},
		SeeAlso: []string{"role", "service"},
		Examples: `- name: An account for the line, with a password from the vault
  millwright.shopfloor.user:
    username: line1
    password: "{{ vault_line1_password }}"
    roles: [operators]

- name: An account that may only read one topic
  millwright.shopfloor.user:
    username: dashboard
    password: "{{ vault_dashboard_password }}"
    update_password: on_create
    permissions:
      - {resource: plant/press/#, operation: read, context: mqtt}

- name: The account is gone
  millwright.shopfloor.user:
    username: line1
    state: absent
`,
		Returns: []Return{{
			Name: "user", Type: Dict, Returned: "when the user exists afterwards", Doc: "The user as it is, without its password.",
			Sample: map[string]any{"username": "line1", "owner": "api", "roles": []string{"operators"}, "permissions": []any{}, "grants": []string{"password", "token"}},
		}},
		run: runUser,
	}
}

func runUser(ctx context.Context, t *task) error {
	u, err := decode[spec.User](t.args)
	if err != nil {
		return err
	}
	if u.State == spec.Absent {
		u = spec.User{Username: u.Username, State: u.State}
	}
	if err := u.Check(); err != nil {
		return err
	}
	r := plan.Request{Users: []spec.User{u}}
	if t.check {
		if r.Roles, err = t.expectedRoles(ctx, u.Roles); err != nil {
			return err
		}
	}
	if err := t.bring(ctx, r); err != nil {
		return err
	}
	return show(ctx, t, "user", t.client.Users(), u.Username)
}

// expectedRoles are those that do not exist: in check mode an earlier task may be what would
// make them. What is planned for them is left out of the result.
func (t *task) expectedRoles(ctx context.Context, names []string) ([]spec.Role, error) {
	var expected []spec.Role
	for _, name := range names {
		if t.empty && name == spec.RoleAdmin { // every instance has it
			continue
		}
		_, err := ask(ctx, t, func(ctx context.Context) (spec.RoleView, error) { return t.client.Roles().Get(ctx, name) })
		if err == nil {
			continue
		}
		if spec.KindOf(err) != spec.NotFound {
			return nil, err
		}
		if err := spec.CheckName("role", name); err != nil {
			return nil, err
		}
		expected = append(expected, spec.Role{Name: name})
		t.expected = append(t.expected, plan.RoleAddress(name))
		t.warn(fmt.Sprintf("role %q does not exist yet: an earlier task has to make it", name))
	}
	return expected, nil
}
