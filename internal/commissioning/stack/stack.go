// Package stack reads stack files: roles, users and services (and the instance) of one
// owner in one file. It is pure; what lies outside the file comes through functions.
package stack

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// file is a stack file's form; the tags are those of package protocol.
type file struct {
	Stack    string    `json:"stack" required:"true" doc:"The owner of what the file declares."`
	Instance *instance `json:"instance,omitempty" doc:"The instance on a Docker engine; keys as the Ansible module's options."`
	Roles    []role    `json:"roles,omitempty" doc:"Roles."`
	Users    []user    `json:"users,omitempty" doc:"Users."`
	Services []service `json:"services,omitempty" doc:"Services."`
}

type role struct {
	Name        string                     `json:"name" required:"true" doc:"The role's name."`
	State       string                     `json:"state,omitempty" enum:"present,absent" doc:"Present by default."`
	Permissions []commissioning.Permission `json:"permissions,omitempty" doc:"What the role allows."`
}

type user struct {
	Username       string                     `json:"username" required:"true" doc:"The user's name."`
	State          string                     `json:"state,omitempty" enum:"present,absent" doc:"Present by default."`
	Password       any                        `json:"password,omitempty" doc:"The user's password." format:"elsewhere"`
	UpdatePassword string                     `json:"update_password,omitempty" enum:"always,on_create" doc:"When the password is enforced."`
	Roles          []string                   `json:"roles,omitempty" doc:"Names of roles."`
	Permissions    []commissioning.Permission `json:"permissions,omitempty" doc:"What the user may do beside its roles."`
	Grants         []string                   `json:"grants,omitempty" enum:"password,token" doc:"Ways in which the user may log in."`
}

type service struct {
	ID                string         `json:"id,omitempty" doc:"By default made from metadata.name."`
	State             string         `json:"state,omitempty" enum:"enabled,present,disabled,restarted,absent" doc:"Enabled by default."`
	CommissioningFile string         `json:"commissioning_file,omitempty" doc:"Path, relative to the stack file. A service that is there keeps its file without it."`
	Parameters        map[string]any `json:"parameters,omitempty" doc:"Values of the file's parameters."`
	Secrets           map[string]any `json:"secret_parameters,omitempty" doc:"Further parameters, secret whatever the file says: {env: NAME} or {file: PATH}." format:"all-elsewhere"`
	MergeParameters   bool           `json:"merge_parameters,omitempty" doc:"The instance keeps the parameters that are not given."`
	DeleteVolumes     bool           `json:"delete_volumes,omitempty" doc:"Whether absent removes volumes too."`
}

// Stack is a stack file as it stands; nothing outside of it has been read.
type Stack struct {
	Name     string
	Instance *Instance // nil if not given
	Roles    []spec.Role
	Users    []User
	Services []Service

	document *commissioning.Document
}

// User is a user whose password may lie elsewhere.
type User struct {
	spec.User
	PasswordEnv  string // name of an environment variable
	PasswordFile string // path, joined with the stack file's folder
}

// Service is a service some of whose parameters may lie elsewhere. CommissioningFile is
// joined with the stack file's folder; Commissioning is empty.
type Service struct {
	spec.Service
	Secrets map[string]Source // by the parameter's name
}

// Source is where a value lies: one of the two is given. A service's source that names
// neither is passed over.
type Source struct {
	Env  string // name of an environment variable
	File string // path, joined with the stack file's folder
}

// Owner marks what the stack declares.
func (s *Stack) Owner() string { return "stack:" + s.Name }

// Kind tells a stack file by its key "stack". Other files are commissioning files.
func Kind(src []byte) (isStack bool) {
	return slices.Contains(commissioning.TopKeys(src), "stack")
}

// commissioningKeys mark a commissioning file; a stack file must not hold them.
var commissioningKeys = []string{"resources", "parameters", "definitions", "metadata"}

// Parse reads and checks a stack file. The Stack is nil when src is not even a YAML map.
func Parse(name string, src []byte) (*Stack, []spec.Diagnostic) {
	document, found := commissioning.ReadDocument(name, src, &file{})
	if document == nil {
		return nil, found
	}
	p := parser{document: document, folder: filepath.Dir(name)}
	p.found = mixed(found)
	s := p.stack()
	spec.SortDiagnostics(p.found)
	return s, p.found
}

