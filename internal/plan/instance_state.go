package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/millwright/millwright/internal/spec"
)

// Deployment is an instance as it is, or shall be, on its engine. Lists that hold objects of
// the engine are in the order in which those start.
type Deployment struct {
	Name       string
	Image      Image
	Network    *Network // nil: none
	Volumes    []string // full names, "millwright_broker"
	Backups    string   // the volume that backups are kept in; empty: none; only actual
	Containers []Container
	Leftovers  []Leftover // of a pass that was interrupted; only actual
	Files      []File
	Secrets    []Secret
	// Spec is what the deployment was made of; nil where it is not known (only actual).
	Spec *spec.Instance
	// Recorded is true where Spec was read from the deployment's own record.
	Recorded bool
}

// Image is a reference, and the id that the engine has for it now.
type Image struct {
	Reference string
	ID        string // empty: not known
	Source    string // how it is to be had: "it is pulled"; only desired
	Missing   bool   // the engine has nothing of that name, whatever it has of ID; only desired
	Format    string // of the data that it keeps; empty: not known
	Stale     bool   // the registry has another one and pull is always; only desired
}

// Network is the deployment's own.
type Network struct {
	Name   string
	Subnet string // desired: empty leaves it to the engine
}

// Container is one part. The zero of an attribute means that it is not set.
type Container struct {
	Part string // control, broker, mapper or an agent's name: the compose service
	Name string

	ImageID     string
	Image       string // reference; not compared, ImageID is
	Command     []string
	Environment map[string]string
	User        string
	Groups      []string // further group ids
	ReadOnly    bool
	CapDrop     []string
	SecurityOpt []string
	Tmpfs       map[string]string // options by path
	Mounts      []Mount
	Ports       []PortBinding
	Network     string
	Devices     []string
	ExtraHosts  []string // "name:address"
	DNS         []string
	LogDriver   string
	LogOptions  map[string]string
	Health      Health
	StopSeconds int

	// These, Name and Network can change without a new container; CPUs only to another bound.
	Memory  int64
	Swap    int64 // beyond Memory; -1: without bound
	CPUs    float64
	Pids    int64
	Restart string

	DependsOn []string // parts that are up first; not compared

	// What follows is observed, or, but for Running, empty where desired.
	Running   bool
	ID        string
	Status    string // "exited (137)", "running, unhealthy"
	Unhealthy bool
	Made      string // Container.Fingerprint of what it was made from
	// Interrupted says what a pass that was broken off left undone; empty: nothing.
	Interrupted string
}

// Mount is a volume at a path.
type Mount struct {
	Volume, Target string
	ReadOnly       bool
}

// PortBinding publishes a container's port on the host.
type PortBinding struct {
	Target  uint16
	Address string // empty: all
	Port    uint16
}

// Health is how the engine asks a container for its health. Times are in seconds.
type Health struct {
	Test                           []string
	Interval, Timeout, StartPeriod int
	Retries                        int
}

// File is one of the files in the install path.
type File struct {
	Name    string // "docker-compose.yml"
	Path    string
	Content []byte // nil: it does not exist
	Mode    uint32
}

// Secret is a file of the secrets volume. It is never shown.
type Secret struct {
	Name    string
	Content []byte // desired: nil takes what is there, and else makes it
	// Volume is the one that keeps what the secret was traded for: where it is made anew, so
	// is the secret. Empty: none.
	Volume string
	// Outdated, of an actual secret, says why it is to be written although it is there.
	Outdated string
}

// SecretAdminPassword names the secret that control reads only when it starts.
const SecretAdminPassword = "admin-password"

// Renewed reports whether the secret is made anew even if the deployment has it.
func (s Secret) Renewed(actual Deployment) bool {
	return s.Volume != "" && !slices.Contains(actual.Volumes, s.Volume)
}

// Leftover is a container beside the real ones.
type Leftover struct {
	ID, Name, Cause string
	// Held marks the predecessor of a container that is Interrupted: it is removed when that
	// one is well, and until then may be put back.
	Held bool
}

