package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/commissioning/stack"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// addStack checks a stack file and what it names, and adds its objects to the request.
func (o *inputOptions) addStack(ctx context.Context, in *input, file string, text []byte) ([]spec.Diagnostic, error) {
	if len(o.files) > 1 || o.id != "" || len(o.set) > 0 || o.parametersFile != "" {
		return nil, spec.Errorf(spec.Invalid, "cannot use the stack file %q with another file, --id, --set or --parameters-file", file).
			WithHint("a stack file holds all of that itself")
	}
	declared, found := stack.Parse(file, text)
	if declared == nil {
		return found, nil
	}
	users, services, more := loadStack(ctx, declared, in.sources)
	if !spec.HasErrors(found) {
		instance, wrong, err := in.loadInstance(ctx, declared)
		if err != nil {
			return nil, err
		}
		in.instance, more = instance, append(more, wrong...)
	}
	in.request.Owner = declared.Owner()
	in.request.Roles, in.request.Users, in.request.Services = declared.Roles, users, services
	return append(found, more...), nil
}

// stackSources reads what lies outside of a stack file.
func stackSources(ctx context.Context, read *sources) stack.Sources {
	return stack.Sources{
		Env: func(name string) (string, bool) {
			value := read.variable(name)
			return value, value != ""
		},
		File: func(path string) ([]byte, error) {
			text, err := read.file(ctx, path)
			if reason := errors.Unwrap(err); reason != nil {
				return nil, reason // the diagnostic names the path
			}
			return text, err
		},
	}
}

// loadStack reads what a stack names, and checks its commissioning files.
func loadStack(ctx context.Context, declared *stack.Stack, read *sources) ([]spec.User, []spec.Service, []spec.Diagnostic) {
	users, services, found := declared.Load(stackSources(ctx, read))
	unread := spec.HasErrors(found) // what is missing then has been said
	for _, s := range services {
		if s.Commissioning == "" {
			continue
		}
		some := s.Parameters == nil || s.MergeParameters || unread
		parameters := s.Parameters
		if s.SecretParameters != nil {
			parameters = maps.Clone(s.SecretParameters)
			maps.Copy(parameters, s.Parameters)
		}
		_, more := evaluate(s.CommissioningFile, []byte(s.Commissioning), s.ID, parameters, some, slices.Collect(maps.Keys(s.SecretParameters))...)
		found = append(found, more...)
	}
	return users, services, found
}

// absentStack is everything that a stack declares, as what is to go. Passwords are not read.
func absentStack(ctx context.Context, read *sources, declared *stack.Stack) (plan.Request, error) {
	r := plan.Request{Owner: declared.Owner()}
	for _, s := range declared.Services {
		id := s.ID
		if id == "" {
			text, err := read.file(ctx, s.CommissioningFile)
			if err != nil {
				return r, err
			}
			if id, err = serviceID(s.CommissioningFile, text); err != nil {
				return r, err
			}
		}
		r.Services = append(r.Services, spec.Service{ID: id, State: spec.Absent})
	}
	for _, u := range declared.Users {
		r.Users = append(r.Users, spec.User{Username: u.Username, State: spec.Absent})
	}
	for _, v := range declared.Roles {
		r.Roles = append(r.Roles, spec.Role{Name: v.Name, State: spec.Absent})
	}
	return r, nil
}

// serviceID is the id that a commissioning file gives its service.
func serviceID(file string, text []byte) (string, error) {
	parsed, found := commissioning.Parse(file, text)
	if parsed == nil {
		return "", refuse(found)
	}
	if parsed.DefaultID == "" {
		return "", spec.Errorf(spec.Invalid, "cannot tell which service %q declares: it has no metadata.name", file).
			WithHint("name the service by --id")
	}
	return parsed.DefaultID, nil
}

// checkFile checks one file alone, and those that a stack names with it. A variable that a
// stack takes a secret from need not be set for that.
func checkFile(ctx context.Context, read *sources, file string, text []byte) []spec.Diagnostic {
	if !stack.Kind(text) {
		_, found := evaluate(file, text, "", nil, true)
		return found
	}
	declared, found := stack.Parse(file, text)
	if declared == nil {
		return found
	}
	for i := range declared.Users {
		declared.Users[i].PasswordEnv, declared.Users[i].PasswordFile = "", ""
	}
	for i, s := range declared.Services {
		for name := range s.Secrets {
			declared.Services[i].Secrets[name] = stack.Source{}
			declared.Services[i].MergeParameters = true
		}
	}
	_, _, more := loadStack(ctx, declared, read)
	return append(found, more...)
}