// mixed says of keys of a commissioning file that they are in the wrong file.
func mixed(found []spec.Diagnostic) []spec.Diagnostic {
	for i, d := range found {
		for _, key := range commissioningKeys {
			if d.Code == "unknown-property" && d.Message == fmt.Sprintf("unknown property %q", key) {
				found[i].Code = "mixed-file"
				found[i].Message = fmt.Sprintf("a stack file cannot hold %s", key)
				found[i].Hint = "put it into a commissioning file and name that under services"
			}
		}
	}
	return found
}

type parser struct {
	document *commissioning.Document
	folder   string
	found    []spec.Diagnostic
}

func (p *parser) fail(code, hint, message string, path ...any) {
	p.found = append(p.found, spec.Diagnostic{
		Position: p.document.At(path...), Severity: spec.SeverityError, Code: code, Message: message, Hint: hint,
	})
}

// failOnce reports what a whole object's check says, unless an error within it has been
// reported before: that is more exact, and mostly the same.
func (p *parser) failOnce(code string, err error, path ...any) {
	whole := p.document.At(path...)
	for _, d := range p.found {
		if d.Severity == spec.SeverityError && within(d.Position, whole) {
			return
		}
	}
	p.fail(code, "", err.Error(), path...)
}

func within(inner, outer spec.Position) bool {
	begins := cmp.Or(cmp.Compare(inner.Line, outer.Line), cmp.Compare(inner.Column, outer.Column)) >= 0
	ends := cmp.Or(cmp.Compare(inner.EndLine, outer.EndLine), cmp.Compare(inner.EndColumn, outer.EndColumn)) <= 0
	return begins && ends
}

func (p *parser) stack() *Stack {
	tree := p.document.Tree
	s := &Stack{document: p.document}
	s.Name, _ = tree["stack"].(string)
	s.Instance = p.instance(tree["instance"])
	if err := spec.CheckName("stack", s.Name); err != nil && s.Name != "" {
		p.fail("bad-id", "", err.Error(), "stack")
	}
	for i, v := range listOf(tree["roles"]) {
		r := decode[spec.Role](v)
		if err := r.Check(); err != nil && r.Name != "" {
			p.failOnce("bad-role", err, "roles", i)
		}
		s.Roles = append(s.Roles, r)
	}
	for i, v := range listOf(tree["users"]) {
		s.Users = append(s.Users, p.user(v, i))
	}
	for i, v := range listOf(tree["services"]) {
		s.Services = append(s.Services, p.service(v, i))
	}
	p.duplicates(s)
	p.reachable(s)
	return s
}

func (p *parser) user(v any, i int) User {
	m, _ := v.(map[string]any)
	password := m["password"]
	delete(m, "password")
	u := User{User: decode[spec.User](m)}
	switch password := password.(type) {
	case nil:
	case string:
		u.Password = &password
	case map[string]any:
		p.source(&u, password, i)
	default:
		p.fail("wrong-type", "quote a password of digits", passwordForm, "users", i, "password")
	}
	if err := u.Check(); err != nil && u.Username != "" {
		p.failOnce("bad-user", err, "users", i)
	}
	return u
}

const passwordForm = "password must be text, {env: NAME} or {file: PATH}"

func (p *parser) source(u *User, m map[string]any, i int) {
	from, ok := p.sourceOf(m)
	if !ok {
		p.fail("wrong-type", "", passwordForm, "users", i, "password")
	}
	u.PasswordEnv, u.PasswordFile = from.Env, from.File
}

// sourceOf reads {env: NAME} or {file: PATH}.
func (p *parser) sourceOf(v any) (Source, bool) {
	m, _ := v.(map[string]any)
	env, isEnv := m["env"].(string)
	file, isFile := m["file"].(string)
	if len(m) != 1 || !isEnv && !isFile || env+file == "" {
		return Source{}, false
	}
	if isFile {
		file = p.path(file)
	}
	return Source{env, file}, true
}

func (p *parser) service(v any, i int) Service {
	m, _ := v.(map[string]any)
	elsewhere, _ := m["secret_parameters"].(map[string]any)
	delete(m, "secret_parameters")
	s := Service{Service: decode[spec.Service](m)}
	for _, name := range slices.Sorted(maps.Keys(elsewhere)) {
		from, ok := p.sourceOf(elsewhere[name])
		if !ok {
			p.fail("wrong-type", "a value that everyone may see belongs under parameters", fmt.Sprintf("secret %q must be {env: NAME} or {file: PATH}", name), "services", i, "secret_parameters", name)
			continue
		}
		if _, twice := s.Parameters[name]; twice {
			p.fail("duplicate-name", "remove one of them", fmt.Sprintf("parameter %q is given under parameters and under secret_parameters", name), "services", i, "secret_parameters", name)
		}
		if s.Secrets == nil {
			s.Secrets = map[string]Source{}
		}
		s.Secrets[name] = from
	}
	if err := s.Check(); err != nil {
		p.failOnce("bad-service", err, "services", i)
	}
	switch {
	case s.CommissioningFile != "":
		s.CommissioningFile = p.path(s.CommissioningFile)
	case s.ID == "":
		p.fail("missing-property", "name a service that is there, or the path of a commissioning file, relative to this one", fmt.Sprintf("services[%d].id or commissioning_file is missing", i), "services", i)
	}
	return s
}

