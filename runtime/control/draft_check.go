package control

import (
	"maps"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// plan makes the draft's plan, and refuses what must not come to be.
func (d *draft) plan() (plan.Plan, error) {
	for id, s := range d.before.services {
		if !d.seen[plan.ServiceAddress(id)] {
			d.input.Others = append(d.input.Others, d.before.planService(s))
		}
	}
	for i, s := range d.input.Desired.Services {
		d.input.Desired.Services[i].Grants = d.after.grants[s.ID].permissions
	}
	steps := plan.Diff(d.input)
	p, err := plan.New(d.before.revision, steps)
	if err != nil {
		return p, err
	}
	if d.probed {
		d.probes.Count(d.caller.username)
	}
	for _, check := range []func([]plan.Step) error{d.checkOwners, d.checkBrought, d.checkReferences, d.checkRoles, d.checkAdmins} {
		if err := check(steps); err != nil {
			return p, err
		}
	}
	p.Diagnostics = d.diagnostics
	p.Deviations = d.deviations()
	return p, nil
}

// deviations are those of the services that the request names.
func (d *draft) deviations() []spec.Deviation {
	var all []spec.Deviation
	for _, id := range slices.Sorted(maps.Keys(d.before.services)) {
		if d.seen[plan.ServiceAddress(id)] && d.after.services[id] != nil {
			_, deviations := d.serviceState(d.before, d.before.services[id])
			all = append(all, deviations...)
		}
	}
	return all
}

// checkOwners refuses to change what belongs to somebody else.
func (d *draft) checkOwners(steps []plan.Step) error {
	for _, s := range steps {
		object := objectAddress(s.Address)
		if owner, ok := d.foreign[object]; ok {
			return spec.Errorf(spec.Conflict, "cannot change %s: it belongs to %q, not to %q", object, owner, d.owner).
				WithHint("apply it from where it is declared, or take it over with --adopt (\"adopt\": true)")
		}
	}
	return nil
}

func objectAddress(address string) string {
	parts := strings.SplitN(address, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// checkBrought refuses accounts of services that collide with others.
func (d *draft) checkBrought([]plan.Step) error {
	fresh := slices.DeleteFunc(slices.Clone(d.after.brought.errors), func(e spec.Diagnostic) bool {
		return slices.Contains(d.before.brought.errors, e)
	})
	if len(fresh) == 0 {
		return nil
	}
	return &spec.Error{Kind: spec.Conflict, Message: "cannot make an account: " + fresh[0].Message, Diagnostics: fresh}
}

// checkReferences binds what is new and what refers to it, on trial.
func (d *draft) checkReferences([]plan.Step) error {
	named := map[string]bool{}
	for id := range d.before.services {
		named[id] = d.seen[plan.ServiceAddress(id)]
	}
	for _, s := range d.input.Desired.Services {
		named[s.ID] = true
	}
	for _, id := range d.after.dependents(named) {
		for _, problem := range d.trial(id) {
			return spec.Errorf(spec.Conflict, "cannot do that: service %q would be left with a reference to nothing: %s", id, problem.Message).
				WithHint("change or delete service %q in the same request", id)
		}
	}
	var wrong []spec.Diagnostic
	for _, s := range d.input.Desired.Services {
		wrong = append(wrong, d.trial(s.ID)...)
	}
	if len(wrong) > 0 {
		return &spec.Error{Kind: spec.Invalid, Message: "cannot resolve " + countOf(len(wrong), "reference"), Diagnostics: wrong}
	}
	return nil
}

func (d *draft) trial(id string) []spec.Diagnostic {
	_, found := d.bind(d.after, d.after.services[id])
	return slices.DeleteFunc(found, func(x spec.Diagnostic) bool { return x.Severity != spec.SeverityError })
}

// checkRoles refuses users with roles that do not exist, and the deletion of roles that are held.
func (d *draft) checkRoles([]plan.Step) error {
	known := d.before.roleless()
	for _, missing := range d.after.roleless() {
		if slices.Contains(known, missing) {
			continue
		}
		if _, was := d.before.role(missing.role); was && !d.seen[plan.UserAddress(missing.user)] {
			return spec.Errorf(spec.Conflict, "cannot delete role %q: user %q has it", missing.role, missing.user).
				WithHint("take the role from the user in the same request")
		}
		return spec.Errorf(spec.Invalid, "cannot give user %q the role %q: there is no such role", missing.user, missing.role).
			WithHint("a role of the same request counts; the built-in one is %q", spec.RoleAdmin)
	}
	return nil
}

// held is a role that a user has.
type held struct{ user, role string }

// roleless lists the roles that users have and that do not exist.
func (m *model) roleless() []held {
	var list []held
	for _, name := range sortedKeys(m.users, m.brought.users) {
		u, _ := m.user(name)
		for _, role := range u.Roles {
			if _, ok := m.role(role); !ok {
				list = append(list, held{name, role})
			}
		}
	}
	return list
}

// checkAdmins keeps an instance from being locked for ever.
func (d *draft) checkAdmins([]plan.Step) error {
	if d.before.admins() > 0 && d.after.admins() == 0 {
		return spec.Errorf(spec.Conflict, "cannot do that: nobody would be left who can log in and administer the instance").
			WithHint("keep one user with the role %q, a password and the grant password", spec.RoleAdmin)
	}
	return nil
}

// authorise refuses an apply that changes what its caller may not write, or grants more
// than its caller has.
func (d *draft) authorise(steps []plan.Step) error {
	checked := map[string]bool{}
	for _, s := range steps {
		address := objectAddress(s.Address)
		if checked[address] {
			continue
		}
		checked[address] = true
		if err := d.caller.route(spec.Write, routeOf(address)); err != nil {
			return err
		}
		if err := d.authoriseGrant(address); err != nil {
			return err
		}
	}
	return nil
}

// authoriseGrant compares what an object grants, before and after, with what the caller has.
func (d *draft) authoriseGrant(address string) error {
	kind, name, _ := strings.Cut(address, "/")
	switch kind {
	case "role":
		return d.caller.mayGrant(address, slices.Concat(d.before.roles[name].Permissions, d.after.roles[name].Permissions))
	case "user":
		was, next := d.before.users[name], d.after.users[name]
		return d.caller.mayGrant(address, slices.Concat(d.before.permissionsOf(was), d.after.permissionsOf(next)))
	case "service":
		return d.authoriseService(name, address)
	}
	return nil
}
