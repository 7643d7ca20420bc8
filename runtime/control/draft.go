package control

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// The routes that permissions are checked on.
const (
	apiRoot       = "/api/v1"
	rolesRoute    = apiRoot + "/roles/"
	usersRoute    = apiRoot + "/users/"
	servicesRoute = apiRoot + "/services/"
)

// routeOf is the route of the object that an address belongs to.
func routeOf(address string) string {
	kind, rest, _ := strings.Cut(address, "/")
	name, _, _ := strings.Cut(rest, "/")
	return apiRoot + "/" + kind + "s/" + name
}

// draft is one request worked out against the model: what would be after it.
type draft struct {
	*Control
	ctx    context.Context
	caller *caller
	req    plan.Request
	owner  string

	before, after *model
	input         plan.Input
	diagnostics   []spec.Diagnostic
	seen          map[string]bool   // addresses that the request names
	foreign       map[string]string // owner of objects that are not the request's to change
	passwords     map[string]string // to be hashed when their user is stored
	unsaid        []string          // addresses whose secret's label changes, without the secret
	probed        bool              // a given secret turned out to differ
	mayProbe      error
}

// newDraft works a request out. Nothing is stored. The error is that of the first object
// that cannot be had, with the diagnostics of all files.
func (c *Control) newDraft(ctx context.Context, who *caller, req plan.Request) (*draft, error) {
	before := c.model.Load()
	d := &draft{
		Control: c, ctx: ctx, caller: who, req: req, before: before, after: before.clone(),
		input: plan.Input{Causes: map[string]string{}}, seen: map[string]bool{}, foreign: map[string]string{},
		passwords: map[string]string{},
	}
	if wait, ok := c.probes.Allowed(who.username); !ok {
		d.mayProbe = busy(wait, "too many passwords and secrets were compared that differ")
	}
	var err error
	if d.owner, err = normalOwner(req.Owner); err != nil {
		return nil, err
	}
	if req.Prune && d.owner == ownerAPI {
		return nil, spec.Errorf(spec.Invalid, "cannot prune without an owner: only a stack's own objects are pruned")
	}
	if req.MaxDisturbance != "" {
		if err := req.MaxDisturbance.Check(); err != nil {
			return nil, err
		}
	}
	if err := d.draftObjects(); err != nil {
		return nil, err
	}
	if err := d.prune(); err != nil {
		return nil, err
	}
	d.bring(d.after)
	return d, nil
}

// normalOwner turns "plant-a" into "stack:plant-a", and none into "api".
func normalOwner(owner string) (string, error) {
	if owner == "" || owner == ownerAPI {
		return ownerAPI, nil
	}
	name := strings.TrimPrefix(owner, ownerStackPrefix)
	if err := spec.CheckName("stack", name); err != nil {
		return "", err
	}
	return ownerStackPrefix + name, nil
}

func (d *draft) draftObjects() error {
	for _, r := range d.req.Roles {
		if err := d.name(plan.RoleAddress(r.Name)); err != nil {
			return err
		}
		if err := d.draftRole(r); err != nil {
			return err
		}
	}
	for _, u := range d.req.Users {
		if err := d.name(plan.UserAddress(u.Username)); err != nil {
			return err
		}
		if err := d.draftUser(u); err != nil {
			return err
		}
	}
	return d.draftServices()
}

// draftServices goes on after a wrong file, so that all mistakes of a stack are told at once.
func (d *draft) draftServices() error {
	var failure *spec.Error
	for _, s := range d.req.Services {
		wrong, err := d.draftService(s)
		if err != nil {
			return err
		}
		switch {
		case wrong != nil && failure == nil:
			failure = wrong
		case wrong != nil:
			failure.Diagnostics = append(failure.Diagnostics, wrong.Diagnostics...)
		}
	}
	if failure != nil {
		return failure
	}
	return nil
}

// name notes that the request names an object: once, and only if the caller may read it.
func (d *draft) name(address string) error {
	if d.seen[address] {
		return spec.Errorf(spec.Invalid, "cannot apply %s: it is named twice", address)
	}
	d.seen[address] = true
	return d.caller.route(spec.Read, routeOf(address))
}

