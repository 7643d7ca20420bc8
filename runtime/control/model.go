package control

import (
	"maps"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// The owners that are no stack's.
const (
	ownerAPI           = "api"
	ownerStackPrefix   = "stack:"
	ownerServicePrefix = "service:"
)

// model is everything that is declared, worked out. It is never changed: a change makes
// another one.
type model struct {
	revision int64
	roles    map[string]roleRecord // that people made
	users    map[string]userRecord
	services map[string]*service
	brought  brought
	bound    map[string][]spec.Resource // of the enabled services, as a mapper gets them
}

// service is one installed service, worked out. It is never changed.
type service struct {
	record    serviceRecord
	canonical *commissioning.Service
	grants    []spec.Permission
	agents    map[string]string // which mapper runs a resource, by id
	warnings  []spec.Diagnostic
	// errors are why a stored source, good when it was installed, is refused by this build.
	errors []spec.Diagnostic
}

// brought are the accounts that services bring with them.
type brought struct {
	roles map[string]roleRecord
	users map[string]userRecord
	// passwords are those of users, in clear: only their hashes leave the model.
	passwords map[string]string
	enabled   map[string]bool // whether the user's service is
	errors    []spec.Diagnostic
}

func adminRole() roleRecord {
	return roleRecord{Name: spec.RoleAdmin, Owner: ownerAPI, Permissions: []spec.Permission{
		{Resource: "#", Operation: spec.ReadWrite, Context: spec.MQTT},
		{Resource: "#", Operation: spec.ReadWrite, Context: spec.HTTP},
	}}
}

// clone copies the maps, so that a change of the copy leaves m as it is.
func (m *model) clone() *model {
	c := *m
	c.roles, c.users, c.services = maps.Clone(m.roles), maps.Clone(m.users), maps.Clone(m.services)
	c.bound = maps.Clone(m.bound)
	return &c
}

// role finds a role that people made, that is built in or that a service brings.
func (m *model) role(name string) (roleRecord, bool) {
	if name == spec.RoleAdmin {
		return adminRole(), true
	}
	if r, ok := m.roles[name]; ok {
		return r, true
	}
	r, ok := m.brought.roles[name]
	return r, ok
}

// user finds an account that people made or that a service brings.
func (m *model) user(name string) (userRecord, bool) {
	if u, ok := m.users[name]; ok {
		return u, true
	}
	u, ok := m.brought.users[name]
	return u, ok
}

// permissionsOf resolves a user's roles. A role that does not exist grants nothing.
func (m *model) permissionsOf(u userRecord) []spec.Permission {
	all := slices.Clone(u.Permissions)
	for _, name := range u.Roles {
		if r, ok := m.role(name); ok {
			all = append(all, r.Permissions...)
		}
	}
	return all
}

// isAdmin reports whether the account may do everything over the API and can log in.
func (m *model) isAdmin(u userRecord) bool {
	return u.Password != "" && slices.Contains(u.Grants, spec.GrantPassword) &&
		spec.Allows(m.permissionsOf(u), spec.HTTP, spec.ReadWrite, "#")
}

// admins counts the accounts that can set everything right.
func (m *model) admins() int {
	n := 0
	for _, u := range m.users {
		if m.isAdmin(u) {
			n++
		}
	}
	return n
}

// resource finds a resource of an installed service, for references between services.
func (m *model) resource(service, id string) (*commissioning.Resource, bool) {
	s, ok := m.services[service]
	if !ok {
		return nil, false
	}
	for _, r := range s.canonical.Resources {
		if r.ID == id {
			return r, true
		}
	}
	return nil, false
}

// dependents are the services that refer to one of the named ones, by id.
func (m *model) dependents(named map[string]bool) []string {
	var ids []string
	for id, s := range m.services {
		if !named[id] && slices.ContainsFunc(s.canonical.References(), func(ref string) bool { return named[ref] }) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// bring works out the accounts that the services bring.
func (m *model) bring() {
	m.brought = brought{
		roles: map[string]roleRecord{}, users: map[string]userRecord{},
		passwords: map[string]string{}, enabled: map[string]bool{},
	}
	for _, id := range slices.Sorted(maps.Keys(m.services)) {
		s := m.services[id]
		for _, r := range s.canonical.Resources {
			switch r.Type {
			case "Role":
				m.bringRole(s, r)
			case "User":
				m.bringUser(s, r)
			}
		}
	}
}

// defaultRole is the Role that extends the service's own identity; it is part of its grants.
const defaultRole = "defaultRole"

func broughtRoleName(service, id string) string { return spec.ServiceIdentity(service) + ":" + id }

func (m *model) bringRole(s *service, r *commissioning.Resource) {
	name := broughtRoleName(s.record.ID, r.ID)
	m.brought.roles[name] = roleRecord{
		Name: name, Owner: ownerServicePrefix + s.record.ID, Revision: s.record.Revision,
		Permissions: m.permissionList(s, r.Properties["permissions"]),
	}
}

func (m *model) bringUser(s *service, r *commissioning.Resource) {
	name := r.ID
	if other, ok := m.user(name); ok {
		m.brought.errors = append(m.brought.errors, spec.Diagnostic{
			Position: r.Position, Severity: spec.SeverityError, Code: "user-exists",
			Message: "user \"" + name + "\" exists already and belongs to " + other.Owner,
			Hint:    "give the resource another id",
		})
		return
	}
	u := userRecord{
		Name: name, Owner: ownerServicePrefix + s.record.ID, Revision: s.record.Revision,
		Permissions: m.permissionList(s, r.Properties["permissions"]),
		Grants:      []spec.Grant{spec.GrantPassword, spec.GrantToken},
	}
	roles, _ := r.Properties["roles"].([]any)
	for _, v := range roles {
		u.Roles = append(u.Roles, m.roleOf(s, m.text(s, v)))
	}
	m.brought.users[name] = u
	m.brought.passwords[name] = m.text(s, r.Properties["password"])
	m.brought.enabled[name] = s.record.Enabled
}

// roleOf turns a role's id in a file into a role's name: the file's own first.
func (m *model) roleOf(s *service, id string) string {
	for _, r := range s.canonical.Resources {
		if r.Type == "Role" && r.ID == id {
			return broughtRoleName(s.record.ID, id)
		}
	}
	return id
}

func (m *model) permissionList(s *service, v any) []spec.Permission {
	list, _ := v.([]any)
	permissions := make([]spec.Permission, 0, len(list))
	for _, e := range list {
		p, _ := e.(map[string]any)
		permissions = append(permissions, spec.Permission{
			Resource:  m.text(s, p["resource"]),
			Operation: spec.Operation(m.text(s, p["operation"])),
			Context:   spec.Context(m.text(s, p["context"])),
		})
	}
	return permissions
}

// text resolves a string of a Role or User: globals, and topics of other services.
func (m *model) text(s *service, v any) string {
	switch x := v.(type) {
	case string:
		return x
	case commissioning.Secret:
		return m.text(s, x.Value)
	case commissioning.Symbol:
		var b strings.Builder
		for _, part := range x.Parts {
			b.WriteString(part.Text)
			b.WriteString(m.named(s, part.Name))
		}
		return b.String()
	}
	return ""
}

// named is what a symbolic name stands for in an account; the broker's address and log-in
// have no place there.
func (m *model) named(s *service, name string) string {
	prefix, rest, ok := strings.Cut(name, "::")
	switch {
	case !ok:
		return ""
	case prefix == "Cybus" || prefix == "Millwright":
		switch rest {
		case "ServiceId":
			return s.record.ID
		case "MqttRoot":
			return spec.MqttRoot(s.record.ID)
		case "MqttUser":
			return spec.ServiceIdentity(s.record.ID)
		}
		return ""
	}
	r, ok := m.resource(prefix, rest)
	if !ok {
		return ""
	}
	if topic, ok := r.Properties["topic"].(string); ok {
		return topic
	}
	if r.Type == "Role" {
		return broughtRoleName(prefix, rest)
	}
	return rest
}