// attributes are the container's settings as they are compared, by their path.
func (c Container) attributes() map[string]any {
	a := map[string]any{
		pathImage: c.ImageID, "command": c.Command, "user": c.User, "group_add": c.Groups, "read_only": c.ReadOnly,
		"cap_drop": c.CapDrop, "security_opt": c.SecurityOpt, "devices": c.Devices,
		"extra_hosts": c.ExtraHosts, "dns": c.DNS, "logging.driver": c.LogDriver,
		"health.test": c.Health.Test, "health.interval": c.Health.Interval, "health.timeout": c.Health.Timeout,
		"health.start_period": c.Health.StartPeriod, "health.retries": c.Health.Retries, "stop_grace_period": c.StopSeconds,
		PathName: c.Name, PathNetwork: c.Network, PathMemory: c.Memory, PathSwap: c.Swap, PathCPUs: c.CPUs,
		PathPids: c.Pids, PathRestart: c.Restart,
	}
	addMap(a, "environment", c.Environment)
	addMap(a, "tmpfs", c.Tmpfs)
	addMap(a, "logging.options", c.LogOptions)
	for _, m := range c.Mounts {
		a[joinPath("volumes", m.Target)] = m.text()
	}
	for _, p := range c.Ports {
		path := joinPath("ports", strconv.Itoa(int(p.Target)))
		if other, ok := a[path].(string); ok {
			a[path] = other + ", " + p.text()
			continue
		}
		a[path] = p.text()
	}
	for path, v := range a {
		if isUnset(v) {
			delete(a, path)
		}
	}
	return a
}

// The attributes that the engine changes on a running container.
const (
	PathName    = "name"
	PathNetwork = "network"
	PathMemory  = "memory"
	PathSwap    = "swap"
	PathCPUs    = "cpus"
	PathPids    = "pids_limit"
	PathRestart = "restart"
)

const pathImage = "image"

// isLive reports whether the attribute can change without a new container.
func isLive(path string) bool {
	switch path {
	case PathName, PathNetwork, PathMemory, PathSwap, PathCPUs, PathPids, PathRestart:
		return true
	}
	return false
}

// changesLive reports whether the change needs no new container. The engine cannot take the
// bound of processor time away from one.
func changesLive(c Change) bool {
	return isLive(c.Path) && (c.Path != PathCPUs || c.To != nil)
}

func addMap(a map[string]any, prefix string, m map[string]string) {
	for key, value := range m {
		a[joinPath(prefix, key)] = value
	}
}

func (m Mount) text() string {
	if m.ReadOnly {
		return m.Volume + " (read only)"
	}
	return m.Volume
}

func (p PortBinding) text() string {
	if p.Address == "" {
		return strconv.Itoa(int(p.Port))
	}
	return p.Address + ":" + strconv.Itoa(int(p.Port))
}

func isUnset(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	case int64:
		return v == 0
	case int:
		return v == 0
	case float64:
		return v == 0
	case bool:
		return !v
	}
	return false
}

// Fingerprint names the settings that a container was made from, but for those that may have
// changed on it since. The image is not among them: its id is compared.
func (c Container) Fingerprint() (string, error) {
	a := c.attributes()
	for _, path := range []string{pathImage, PathName, PathMemory, PathSwap, PathCPUs, PathRestart} {
		delete(a, path)
	}
	text, err := json.Marshal(a)
	if err != nil {
		return "", spec.Errorf(spec.Internal, "cannot make the fingerprint of %s: %w", c.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

func containerOf(d *Deployment, part string) *Container {
	if d == nil {
		return nil
	}
	i := slices.IndexFunc(d.Containers, func(c Container) bool { return c.Part == part })
	if i < 0 {
		return nil
	}
	return &d.Containers[i]
}

func fileOf(d *Deployment, name string) *File {
	if d == nil {
		return nil
	}
	i := slices.IndexFunc(d.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Files[i]
}

// Exists reports whether anything of the deployment but its volumes and files is there.
func (d Deployment) Exists() bool {
	return len(d.Containers) > 0 || d.Network != nil || d.Recorded
}

// The addresses of an instance and of what it consists of.
const instancePrefix = "instance/"

// InstanceAddress renders "instance/millwright".
func InstanceAddress(name string) string { return instancePrefix + cmp.Or(name, spec.DefaultInstance) }

// The kinds of an instance's children; an address is "instance/NAME/KIND/CHILD".
const (
	KindImage     = "image"
	KindBackup    = "backup"
	KindNetwork   = "network"
	KindVolume    = "volume"
	KindSecrets   = "secrets"
	KindFile      = "file"
	KindContainer = "container"
	KindLeftover  = "leftover"
)