func (p *parser) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.folder, name)
}

// duplicates refuses two objects of one name: the later would undo the former.
func (p *parser) duplicates(s *Stack) {
	seen := map[string]bool{}
	check := func(section, noun, name string, i int) {
		key := section + " " + name
		if name != "" && seen[key] {
			p.fail("duplicate-name", "remove one of them", fmt.Sprintf("%s %q is already declared", noun, name), section, i)
		}
		seen[key] = true
	}
	for i, r := range s.Roles {
		check("roles", "role", r.Name, i)
	}
	for i, u := range s.Users {
		check("users", "user", u.Username, i)
	}
	for i, v := range s.Services {
		check("services", "service", v.ID, i)
	}
}

func listOf(v any) []any {
	items, _ := v.([]any)
	return items
}

// decode turns a checked tree into a noun; what did not fit has been reported and stays empty.
func decode[T any](v any) T {
	var out T
	raw, err := json.Marshal(v)
	if err != nil {
		return out // a tree of plain values; only a broken one fails
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		var empty T
		return empty
	}
	return out
}

// Sources reads what lies outside the file.
type Sources struct {
	Env  func(name string) (string, bool)
	File func(path string) ([]byte, error)
}

// Load returns users with their passwords and services with their files' text and their
// secret parameters. What cannot be read is a diagnostic at the place that names it.
func (s *Stack) Load(from Sources) ([]spec.User, []spec.Service, []spec.Diagnostic) {
	p := parser{document: s.document}
	var users []spec.User
	for i, u := range s.Users {
		users = append(users, p.withPassword(u, from, i))
	}
	var services []spec.Service
	for i, v := range s.Services {
		if v.CommissioningFile != "" {
			text, err := from.File(v.CommissioningFile)
			if err != nil {
				p.unreadable(v.CommissioningFile, err, "services", i, "commissioning_file")
			}
			v.Commissioning = string(text)
		}
		services = append(services, p.withSecrets(v, from, i))
	}
	return users, services, p.found
}

func (p *parser) withPassword(u User, from Sources, i int) spec.User {
	if u.PasswordEnv == "" && u.PasswordFile == "" {
		return u.User
	}
	password, ok := p.read(Source{u.PasswordEnv, u.PasswordFile}, from, "users", i, "password")
	if !ok {
		return u.User
	}
	u.Password = &password
	if err := u.Check(); err != nil {
		p.fail("bad-user", "", err.Error(), "users", i, "password")
	}
	return u.User
}

// withSecrets adds the parameters that lie elsewhere.
func (p *parser) withSecrets(s Service, from Sources, i int) spec.Service {
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if s.Secrets[name] == (Source{}) {
			continue
		}
		value, ok := p.read(s.Secrets[name], from, "services", i, "secret_parameters", name)
		if !ok {
			continue
		}
		if s.SecretParameters == nil {
			s.SecretParameters = map[string]any{}
		}
		s.SecretParameters[name] = value
	}
	return s.Service
}

// read returns the text that lies elsewhere, of a file without the line's end. Ok is false if
// it cannot be had, which is then said at the place that names it.
func (p *parser) read(s Source, from Sources, place ...any) (text string, ok bool) {
	if s.Env != "" {
		value, ok := from.Env(s.Env)
		if !ok {
			p.fail("missing-variable", "export it, or use {file: PATH}", fmt.Sprintf("environment variable %q is not set", s.Env), place...)
		}
		return value, ok
	}
	content, err := from.File(s.File)
	if err != nil {
		p.unreadable(s.File, err, place...)
		return "", false
	}
	return strings.TrimRight(string(content), "\r\n"), true
}

func (p *parser) unreadable(path string, err error, place ...any) {
	p.fail("unreadable-file", "the path is relative to the stack file", fmt.Sprintf("cannot read %q: %v", path, err), place...)
}
