package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// holdings are what an instance has installed, as its API shows it.
type holdings struct {
	roles    []spec.RoleView
	users    []spec.UserView
	services []spec.ServiceView // with their commissioning files
}

// exported are the files that holdings come to, and what is not in them.
type exported struct {
	stack   string
	files   []exportedFile
	counts  struct{ roles, users, services int }
	leftOut []leftOut
}

// exportedFile is one file; its name is relative, with slashes.
type exportedFile struct {
	name    string
	content []byte
}

// leftOut is what stays on the instance, since it is secret.
type leftOut struct {
	Address string `json:"address"`
	What    string `json:"what"` // "parameter token", "commissioning file"
}

// The forms of the stack file that is written, as package stack reads it.
type (
	stackForm struct {
		Stack    string        `json:"stack"`
		Roles    []roleForm    `json:"roles,omitempty"`
		Users    []userForm    `json:"users,omitempty"`
		Services []serviceForm `json:"services,omitempty"`
	}
	roleForm struct {
		Name        string            `json:"name"`
		Permissions []spec.Permission `json:"permissions"`
	}
	userForm struct {
		Username    string            `json:"username"`
		Roles       []string          `json:"roles"`
		Permissions []spec.Permission `json:"permissions"`
		Grants      []spec.Grant      `json:"grants"`
	}
	serviceForm struct {
		ID                string         `json:"id"`
		State             spec.State     `json:"state,omitempty"`
		CommissioningFile string         `json:"commissioning_file,omitempty"`
		Parameters        map[string]any `json:"parameters,omitempty"`
		MergeParameters   bool           `json:"merge_parameters,omitempty"`

		note string // stands above it
	}
)

const (
	stackFile      = "stack.yaml"
	servicesFolder = "services"
	// maskedText stands in what the API shows for each secret.
	maskedText = "(sensitive)"
)

const exportHeader = `# What an instance holds. Passwords are not in here: a user keeps the one that is set, and one that
# is made anew needs password: {env: NAME}. Nor are secret parameters: see the notes.
`

