package control

import (
	"maps"
	"slices"

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
	parts    map[string]partRecord // that run in processes of their own
	grants   map[string]granted    // of the services' own identities
	brought  brought
	bound    map[string][]spec.Resource // of the enabled services, as a mapper gets them
}

// service is one installed service, worked out. It is never changed.
type service struct {
	record    serviceRecord
	canonical *commissioning.Service
	byID      map[string]*commissioning.Resource
	agents    map[string]string // which mapper runs a resource, by id
	refers    []string          // the other services that the resources name
	warnings  []spec.Diagnostic
	// errors are why a stored source, good when it was installed, is refused by this build.
	errors []spec.Diagnostic
}

// granted is what a service's own identity may do, worked out of exactly this service.
type granted struct {
	service     *service
	permissions []spec.Permission
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
		{Resource: "$SYS/#", Operation: spec.Read, Context: spec.MQTT}, // "#" does not cover it
		{Resource: "#", Operation: spec.ReadWrite, Context: spec.HTTP},
	}}
}

// clone copies the maps, so that a change of the copy leaves m as it is.
func (m *model) clone() *model {
	c := *m
	c.roles, c.users, c.services = maps.Clone(m.roles), maps.Clone(m.users), maps.Clone(m.services)
	c.bound, c.grants = maps.Clone(m.bound), maps.Clone(m.grants)
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
	r, ok := s.byID[id]
	return r, ok
}

// dependents are the services that refer to one of the named ones, by id.
func (m *model) dependents(named map[string]bool) []string {
	var ids []string
	for id, s := range m.services {
		if !named[id] && slices.ContainsFunc(s.refers, func(ref string) bool { return named[ref] }) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
