package plan

import (
	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// State is what a set of objects looks like, desired or actual. The order of its lists does
// not matter. An object that only the actual state has is to be deleted.
type State struct {
	Roles    []Role
	Users    []User
	Services []Service
}

// Role is a role as it is or shall be.
type Role struct {
	Name        string
	Owner       string
	Permissions []spec.Permission
}

// User is an account as it is or shall be.
type User struct {
	Name  string
	Owner string
	// Password stands for the password without telling it: equal marks mean equal
	// passwords. It is never printed. Empty: none.
	Password string
	// PasswordNotCompared, of a desired user: a password is given, but the caller may not
	// learn whether it differs.
	PasswordNotCompared bool
	// PasswordLabel is the password's; one that differs is a change of the password.
	PasswordLabel string
	Roles         []string
	Permissions   []spec.Permission
	Grants        []spec.Grant
}

// Service is an installed service as it is or shall be.
type Service struct {
	*commissioning.Service
	Owner   string
	Enabled bool
	// Grants of the service's own identity; the caller takes them from the commissioning service.
	Grants []spec.Permission
	// Restart, of a desired service: stop and start it, whatever else changes.
	Restart bool
	// SecretParameters are the names of those that were given as secrets, SecretLabel their
	// label; one that differs is a change of them.
	SecretParameters []string
	SecretLabel      string
	// SecretsNotCompared, of a desired service: the caller may not learn whether secrets differ.
	SecretsNotCompared bool
}

// Input is what Diff compares.
type Input struct {
	Desired State
	Actual  State
	// Others are the installed services that are in neither state. A change of what they
	// refer to makes their topics fall silent too.
	Others []Service
	// Causes says why an object comes or goes, by its address, where that is not plain.
	Causes map[string]string
}

// The addresses of objects.
const (
	rolePrefix    = "role/"
	userPrefix    = "user/"
	servicePrefix = "service/"
)

// RoleAddress renders "role/operators".
func RoleAddress(name string) string { return rolePrefix + name }

// UserAddress renders "user/line1".
func UserAddress(name string) string { return userPrefix + name }

// ServiceAddress renders "service/press".
func ServiceAddress(id string) string { return servicePrefix + id }
