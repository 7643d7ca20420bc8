package spec

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
)

// InstanceDefaults are those defaults of an instance that are not the same everywhere.
type InstanceDefaults struct {
	Version     string // of the program that applies
	InstallPath string
	Timezone    string // of the host
	Hostname    string // of an engine's host that is not this one; what cannot be a hostname counts for nothing
}

// defaultImage is the image without its tag.
const defaultImage = "millwright/millwright"

// Over returns i with everything that it does not give taken from last, what was last applied
// (nil: nothing yet), else the default, in canonical form. What belongs to one pass alone
// (state, secrets, archive, waiting, deleting) is never taken from last.
func (i Instance) Over(last *Instance, d InstanceDefaults) (Instance, error) {
	if err := i.Check(); err != nil {
		return Instance{}, err
	}
	below := Instance{
		Name: DefaultInstance, InstallPath: d.InstallPath, Version: d.Version, Image: defaultImage, Pull: PullMissing,
		Ports: defaultPorts(), Timezone: cmp.Or(d.Timezone, "UTC"),
	}
	if isHost(d.Hostname) {
		below.Hostname = d.Hostname
	}
	if last != nil {
		below = last.over(below)
	}
	merged := i.over(below)
	merged.State = cmp.Or(i.State, Started)
	merged.AllowDowngrade, merged.ImageArchive, merged.DeleteVolumes = i.AllowDowngrade, i.ImageArchive, i.DeleteVolumes
	merged.AdminPassword, merged.PrivateKey, merged.License = i.AdminPassword, i.PrivateKey, i.License
	merged.Wait, merged.WaitTimeout = i.Wait, cmp.Or(i.WaitTimeout, 300)
	merged.settleImage(i)
	if err := merged.checkTogether(); err != nil {
		return Instance{}, err
	}
	return merged, nil
}

// over lays what i gives over below.
func (i Instance) over(below Instance) Instance {
	m := below
	m.Name = cmp.Or(i.Name, below.Name)
	m.InstallPath = cmp.Or(i.InstallPath, below.InstallPath)
	m.Version, m.Image = cmp.Or(i.Version, below.Version), cmp.Or(i.Image, below.Image)
	m.Pull = cmp.Or(i.Pull, below.Pull)
	m.Registry = cmp.Or(i.Registry, below.Registry)
	m.Hostname, m.NetworkMask = cmp.Or(i.Hostname, below.Hostname), cmp.Or(i.NetworkMask, below.NetworkMask)
	m.Ports = i.Ports.over(below.Ports)
	m.Certificate, m.TrustedCA = cmp.Or(i.Certificate, below.Certificate), cmp.Or(i.TrustedCA, below.TrustedCA)
	m.ReadOnly, m.Proxy = cmp.Or(i.ReadOnly, below.ReadOnly), cmp.Or(i.Proxy, below.Proxy)
	m.Timezone, m.DockerHost = cmp.Or(i.Timezone, below.Timezone), cmp.Or(i.DockerHost, below.DockerHost)
	m.Backup, m.BackupPath = cmp.Or(i.Backup, below.Backup), cmp.Or(i.BackupPath, below.BackupPath)
	m.Limits = overLimits(i.Limits, below.Limits)
	if i.Agents != nil {
		m.Agents = i.sortedAgents()
	}
	if i.Env != nil {
		m.Env = i.Env
	}
	if i.Devices != nil {
		m.Devices = sortedSet(i.Devices)
	}
	if i.ExtraHosts != nil {
		m.ExtraHosts = i.ExtraHosts
	}
	if i.DNS != nil {
		m.DNS = i.DNS
	}
	return m
}

// settleImage makes image and version agree: a tag in image is the version. A version that is
// given replaces the tag of an image that was applied before, and an image given without a tag
// keeps the version.
func (i *Instance) settleImage(given Instance) {
	if tag := tagOf(i.Image); tag != "" {
		switch {
		case given.Version != "" && given.Image == "":
			i.Image = strings.TrimRight(strings.TrimSuffix(i.Image, tag), ":@")
		default:
			i.Version = tag
		}
	}
}

// ImageReference is the image's full name: registry, name and tag or digest.
func (i Instance) ImageReference() string {
	name := i.Image
	if i.Registry != nil && i.Registry.Server != "" && !namesRegistry(name) {
		name = path.Join(i.Registry.Server, name)
	}
	if tagOf(name) == "" {
		name += ":" + i.Version
	}
	return name
}

// namesRegistry reports whether an image's name begins with a host, as docker tells it.
func namesRegistry(image string) bool {
	first, _, found := strings.Cut(image, "/")
	return found && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// checkTogether refuses what only the whole shows: ports that meet, limits of parts that there are not.
func (i Instance) checkTogether() error {
	if err := i.Ports.check(); err != nil {
		return err
	}
	parts := i.Parts()
	for _, part := range slices.Sorted(maps.Keys(i.Limits)) {
		if !slices.Contains(parts, part) {
			return Errorf(Invalid, "cannot limit %q: the parts of this instance are %s", part, strings.Join(parts, ", "))
		}
	}
	return nil
}

// BacksUp reports whether a backup is made before the image changes.
func (i Instance) BacksUp() bool { return i.Backup == nil || *i.Backup }

// Memory is the bound of a part in bytes.
func (i Instance) Memory(part string) int64 {
	if bytes, err := ParseMemory(i.Limits[part].Memory); err == nil {
		return bytes
	}
	if part == PartBroker {
		return 384 << 20
	}
	return 256 << 20
}

func overLimits(given, below map[string]Limit) map[string]Limit {
	merged := map[string]Limit{}
	maps.Copy(merged, below)
	for part, l := range given {
		m := merged[part]
		if bytes, err := ParseMemory(l.Memory); err == nil {
			m.Memory = formatMemory(bytes)
		}
		m.CPUs = cmp.Or(l.CPUs, m.CPUs)
		merged[part] = m
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

func sortedSet(list []string) []string {
	sorted := slices.Sorted(slices.Values(list))
	return slices.Compact(sorted)
}

// Applied is what is remembered of i when it has been applied: no secret, nothing that belongs
// to one pass. Its JSON form is kept with the deployment.
func (i Instance) Applied() Instance {
	i.State, i.DockerHost, i.ImageArchive = "", "", ""
	i.AllowDowngrade, i.DeleteVolumes, i.Wait, i.WaitTimeout = false, false, nil, 0
	i.AdminPassword, i.PrivateKey, i.License = nil, nil, nil
	if i.Registry != nil {
		i.Registry = &Registry{Server: i.Registry.Server}
		if i.Registry.Server == "" {
			i.Registry = nil
		}
	}
	return i
}

// Digest names the applied form: equal instances have equal digests.
func (i Instance) Digest() (string, error) {
	text, err := json.Marshal(i.Applied())
	if err != nil {
		return "", Errorf(Internal, "cannot make the digest of instance %q: %w", i.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// ParseApplied reads what Applied wrote as JSON. Another release's unknown keys are ignored.
func ParseApplied(text string) (*Instance, error) {
	var i Instance
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		return nil, Errorf(Internal, "cannot read what was last applied: %w", err)
	}
	return &i, nil
}
