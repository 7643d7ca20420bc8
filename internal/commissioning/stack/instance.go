package stack

import (
	"maps"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// instance is the form of a stack's instance: the options of the Ansible module, and of
// spec.Instance, by the same names. What is any here is checked by instance_check.go.
type instance struct {
	Name            string            `json:"name,omitempty" doc:"The instance's name on its engine, and that of the compose project. Default: millwright."`
	State           string            `json:"state,omitempty" enum:"started,stopped,restarted,absent" doc:"Default: started."`
	InstallPath     string            `json:"install_path,omitempty" minLength:"1" doc:"Folder for docker-compose.yml and .env. Default: /opt/millwright."`
	Version         string            `json:"version,omitempty" scalars:"true" minLength:"1" doc:"Version to run. Default: what runs; new: that of this program."`
	AllowDowngrade  bool              `json:"allow_downgrade,omitempty" doc:"Whether an older version may replace a newer one."`
	Image           string            `json:"image,omitempty" minLength:"1" doc:"Image; without a tag, the version is the tag. Default: millwright/millwright."`
	ImageArchive    string            `json:"image_archive,omitempty" minLength:"1" doc:"Archive of the image, loaded where the engine does not have it."`
	Pull            string            `json:"pull,omitempty" enum:"missing,always,never" doc:"When the image is fetched from its registry. Default: missing."`
	Registry        *registry         `json:"registry,omitempty" doc:"Where images are pulled from."`
	Hostname        string            `json:"hostname,omitempty" minLength:"1" doc:"Further name in the server's certificate."`
	Ports           any               `json:"ports,omitempty" doc:"https (default 443), http (80), mqtts (8883), mqtt (closed): PORT, ADDRESS:PORT, or null for closed." format:"ports"`
	NetworkMask     string            `json:"network_mask,omitempty" minLength:"1" doc:"The containers' network, such as 172.30.0.0/24. Default: the engine chooses."`
	AdminPassword   any               `json:"admin_password,omitempty" doc:"The admin's password. Default: one is made." format:"elsewhere"`
	Certificate     any               `json:"certificate,omitempty" doc:"The server's certificate, PEM, with those between it and its authority. Default: of the instance's own authority." format:"elsewhere"`
	PrivateKey      any               `json:"private_key,omitempty" doc:"The certificate's key, PEM." format:"elsewhere"`
	TrustedCA       any               `json:"trusted_ca,omitempty" doc:"Authorities that the instance trusts beside the public ones, PEM." format:"elsewhere"`
	Agents          []string          `json:"agents,omitempty" doc:"Names of further mappers."`
	AllowContainers bool              `json:"allow_containers,omitempty" doc:"Whether services may run containers of their own. This version runs none: true is refused."`
	ReadOnly        bool              `json:"read_only,omitempty" doc:"Whether every write to a machine is refused."`
	Env             map[string]string `json:"env,omitempty" scalars:"true" doc:"Environment of the containers."`
	Proxy           *proxy            `json:"proxy,omitempty" doc:"How the instance reaches addresses outside."`
	Devices         []string          `json:"devices,omitempty" doc:"HOST[:CONTAINER[:rwm]], given to the mappers."`
	ExtraHosts      map[string]string `json:"extra_hosts,omitempty" doc:"Addresses by name."`
	DNS             []string          `json:"dns,omitempty" doc:"Addresses of name servers."`
	Timezone        string            `json:"timezone,omitempty" minLength:"1" doc:"Such as Europe/Berlin. Default: the host's."`
	Limits          map[string]limit  `json:"limits,omitempty" doc:"Bounds, by part (control, broker, mapper) or agent."`
	Backup          bool              `json:"backup,omitempty" doc:"Whether a backup is made before the version changes. Default: true."`
	BackupPath      string            `json:"backup_path,omitempty" minLength:"1" doc:"Folder for backups. Default: a volume of the instance."`
	Wait            bool              `json:"wait,omitempty" doc:"Whether to wait until all is healthy; needed where the stack declares more than the instance. Default: true."`
	WaitTimeout     int               `json:"wait_timeout,omitempty" minimum:"1" maximum:"86400" unit:"s" doc:"How long to wait. Default: 300."`
	DeleteVolumes   bool              `json:"delete_volumes,omitempty" doc:"Whether volumes go with what they belong to."`
	DockerHost      string            `json:"docker_host,omitempty" minLength:"1" doc:"The engine: unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST. Default: as docker finds it."`
	License         any               `json:"license,omitempty" doc:"Accepted, ignored." format:"elsewhere"`
}

type registry struct {
	Server   string `json:"server,omitempty" minLength:"1" doc:"Laid before an image that names no registry."`
	Username string `json:"username,omitempty" minLength:"1" doc:"User name for the pull."`
	Password any    `json:"password,omitempty" doc:"The user's password." format:"elsewhere"`
}

type proxy struct {
	HTTP    string `json:"http,omitempty" minLength:"1" doc:"http://HOST:PORT."`
	HTTPS   string `json:"https,omitempty" minLength:"1" doc:"http://HOST:PORT."`
	NoProxy string `json:"no_proxy,omitempty" doc:"Hosts that are reached directly, separated by commas."`
}

type limit struct {
	Memory string  `json:"memory,omitempty" scalars:"true" minLength:"1" doc:"Such as 512m or 1g."`
	CPUs   float64 `json:"cpus,omitempty" minimum:"0.01" maximum:"1024" doc:"1.5: one and a half cores."`
}

// Instance is the instance of a stack. Nothing outside of the file has been read.
type Instance struct {
	options   map[string]any // as the file has them, without what lies elsewhere; numbers are json.Number
	elsewhere []elsewhere
}

// elsewhere is an option whose text lies outside of the file.
type elsewhere struct {
	path []string // "registry", "password"
	from Source
}

// texts are the options that may be {env: NAME} or {file: PATH}.
func texts() [][]string {
	return [][]string{
		{"admin_password"}, {"certificate"}, {"private_key"}, {"trusted_ca"}, {"registry", "password"}, {"license"},
	}
}

// paths are the options that count from the stack file's folder.
func paths() []string { return []string{"install_path", "image_archive", "backup_path"} }

// instance reads and checks the instance of a stack file, nil if it has none.
func (p *parser) instance(tree any) *Instance {
	options, ok := tree.(map[string]any)
	if !ok {
		return nil
	}
	i := &Instance{options: options}
	for _, path := range texts() {
		p.text(i, path)
	}
	for _, key := range paths() {
		if name, ok := options[key].(string); ok {
			options[key] = p.path(name)
		}
	}
	p.checkInstance(i)
	return i
}

// firstAdmin is the user whose password an instance may be given.
const firstAdmin = "admin"

// reachable refuses an instance that what else is declared could not be applied to.
func (p *parser) reachable(s *Stack) {
	if s.Instance == nil || len(s.Roles)+len(s.Users)+len(s.Services) == 0 {
		return
	}
	const hint = "or declare them in a file of their own"
	for i, u := range s.Users {
		if u.Username == firstAdmin && s.Instance.gives("admin_password") && (u.Password != nil || u.PasswordEnv+u.PasswordFile != "") {
			p.fail("contradiction", "remove one of them", "the password of user \"admin\" is instance.admin_password", "users", i, "password")
		}
	}
	if s.Instance.options["wait"] == false {
		p.fail("contradiction", hint, "roles, users and services need an instance that is waited for: remove wait", "instance", "wait")
	}
	ports, _ := s.Instance.options["ports"].(map[string]any)
	if port, given := ports[spec.PortHTTPS]; given && (port == nil || port == "") {
		p.fail("contradiction", hint, "roles, users and services are applied over https: open that port", "instance", "ports", spec.PortHTTPS)
	}
}

// text takes an option that lies elsewhere out of the others.
func (p *parser) text(i *Instance, path []string) {
	holder := i.options
	for _, key := range path[:len(path)-1] {
		holder, _ = holder[key].(map[string]any)
	}
	last := path[len(path)-1]
	switch v := holder[last].(type) {
	case nil, string:
		return
	case map[string]any:
		if from, ok := p.sourceOf(v); ok {
			i.elsewhere = append(i.elsewhere, elsewhere{path, from})
			delete(holder, last)
			return
		}
	}
	delete(holder, last)
	p.fail("wrong-type", "quote digits", strings.Join(path, ".")+" must be text, {env: NAME} or {file: PATH}", place(path)...)
}

// place is where in the file an option of the instance stands.
func place(path []string) []any {
	place := []any{"instance"}
	for _, key := range path {
		place = append(place, key)
	}
	return place
}

// Options are the instance's options with the texts that lie elsewhere, as spec.DecodeInstance
// takes them; nil where the stack has no instance. What cannot be read is a diagnostic at the
// place that names it.
func (s *Stack) Options(from Sources) (map[string]any, []spec.Diagnostic) {
	if s.Instance == nil {
		return nil, nil
	}
	p := parser{document: s.document}
	options := s.Instance.copied()
	for _, e := range s.Instance.elsewhere {
		if text, ok := p.read(e.from, from, place(e.path)...); ok {
			assign(options, e.path, text)
		}
	}
	return options, p.found
}

// LoadInstance is the instance with the texts that lie elsewhere, checked as a whole; nil where
// the stack has none. What is wrong is a diagnostic at its place.
func (s *Stack) LoadInstance(from Sources) (*spec.Instance, []spec.Diagnostic) {
	options, found := s.Options(from)
	if options == nil || len(found) > 0 {
		return nil, found
	}
	p := parser{document: s.document}
	p.checkOptions((&Instance{options: options}).copied())
	if len(p.found) > 0 {
		return nil, p.found
	}
	i, err := spec.DecodeInstance(options)
	if err != nil {
		p.fail("bad-instance", "", err.Error(), "instance")
		return nil, p.found
	}
	return &i, nil
}

// Identity is the instance by name, engine and folder alone: what is needed to take it away.
func (s *Stack) Identity() spec.Instance {
	text := func(key string) string {
		v, _ := s.Instance.options[key].(string)
		return v
	}
	return spec.Instance{Name: text("name"), DockerHost: text("docker_host"), InstallPath: text("install_path")}
}

// gives reports whether the file says what an option is to be.
func (i *Instance) gives(option string) bool {
	_, given := i.options[option]
	return given || slices.ContainsFunc(i.elsewhere, func(e elsewhere) bool { return len(e.path) == 1 && e.path[0] == option })
}

// copied is a copy of the options that can be added to.
func (i *Instance) copied() map[string]any {
	options := maps.Clone(i.options)
	if r, ok := options["registry"].(map[string]any); ok {
		options["registry"] = maps.Clone(r)
	}
	return options
}

// assign sets an option, and makes the map that holds it.
func assign(options map[string]any, path []string, value any) {
	if len(path) > 1 {
		below, ok := options[path[0]].(map[string]any)
		if !ok {
			below = map[string]any{}
			options[path[0]] = below
		}
		assign(below, path[1:], value)
		return
	}
	options[path[0]] = value
}

// checkInstance checks what the file itself says; texts that lie elsewhere are taken to be right.
func (p *parser) checkInstance(i *Instance) {
	if v, given := i.options["ports"]; given {
		if _, ok := v.(map[string]any); !ok {
			p.fail("wrong-type", "", "instance.ports must be a map", "instance", "ports")
			delete(i.options, "ports")
		}
	}
	options := i.copied()
	for _, e := range i.elsewhere {
		assign(options, e.path, standIn)
	}
	p.checkOptions(options)
}

// checkOptions says what is wrong with each option at its own place, and with all of them
// together at the whole. It takes some of them out.
func (p *parser) checkOptions(options map[string]any) {
	p.pair(options)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		p.checkAlone(nil, options[key], key)
	}
	if _, err := spec.DecodeInstance(options); err != nil {
		p.failOnce("bad-instance", err, "instance")
	}
}