// export makes the files. Equal holdings give equal files. An empty stack name is the one of
// the stack that declares what is there, if it is one.
func (h holdings) export(name string) (*exported, error) {
	form := stackForm{Stack: cmp.Or(name, h.owner())}
	x := &exported{stack: form.Stack}
	for _, r := range h.roles {
		if r.Name != spec.RoleAdmin && !ofService(r.Owner) {
			form.Roles = append(form.Roles, roleForm{r.Name, r.Permissions})
		}
	}
	for _, u := range h.users {
		if !ofService(u.Owner) {
			form.Users = append(form.Users, userForm{u.Username, u.Roles, u.Permissions, u.Grants})
		}
	}
	names := fileNames{}
	for _, v := range h.services {
		if err := spec.CheckServiceID(v.ID); err != nil {
			return nil, err
		}
		form.Services = append(form.Services, x.service(v, names.of(v.ID)))
	}
	slices.SortFunc(form.Roles, func(a, b roleForm) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(form.Users, func(a, b userForm) int { return cmp.Compare(a.Username, b.Username) })
	x.counts.roles, x.counts.users, x.counts.services = len(form.Roles), len(form.Users), len(form.Services)
	text, err := form.render()
	if err != nil {
		return nil, err
	}
	x.files = append([]exportedFile{{stackFile, text}}, x.files...)
	return x, nil
}

// ofService tells what a service's own file declares.
func ofService(owner string) bool { return strings.HasPrefix(owner, "service:") }

// owner is the name of the one stack that owns something here, else "exported".
func (h holdings) owner() string {
	found := map[string]bool{}
	note := func(owner string) {
		if name, ok := strings.CutPrefix(owner, "stack:"); ok {
			found[name] = true
		}
	}
	for _, v := range h.roles {
		note(v.Owner)
	}
	for _, v := range h.users {
		note(v.Owner)
	}
	for _, v := range h.services {
		note(v.Owner)
	}
	if len(found) == 1 {
		for name := range found {
			return name
		}
	}
	return "exported"
}

// fileNames gives each service a file of its own, also where "Press" and "press" are one name.
type fileNames map[string]bool

func (n fileNames) of(id string) string {
	name := id
	for i := 2; n[strings.ToLower(name)]; i++ {
		name = fmt.Sprintf("%s-%d", id, i)
	}
	n[strings.ToLower(name)] = true
	return servicesFolder + "/" + name + ".yml"
}

// service adds a service's file. Where the API cannot show the file whole, the instance keeps
// it, and what can be shown lies beside for whoever takes the secret out of it.
func (x *exported) service(v spec.ServiceView, file string) serviceForm {
	form := serviceForm{ID: v.ID}
	if !v.Enabled {
		form.State = spec.Disabled
	}
	if v.Commissioning == "" || strings.Contains(v.Commissioning, maskedText) {
		x.leave(v.ID, "commissioning file")
		form.note = "Its commissioning file holds a secret and stays on the instance."
		if v.Commissioning != "" {
			masked := file + ".masked"
			x.files = append(x.files, exportedFile{masked, []byte(v.Commissioning)})
			form.note += " " + masked + "\nhas the rest: make the secret a parameter with format: password."
		}
		return form
	}
	x.files = append(x.files, exportedFile{file, []byte(v.Commissioning)})
	form.CommissioningFile = file
	var secret []string
	form.Parameters, secret = givenParameters(v)
	if len(secret) == 0 {
		return form
	}
	for _, name := range secret {
		x.leave(v.ID, "parameter "+name)
	}
	form.MergeParameters = form.Parameters != nil
	form.note = fmt.Sprintf("The instance keeps %s; elsewhere: secret_parameters: {%s: {env: NAME}}", strings.Join(secret, ", "), secret[0])
	return form
}

func (x *exported) leave(id, what string) {
	x.leftOut = append(x.leftOut, leftOut{"service/" + id, what})
}

// givenParameters are those that differ from the file's defaults, nil if none does, and the
// names of those that are secret, sorted.
func givenParameters(v spec.ServiceView) (given map[string]any, secret []string) {
	byDefault := map[string]string{}
	if service, _ := evaluate(v.ID, []byte(v.Commissioning), v.ID, nil, true); service != nil {
		for _, p := range service.Parameters {
			if _, masked := p.Value.(commissioning.Secret); !masked {
				byDefault[p.Name] = jsonText(p.Value)
			}
		}
	}
	for name, value := range v.Parameters {
		switch {
		case value == maskedText:
			secret = append(secret, name)
		case jsonText(value) != byDefault[name]:
			if given == nil {
				given = map[string]any{}
			}
			given[name] = value
		}
	}
	slices.Sort(secret)
	return given, secret
}

// jsonText compares values of parameters; what JSON cannot hold is like nothing.
func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

// render writes the stack file: permissions on one line each, notes above what they are about.
func (f stackForm) render() ([]byte, error) {
	root, err := yamlNode(f)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		items := root.Content[i+1].Content
		for n, item := range items {
			if root.Content[i].Value == "services" && f.Services[n].note != "" {
				item.HeadComment = "# " + strings.ReplaceAll(f.Services[n].note, "\n", "\n# ")
			}
			flowBelow(item)
		}
	}
	text := bytes.NewBufferString(exportHeader)
	e := yaml.NewEncoder(text)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write YAML: %w", err)
	}
	if err := e.Close(); err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write YAML: %w", err)
	}
	return text.Bytes(), nil
}

// flowBelow writes lists and maps within an object on one line each, but for a list of maps,
// each of which has its line.
func flowBelow(object *yaml.Node) {
	for i := 1; i < len(object.Content); i += 2 {
		value := object.Content[i]
		if value.Kind == yaml.SequenceNode && len(value.Content) > 0 && value.Content[0].Kind == yaml.MappingNode {
			for _, item := range value.Content {
				item.Style = yaml.FlowStyle
			}
		} else if value.Kind == yaml.SequenceNode {
			value.Style = yaml.FlowStyle
		}
	}
}
