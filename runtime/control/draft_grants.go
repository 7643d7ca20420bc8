package control

import (
	"maps"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// authoriseService refuses a service that gives away what its caller does not have: by its
// accounts and roles, by what its own identity may do, or by the connections of others that
// it uses. What the installed service has already is not asked for again.
func (d *draft) authoriseService(id, address string) error {
	granted := append(d.grantedToAccounts(id), d.grantedToIdentity(id)...)
	if err := d.caller.mayGrant(address, granted); err != nil {
		return err
	}
	used := foreignConnections(d.before, d.before.services[id])
	for _, key := range slices.Sorted(maps.Keys(foreignConnections(d.after, d.after.services[id]))) {
		other, _, _ := strings.Cut(key, "::")
		if used[key] {
			continue
		}
		if err := d.caller.route(spec.Write, servicesRoute+other); err != nil {
			return spec.Errorf(spec.Forbidden, "cannot let service %q use %q, a connection of another service: %w", id, key, err).
				WithHint("only who may write service %q can use its connections elsewhere", other)
		}
	}
	return nil
}

// grantedToAccounts is what the accounts and roles of a service's file get anew.
func (d *draft) grantedToAccounts(id string) []spec.Permission {
	owner := ownerServicePrefix + id
	var granted []spec.Permission
	for name, r := range d.after.brought.roles {
		if r.Owner == owner && !slices.Equal(r.Permissions, d.before.brought.roles[name].Permissions) {
			granted = append(granted, r.Permissions...)
		}
	}
	for name, u := range d.after.brought.users {
		if u.Owner != owner {
			continue
		}
		all := d.after.permissionsOf(u)
		was, existed := d.before.brought.users[name]
		if !existed || d.before.brought.passwords[name] != d.after.brought.passwords[name] || !slices.Equal(all, d.before.permissionsOf(was)) {
			granted = append(granted, all...)
		}
	}
	return granted
}

// grantedToIdentity is what the service's own identity gets anew, but for its own topics.
func (d *draft) grantedToIdentity(id string) []spec.Permission {
	has := append(slices.Clone(d.before.grants[id].permissions),
		spec.Permission{Resource: spec.MqttRoot(id) + "/#", Operation: spec.ReadWrite, Context: spec.MQTT})
	return slices.DeleteFunc(slices.Clone(d.after.grants[id].permissions), func(p spec.Permission) bool {
		return spec.Allows(has, p.Context, p.Operation, p.Resource)
	})
}

// foreignConnections are the keys of what a service uses of others beside their topics,
// which its identity's permissions stand for: connections and servers.
func foreignConnections(m *model, s *service) map[string]bool {
	keys := map[string]bool{}
	if s == nil {
		return keys
	}
	for _, r := range s.canonical.Resources {
		commissioning.EachName(r.Properties, func(name string) {
			other, id, _ := strings.Cut(name, "::")
			if used, ok := m.resource(other, id); ok && used.Type != "Endpoint" && !strings.HasPrefix(used.Type, "Node::") {
				keys[name] = true
			}
		})
	}
	return keys
}