// standIn stands for a text that has not been read.
const standIn = "(not read)"

// pair checks certificate and key, and takes both out: each is wrong without the other.
func (p *parser) pair(options map[string]any) {
	certificate, isCertificate := options["certificate"]
	key, isKey := options["private_key"]
	delete(options, "certificate")
	delete(options, "private_key")
	switch {
	case isCertificate && !isKey:
		p.fail("missing-property", "give both", "instance.certificate needs private_key", "instance", "certificate")
	case isKey && !isCertificate:
		p.fail("missing-property", "give both", "instance.private_key needs certificate", "instance", "private_key")
	case isKey && certificate != standIn && key != standIn: // else they are compared when they have been read
		if _, err := spec.DecodeInstance(map[string]any{"certificate": certificate, "private_key": key}); err != nil {
			p.fail("bad-instance", "", err.Error(), "instance", "certificate")
		}
	}
	if options["trusted_ca"] == standIn {
		delete(options, "trusted_ca")
	}
}

// checkAlone checks the values below a key one by one, as if they were all that is given.
func (p *parser) checkAlone(above []any, value any, key any) {
	path := append(slices.Clone(above), key)
	switch v := value.(type) {
	case map[string]any:
		if key != "registry" { // whose user and password go together
			for _, name := range slices.Sorted(maps.Keys(v)) {
				p.checkAlone(path, v[name], name)
			}
			return
		}
	case []any:
		for i, item := range v {
			p.checkAlone(path, item, i)
		}
		return
	}
	alone := value
	for _, step := range slices.Backward(path) {
		if name, ok := step.(string); ok {
			alone = map[string]any{name: alone}
		} else {
			alone = []any{alone}
		}
	}
	if _, err := spec.DecodeInstance(alone.(map[string]any)); err != nil { //nolint:forcetypeassert // a path begins with a key
		p.failOnce("bad-instance", err, append([]any{"instance"}, path...)...)
	}
}
