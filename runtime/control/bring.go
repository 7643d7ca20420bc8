package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// environment is what a service's references stand for.
func (c *Control) environment(m *model, s *service) commissioning.Environment {
	host, port := c.opts.MqttAddress()
	return commissioning.Environment{
		MqttHost: host, MqttPort: port,
		MqttUser: spec.ServiceIdentity(s.record.ID), MqttPassword: s.record.Content.Secret,
		Lookup: m.resource,
	}
}

// bring works out what m's services grant, and the accounts that they bring.
func (c *Control) bring(m *model) {
	m.brought = brought{
		roles: map[string]roleRecord{}, users: map[string]userRecord{},
		passwords: map[string]string{}, enabled: map[string]bool{},
	}
	maps.DeleteFunc(m.grants, func(id string, _ granted) bool { _, ok := m.services[id]; return !ok })
	for _, id := range slices.Sorted(maps.Keys(m.services)) {
		s := m.services[id]
		if m.grants[id].service != s || len(s.refers) > 0 {
			m.grants[id] = granted{s, s.canonical.GrantsIn(c.environment(m, s))}
		}
		for _, r := range s.canonical.Resources {
			if r.Type == "Role" || r.Type == "User" {
				c.bringAccount(m, s, r)
			}
		}
	}
}

// broughtRoleName is how a role of a file is called outside of it.
func broughtRoleName(service, id string) string { return spec.ServiceIdentity(service) + ":" + id }

func (c *Control) bringAccount(m *model, s *service, r *commissioning.Resource) {
	properties, found := s.canonical.Resolve(r, c.environment(m, s))
	if spec.HasErrors(found) {
		m.brought.errors = append(m.brought.errors, found...)
		return
	}
	var err error
	if r.Type == "Role" {
		err = m.bringRole(s, r, properties)
	} else {
		err = m.bringUser(s, r, properties)
	}
	if err != nil {
		m.brought.errors = append(m.brought.errors, spec.Diagnostic{
			Position: r.Position, Severity: spec.SeverityError, Code: "account",
			Message: fmt.Sprintf("resource %q: %v", r.ID, err), Hint: "give the resource another id, or mend its permissions",
		})
	}
}

func (m *model) bringRole(s *service, r *commissioning.Resource, properties map[string]any) error {
	role, err := decodeAccount[commissioning.Role](properties)
	if err != nil {
		return err
	}
	permissions, err := permissionsIn(role.Permissions)
	name := broughtRoleName(s.record.ID, r.ID)
	m.brought.roles[name] = roleRecord{
		Name: name, Owner: ownerServicePrefix + s.record.ID, Revision: s.record.Revision, Permissions: permissions,
	}
	return err
}

func (m *model) bringUser(s *service, r *commissioning.Resource, properties map[string]any) error {
	user, err := decodeAccount[commissioning.User](properties)
	if err != nil {
		return err
	}
	permissions, err := permissionsIn(user.Permissions)
	if err != nil {
		return err
	}
	if err := (spec.User{Username: r.ID, Password: &user.Password}).Check(); err != nil {
		return err
	}
	if other, ok := m.user(r.ID); ok {
		return spec.Errorf(spec.Conflict, "user %q exists already and belongs to %s", r.ID, other.Owner)
	}
	u := userRecord{
		Name: r.ID, Owner: ownerServicePrefix + s.record.ID, Revision: s.record.Revision,
		Permissions: permissions, Grants: []spec.Grant{spec.GrantPassword, spec.GrantToken},
	}
	for _, role := range user.Roles {
		u.Roles = append(u.Roles, s.roleName(role))
	}
	m.brought.users[u.Name] = u
	m.brought.passwords[u.Name] = user.Password
	m.brought.enabled[u.Name] = s.record.Enabled
	return nil
}

// roleName turns a role's id in a file into a role's name: the file's own comes first.
func (s *service) roleName(id string) string {
	if slices.ContainsFunc(s.canonical.Resources, func(r *commissioning.Resource) bool { return r.Type == "Role" && r.ID == id }) {
		return broughtRoleName(s.record.ID, id)
	}
	return id
}

func decodeAccount[T any](properties map[string]any) (T, error) {
	text, err := json.Marshal(properties)
	if err != nil {
		var none T
		return none, spec.Errorf(spec.Internal, "cannot encode an account: %w", err)
	}
	return commissioning.Decode[T](text)
}

func permissionsIn(list []commissioning.Permission) ([]spec.Permission, error) {
	permissions := make([]spec.Permission, 0, len(list))
	for _, p := range list {
		permission := spec.Permission{Resource: p.Resource, Operation: spec.Operation(p.Operation), Context: spec.Context(p.Context)}
		if err := permission.Check(); err != nil {
			return nil, err
		}
		permissions = append(permissions, permission)
	}
	return permissions, nil
}
