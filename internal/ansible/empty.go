package ansible

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

const (
	ownerAPI = "api"
	admin    = "admin" // the user that a new instance has
)

// planEmpty plans a request as a new instance would, which holds nothing but its admin. It is
// for check mode, where an earlier task would make that instance.
func planEmpty(r plan.Request) (*plan.Plan, error) {
	in := plan.Input{Causes: map[string]string{}}
	for _, role := range r.Roles {
		if err := addRole(&in, role); err != nil {
			return nil, err
		}
	}
	for _, u := range r.Users {
		addUser(&in, u)
	}
	var found []spec.Diagnostic
	for _, s := range r.Services {
		warnings, err := addService(&in, s)
		found = append(found, warnings...)
		if err != nil {
			return nil, err
		}
	}
	p, err := plan.New(0, plan.Diff(in))
	p.Diagnostics = found
	return &p, err
}

func addRole(in *plan.Input, r spec.Role) error {
	switch {
	case r.Name == spec.RoleAdmin:
		return spec.Errorf(spec.Invalid, "cannot change or delete the built-in role %q", r.Name)
	case r.State != spec.Absent:
		in.Desired.Roles = append(in.Desired.Roles, plan.Role{Name: r.Name, Owner: ownerAPI, Permissions: r.Permissions})
	}
	return nil
}

// addUser adds a user. Of the admin's password nothing is known: it is what the earlier task
// gives, or makes.
func addUser(in *plan.Input, u spec.User) {
	was := plan.User{Grants: []spec.Grant{spec.GrantPassword, spec.GrantToken}}
	if u.Username == admin {
		was = plan.User{Name: admin, Owner: ownerAPI, Roles: []string{spec.RoleAdmin}, Grants: was.Grants}
		in.Actual.Users = append(in.Actual.Users, was)
	}
	if u.State == spec.Absent {
		return
	}
	next := was
	next.Name, next.Owner = u.Username, ownerAPI
	if u.Roles != nil {
		next.Roles = u.Roles
	}
	if u.Permissions != nil {
		next.Permissions = u.Permissions
	}
	if u.Grants != nil {
		next.Grants = u.Grants
	}
	switch {
	case u.Password == nil || u.Username == admin && u.UpdatePassword == spec.UpdateOnCreate:
	case u.Username == admin:
		next.PasswordNotCompared = true
	default:
		next.Password = "(new)"
	}
	in.Desired.Users = append(in.Desired.Users, next)
}

// addService adds a service whose file is right; what is wrong with it is the error.
func addService(in *plan.Input, s spec.Service) (warnings []spec.Diagnostic, err error) {
	if err := s.Check(); err != nil || s.State == spec.Absent {
		return nil, err
	}
	if s.Commissioning == "" {
		return nil, spec.Errorf(spec.NotFound, "cannot install service %q: it is not there yet, and no commissioning file is given", s.ID)
	}
	canonical, found := evaluate(s)
	spec.SortDiagnostics(found)
	if spec.HasErrors(found) {
		return nil, &spec.Error{
			Kind: spec.Invalid, Diagnostics: found,
			Message: fmt.Sprintf("cannot install service %s: there are mistakes in %s", s.ID, fileName(s)),
		}
	}
	in.Desired.Services = append(in.Desired.Services, plan.Service{
		Service: canonical, Owner: ownerAPI, Enabled: s.State != spec.Disabled, Grants: canonical.Grants(),
	})
	return found, nil
}

func fileName(s spec.Service) string { return cmp.Or(s.CommissioningFile, s.ID+".yml") }

func evaluate(s spec.Service) (*commissioning.Service, []spec.Diagnostic) {
	file, found := commissioning.Parse(fileName(s), []byte(s.Commissioning))
	if file == nil {
		return nil, found
	}
	canonical, more := file.Evaluate(commissioning.Input{
		ID: s.ID, Parameters: s.Parameters,
		CheckExpression: func(source string) error { _, err := expr.Compile(source); return err },
	})
	return canonical, slices.Concat(found, more)
}
