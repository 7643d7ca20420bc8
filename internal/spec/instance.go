package spec

import (
	"cmp"
	"slices"
)

// Started and Stopped hold for instances, beside Restarted and Absent.
const (
	Started State = "started"
	Stopped State = "stopped"
)

// PullPolicy says when an image is fetched from its registry.
type PullPolicy string

// The pull policies.
const (
	PullMissing PullPolicy = "missing"
	PullAlways  PullPolicy = "always"
	PullNever   PullPolicy = "never"
)

// Instance is the desired state of one deployment on a Docker engine. What is nil or empty is
// taken from what was last applied, else it is the default (see Over). A list or map that is
// given is complete, but for Ports and Limits: there each key stands for itself.
type Instance struct {
	Name  string `json:"name,omitempty" yaml:"name,omitempty"`   // of the compose project too
	State State  `json:"state,omitempty" yaml:"state,omitempty"` // empty: started

	InstallPath    string     `json:"install_path,omitempty" yaml:"install_path,omitempty"` // gets docker-compose.yml and .env
	Version        string     `json:"version,omitempty" yaml:"version,omitempty"`
	AllowDowngrade bool       `json:"allow_downgrade,omitempty" yaml:"allow_downgrade,omitempty"`
	Image          string     `json:"image,omitempty" yaml:"image,omitempty"`                 // without a tag: Version is the tag
	ImageArchive   string     `json:"image_archive,omitempty" yaml:"image_archive,omitempty"` // a file as `docker save` writes it; loaded where the image is missing
	Pull           PullPolicy `json:"pull,omitempty" yaml:"pull,omitempty"`
	Registry       *Registry  `json:"registry,omitempty" yaml:"registry,omitempty"`

	Hostname    string `json:"hostname,omitempty" yaml:"hostname,omitempty"` // further name in the server's certificate
	Ports       Ports  `json:"ports,omitempty" yaml:"ports,omitempty"`
	NetworkMask string `json:"network_mask,omitempty" yaml:"network_mask,omitempty"` // CIDR; empty: the engine chooses

	AdminPassword *string `json:"admin_password,omitempty" yaml:"admin_password,omitempty"` // secret
	Certificate   string  `json:"certificate,omitempty" yaml:"certificate,omitempty"`       // PEM, with those between it and its CA
	PrivateKey    *string `json:"private_key,omitempty" yaml:"private_key,omitempty"`       // PEM, secret
	TrustedCA     string  `json:"trusted_ca,omitempty" yaml:"trusted_ca,omitempty"`         // PEM; beside the public ones

	Agents          []string `json:"agents,omitzero" yaml:"agents,omitempty"`                      // names of further mappers
	AllowContainers bool     `json:"allow_containers,omitempty" yaml:"allow_containers,omitempty"` // of services; true is refused: this version runs none
	ReadOnly        *bool    `json:"read_only,omitempty" yaml:"read_only,omitempty"`

	Env        map[string]string `json:"env,omitzero" yaml:"env,omitempty"`
	Proxy      *Proxy            `json:"proxy,omitempty" yaml:"proxy,omitempty"`
	Devices    []string          `json:"devices,omitzero" yaml:"devices,omitempty"`         // "HOST[:CONTAINER[:rwm]]", given to the mappers
	ExtraHosts map[string]string `json:"extra_hosts,omitzero" yaml:"extra_hosts,omitempty"` // name to address
	DNS        []string          `json:"dns,omitzero" yaml:"dns,omitempty"`
	Timezone   string            `json:"timezone,omitempty" yaml:"timezone,omitempty"`
	Limits     map[string]Limit  `json:"limits,omitempty" yaml:"limits,omitempty"` // by part or agent

	Backup     *bool  `json:"backup,omitempty" yaml:"backup,omitempty"`           // before the image changes; nil: true
	BackupPath string `json:"backup_path,omitempty" yaml:"backup_path,omitempty"` // directory for backups; empty: a volume of the instance

	Wait          *bool `json:"wait,omitempty" yaml:"wait,omitempty"`                 // for health; nil: true
	WaitTimeout   int   `json:"wait_timeout,omitempty" yaml:"wait_timeout,omitempty"` // seconds; 0: 300
	DeleteVolumes bool  `json:"delete_volumes,omitempty" yaml:"delete_volumes,omitempty"`

	DockerHost string  `json:"docker_host,omitempty" yaml:"docker_host,omitempty"` // empty: as docker itself finds it
	License    *string `json:"license,omitempty" yaml:"license,omitempty"`         // accepted and ignored
}

// Registry is where images are pulled from. The login is used for the pull alone.
type Registry struct {
	Server   string `json:"server,omitempty" yaml:"server,omitempty"` // laid before an image that names no registry
	Username string `json:"username,omitempty" yaml:"username,omitempty"`
	Password string `json:"password,omitempty" yaml:"password,omitempty"` // secret
}

// Proxy is how the instance reaches addresses outside.
type Proxy struct {
	HTTP    string `json:"http,omitempty" yaml:"http,omitempty"`
	HTTPS   string `json:"https,omitempty" yaml:"https,omitempty"`
	NoProxy string `json:"no_proxy,omitempty" yaml:"no_proxy,omitempty"`
}

// Limit bounds one part. Zero values are the defaults.
type Limit struct {
	Memory string  `json:"memory,omitempty" yaml:"memory,omitempty"` // "256m", "1g", or bytes
	CPUs   float64 `json:"cpus,omitempty" yaml:"cpus,omitempty"`     // 1.5: one and a half cores; 0: no bound
}

// The parts of an instance; each agent is one more mapper.
const (
	PartControl = "control"
	PartBroker  = "broker"
	PartMapper  = "mapper"
)

// Parts lists the names of the instance's containers in the order in which they start.
func (i Instance) Parts() []string {
	return append([]string{PartControl, PartBroker, PartMapper}, i.sortedAgents()...)
}

func (i Instance) sortedAgents() []string {
	agents := slices.Clone(i.Agents)
	slices.Sort(agents)
	return agents
}

// Check refuses what cannot be an instance. An error names the option and what it may be.
func (i Instance) Check() error {
	return cmp.Or(
		i.checkIdentity(),
		i.checkImage(),
		i.Ports.check(),
		i.checkNetwork(),
		i.checkSecrets(),
		i.checkAgents(),
		i.checkEnvironment(),
		i.checkLimits(),
	)
}

// Secrets lists the secret texts of the instance, so that they can be masked wherever they
// might be shown.
func (i Instance) Secrets() []string {
	var secrets []string
	for _, s := range []*string{i.AdminPassword, i.PrivateKey, i.License} {
		if s != nil && *s != "" {
			secrets = append(secrets, *s)
		}
	}
	if i.Registry != nil && i.Registry.Password != "" {
		secrets = append(secrets, i.Registry.Password)
	}
	return secrets
}
