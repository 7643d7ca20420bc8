package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Diff returns the steps that turn the actual into the desired state: roles, users and
// services (those that others refer to first), then deletions in the reverse order. An
// object's own step precedes those of its resources. Equal inputs, in whatever order, give
// equal steps; equal states give none. It is pure.
func Diff(in Input) []Step {
	roles := diffObjects(in, in.Desired.Roles, in.Actual.Roles, func(r Role) string { return RoleAddress(r.Name) }, diffRole)
	users := diffObjects(in, in.Desired.Users, in.Actual.Users, func(u User) string { return UserAddress(u.Name) }, diffUser)
	index := newIndex(in)
	services := diffObjects(in, byDependency(in.Desired.Services), byDependency(in.Actual.Services),
		func(s Service) string { return ServiceAddress(s.ID) },
		func(in Input, desired, actual *Service) []Step { return diffService(in, index, desired, actual) })
	return slices.Concat(roles.kept, users.kept, services.kept, services.deleted, users.deleted, roles.deleted)
}

// grouped are one kind's steps; deleted is already in reverse order.
type grouped struct{ kept, deleted []Step }

// diffObjects pairs objects by address. Roles and users are ordered by name; services come
// ordered and keep their order.
func diffObjects[T any](in Input, desired, actual []T, address func(T) string, diff func(in Input, desired, actual *T) []Step) grouped {
	before := map[string]*T{}
	for i := range actual {
		before[address(actual[i])] = &actual[i]
	}
	after := map[string]bool{}
	var g grouped
	for _, d := range ordered(desired, address) {
		after[address(d)] = true
		g.kept = append(g.kept, diff(in, &d, before[address(d)])...)
	}
	for _, a := range slices.Backward(ordered(actual, address)) {
		if !after[address(a)] {
			g.deleted = append(g.deleted, diff(in, nil, &a)...)
		}
	}
	return g
}

func ordered[T any](list []T, address func(T) string) []T {
	if _, ok := any(list).([]Service); ok {
		return list
	}
	return slices.SortedFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(address(a), address(b)) })
}

func diffRole(in Input, desired, actual *Role) []Step {
	from, to := orZero(actual), orZero(desired)
	changes := slices.Concat(
		compareOwner(from.Owner, to.Owner),
		compareSet("permissions", from.Permissions, to.Permissions, permissionText),
	)
	return objectStep(in, RoleAddress(cmp.Or(to.Name, from.Name)), actual != nil, desired != nil, changes)
}

func diffUser(in Input, desired, actual *User) []Step {
	from, to := orZero(actual), orZero(desired)
	changes := slices.Concat(
		compareOwner(from.Owner, to.Owner),
		comparePassword(from, to),
		compareSet("roles", from.Roles, to.Roles, func(s string) string { return s }),
		compareSet("permissions", from.Permissions, to.Permissions, permissionText),
		compareSet("grants", from.Grants, to.Grants, func(g spec.Grant) string { return string(g) }),
	)
	return objectStep(in, UserAddress(cmp.Or(to.Name, from.Name)), actual != nil, desired != nil, changes)
}

func comparePassword(from, to User) []Change {
	label := compareLabel("password_label", from.PasswordLabel, to.PasswordLabel)
	switch {
	case to.PasswordLabel != "" && label != nil: // another label says that it is another password
		return append([]Change{{Path: "password", Sensitive: true}}, label...)
	case to.PasswordNotCompared:
		return []Change{{Path: "password", Sensitive: true, NotCompared: true}}
	case from.Password != to.Password:
		return append([]Change{{Path: "password", Sensitive: true}}, label...)
	}
	return label
}

// compareLabel compares the labels of a secret.
func compareLabel(path, from, to string) []Change {
	if from == to {
		return nil
	}
	return []Change{{Path: path, From: textOrNil(from), To: textOrNil(to)}}
}

func compareOwner(from, to string) []Change {
	if from == to {
		return nil
	}
	return []Change{{Path: "owner", From: textOrNil(from), To: textOrNil(to)}}
}

// objectStep makes the step of a role or user. Their changes disturb nothing: the broker
// takes a new policy over without dropping anybody.
func objectStep(in Input, address string, was, willBe bool, changes []Change) []Step {
	s := Step{Address: address, Changes: changes, Disturbs: DisturbsNone, Cause: in.Causes[address]}
	switch {
	case !was:
		s.Symbol = Create
		s.Cause = cmp.Or(s.Cause, "does not exist yet")
	case !willBe:
		s.Symbol = Delete
		s.Cause = cmp.Or(s.Cause, "state absent was asked for")
	case !compared(changes):
		return nil
	default:
		s.Symbol = Update
		s.Cause = causeOf(changes)
	}
	return []Step{s}
}

// compared reports whether any change is known to be one.
func compared(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return !c.NotCompared })
}

// causeOf names the attributes that changed, the first three of them.
func causeOf(changes []Change) string {
	var paths []string
	for _, c := range changes {
		if !c.NotCompared && !slices.Contains(paths, c.Path) {
			paths = append(paths, c.Path)
		}
	}
	return listing(paths, 3) + " changed"
}

// listing renders "a", "a and b", "a, b and 7 more".
func listing(names []string, most int) string {
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func permissionText(p spec.Permission) string {
	return fmt.Sprintf("%s %s %s", p.Context, p.Operation, p.Resource)
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func textOrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