// own returns who owns an object from now on. Somebody else's stays theirs, and must then
// not change.
func (d *draft) own(address, owner string) (string, error) {
	switch {
	case owner == "" || owner == d.owner:
		return d.owner, nil
	case strings.HasPrefix(owner, ownerServicePrefix):
		return "", spec.Errorf(spec.Conflict, "cannot change %s: it belongs to %s", address, owner).
			WithHint("change that service's file")
	case d.req.Adopt:
		return d.owner, nil
	}
	d.foreign[address] = owner
	return owner, nil
}

func (d *draft) draftRole(r spec.Role) error {
	address := plan.RoleAddress(r.Name)
	if err := r.Check(); err != nil {
		return err
	}
	if r.Name == spec.RoleAdmin {
		return d.draftAdmin(r)
	}
	was, exists := d.before.roles[r.Name]
	owner, err := d.own(address, was.Owner)
	if err != nil {
		return err
	}
	if exists {
		d.input.Actual.Roles = append(d.input.Actual.Roles, planRole(was))
	}
	if r.State == spec.Absent {
		delete(d.after.roles, r.Name)
		return nil
	}
	next := roleRecord{Name: r.Name, Owner: owner, Permissions: was.Permissions}
	if r.Permissions != nil || next.Permissions == nil {
		next.Permissions = slices.Clone(r.Permissions)
	}
	d.after.roles[r.Name] = next
	d.input.Desired.Roles = append(d.input.Desired.Roles, planRole(next))
	return nil
}

// draftAdmin accepts the built-in role only as it is.
func (d *draft) draftAdmin(r spec.Role) error {
	same := r.State != spec.Absent && (r.Permissions == nil ||
		len(r.Permissions) == len(adminRole().Permissions) && !slices.ContainsFunc(r.Permissions, func(p spec.Permission) bool {
			return !slices.Contains(adminRole().Permissions, p)
		}))
	if !same {
		return spec.Errorf(spec.Invalid, "cannot change or delete the built-in role %q", r.Name)
	}
	return nil
}

func planRole(r roleRecord) plan.Role {
	return plan.Role{Name: r.Name, Owner: r.Owner, Permissions: r.Permissions}
}

func (d *draft) draftUser(u spec.User) error {
	address := plan.UserAddress(u.Username)
	if err := u.Check(); err != nil {
		return err
	}
	was, exists := d.before.users[u.Username]
	owner := was.Owner
	if brought, ok := d.before.brought.users[u.Username]; ok && !exists {
		owner = brought.Owner
	}
	owner, err := d.own(address, owner)
	if err != nil {
		return err
	}
	if exists {
		d.input.Actual.Users = append(d.input.Actual.Users, planUser(was))
	}
	if u.State == spec.Absent {
		delete(d.after.users, u.Username)
		return nil
	}
	next := was
	next.Name, next.Owner = u.Username, owner
	next.Roles = given(u.Roles, was.Roles)
	next.Permissions = given(u.Permissions, was.Permissions)
	next.Grants = given(u.Grants, was.Grants)
	if !exists && u.Grants == nil {
		next.Grants = []spec.Grant{spec.GrantPassword, spec.GrantToken}
	}
	desired := planUser(next)
	if err := d.draftPassword(u, was, exists, &desired, &next); err != nil {
		return err
	}
	d.after.users[u.Username] = next
	d.input.Desired.Users = append(d.input.Desired.Users, desired)
	return nil
}

// given is the new list where one was given, else the old one; never nil.
func given[T any](list, old []T) []T {
	if list == nil {
		list = old
	}
	return append([]T{}, list...)
}

// newPassword stands for a password that is hashed only when its user is stored.
const newPassword = "(new)"

// draftPassword compares a given password and its label with the stored ones, the password only
// if the caller may know. A password that differs takes the label that comes with it, or none.
func (d *draft) draftPassword(u spec.User, was userRecord, exists bool, desired *plan.User, next *userRecord) error {
	if exists && u.UpdatePassword == spec.UpdateOnCreate {
		return nil
	}
	address := plan.UserAddress(u.Username)
	next.Label = cmp.Or(u.PasswordLabel, was.Label)
	defer func() { desired.PasswordLabel = next.Label }()
	switch {
	case u.Password == nil:
		if next.Label != was.Label {
			d.unsaid = append(d.unsaid, address)
		}
		return nil
	case len(*u.Password) > credential.MaxSecret:
		return spec.Errorf(spec.Invalid, "cannot use a password of %d bytes for user %q: at most %d", len(*u.Password), u.Username, credential.MaxSecret)
	case !d.caller.allows(spec.HTTP, spec.Write, usersRoute+u.Username):
		desired.PasswordNotCompared = exists && was.Password != ""
		if !desired.PasswordNotCompared {
			desired.Password = newPassword
		}
		d.warnNotCompared(address)
		return nil
	}
	if was.Password != "" {
		if d.mayProbe != nil {
			return d.mayProbe
		}
		same, err := d.opts.Verifier.Verify(d.ctx, was.Password, *u.Password)
		if err != nil || same {
			return err
		}
		d.probed = true
	}
	desired.Password, next.Password, next.Label = newPassword, newPassword, u.PasswordLabel
	d.passwords[u.Username] = *u.Password
	return nil
}

func (d *draft) warnNotCompared(address string) {
	d.warn(address, "not-compared", "secrets were not compared, since user "+d.caller.username+" may not write "+routeOf(address))
}

// warn notes what a person should know of an object, or of a file.
func (d *draft) warn(place, code, message string) {
	d.diagnostics = append(d.diagnostics, spec.Diagnostic{
		Position: spec.Position{File: place}, Severity: spec.SeverityWarning, Code: code, Message: message,
	})
}

func planUser(u userRecord) plan.User {
	return plan.User{
		Name: u.Name, Owner: u.Owner, Password: u.Password, PasswordLabel: u.Label,
		Roles: u.Roles, Permissions: u.Permissions, Grants: u.Grants,
	}
}

// prune drafts the deletion of what the owner has and the request does not name.
func (d *draft) prune() error {
	if !d.req.Prune {
		return nil
	}
	gone := func(address, owner string) (bool, error) {
		if owner != d.owner || d.seen[address] {
			return false, nil
		}
		d.input.Causes[address] = "no longer in " + strings.Replace(d.owner, ":", " ", 1)
		return true, d.name(address)
	}
	for name, r := range d.before.roles {
		if ok, err := gone(plan.RoleAddress(name), r.Owner); err != nil {
			return err
		} else if ok {
			d.input.Actual.Roles = append(d.input.Actual.Roles, planRole(r))
			delete(d.after.roles, name)
		}
	}
	for name, u := range d.before.users {
		if ok, err := gone(plan.UserAddress(name), u.Owner); err != nil {
			return err
		} else if ok {
			d.input.Actual.Users = append(d.input.Actual.Users, planUser(u))
			delete(d.after.users, name)
		}
	}
	for id, s := range d.before.services {
		if ok, err := gone(plan.ServiceAddress(id), s.record.Owner); err != nil {
			return err
		} else if ok {
			d.input.Actual.Services = append(d.input.Actual.Services, d.before.planService(s))
			delete(d.after.services, id)
		}
	}
	return nil
}

// draftService works a service out. Wrong is what is wrong with its file.
func (d *draft) draftService(s spec.Service) (wrong *spec.Error, err error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.ID == "" && s.Commissioning == "" {
		return nil, spec.Errorf(spec.Invalid, "cannot apply a service without an id and without a commissioning file")
	}
	if s.State == spec.Absent && s.ID != "" {
		return nil, d.draftAbsent(s)
	}
	record, err := d.candidate(s)
	if err != nil {
		return nil, err
	}
	next, err := d.evaluate(record)
	if err != nil {
		return nil, err
	}
	if len(next.errors) > 0 {
		return &spec.Error{
			Kind: spec.Invalid, Diagnostics: append(next.errors, next.warnings...),
			Message: "cannot install service " + cmp.Or(next.record.ID, "(without id)") + ": " + countOf(len(next.errors), "mistake") + " in " + cmp.Or(record.Content.FileName, "its file"),
		}, nil
	}
	if s.ID == "" { // the id came from the file: what is installed under it counts
		s.ID = next.record.ID
		return d.draftService(s)
	}
	return nil, d.draftInstall(s, next)
}
