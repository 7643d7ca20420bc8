package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// The labels of everything that belongs to an instance.
const (
	LabelInstance = "io.millwright.instance"
	LabelPart     = "io.millwright.part"
	LabelConfig   = "io.millwright.config" // Container.Fingerprint of what it was made from
	LabelSpec     = "io.millwright.spec"   // Instance.Applied as JSON
	LabelDigest   = "io.millwright.digest" // of that
)

// LabelDataFormat is the image's label with DataFormat.
const LabelDataFormat = "io.millwright.data-format"

// DataFormat names how this release keeps an instance's data: the major of the data directory's
// format and, behind the dot, the version of control's store. A release can use what another one
// left if theirs are equal; else going back takes the data of before.
const DataFormat = "1.3"

// extension holds what was applied in the compose file.
const extension = "x-millwright"

// Compose writes the deployment as docker-compose.yml. Equal deployments give equal bytes.
func Compose(i spec.Instance, d plan.Deployment) ([]byte, error) {
	applied, err := json.Marshal(i.Applied())
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write what is applied: %w", err)
	}
	project := types.Project{
		Name:       i.Name,
		Services:   types.Services{},
		Networks:   types.Networks{"default": networkConfig(d)},
		Volumes:    types.Volumes{},
		Extensions: types.Extensions{extension: map[string]string{"spec": escape(string(applied))}},
	}
	for _, v := range d.Volumes {
		project.Volumes[strings.TrimPrefix(v, i.Name+"_")] = types.VolumeConfig{Name: v, Labels: ownLabels(i.Name)}
	}
	for _, c := range d.Containers {
		s, err := service(i.Name, c)
		if err != nil {
			return nil, err
		}
		project.Services[c.Part] = s
	}
	text, err := project.MarshalYAML()
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write %s: %w", ComposeFile, err)
	}
	return append([]byte(composeHeader), text...), nil
}

// written begins both files.
const written = "# Written by Millwright"

const composeHeader = written + ` from the instance's settings: change those, not this file. An edited
# file is kept as docker-compose.yml.bak and replaced. docker compose ps, logs, down and up work.
`

func ownLabels(instance string) types.Labels { return types.Labels{LabelInstance: instance} }

func networkConfig(d plan.Deployment) types.NetworkConfig {
	n := types.NetworkConfig{Name: d.Network.Name, Driver: "bridge", Labels: ownLabels(d.Name)}
	if d.Network.Subnet != "" {
		n.Ipam.Config = []*types.IPAMPool{{Subnet: d.Network.Subnet}}
	}
	return n
}

func service(instance string, c plan.Container) (types.ServiceConfig, error) {
	made, err := c.Fingerprint()
	if err != nil {
		return types.ServiceConfig{}, err
	}
	labels := ownLabels(instance)
	labels[LabelPart], labels[LabelConfig] = c.Part, made
	stop := types.Duration(time.Duration(c.StopSeconds) * time.Second)
	s := types.ServiceConfig{Name: c.Part, Restart: c.Restart}
	s.ContainerSpec = types.ContainerSpec{
		Image: c.Image, Command: escapeAll(c.Command), EnvFiles: []types.EnvFile{{Path: EnvFile, Required: true}},
		User: c.User, ReadOnly: c.ReadOnly, CapDrop: c.CapDrop, SecurityOpt: c.SecurityOpt, GroupAdd: c.Groups,
		Labels: labels, MemLimit: types.UnitBytes(c.Memory), MemSwapLimit: types.UnitBytes(c.Memory), CPUS: float32(c.CPUs),
		PidsLimit: c.Pids, StopGracePeriod: &stop, DNS: types.StringList(c.DNS), ExtraHosts: hosts(c.ExtraHosts),
		Devices: deviceMappings(c.Devices), Volumes: volumeConfigs(instance, c.Mounts),
		Networks: map[string]*types.ServiceNetworkConfig{"default": nil},
		Logging:  &types.LoggingConfig{Driver: c.LogDriver, Options: types.Options(c.LogOptions)},
	}
	for _, path := range sortedKeys(c.Tmpfs) {
		s.Tmpfs = append(s.Tmpfs, path+":"+c.Tmpfs[path])
	}
	s.Ports, s.HealthCheck, s.DependsOn = portConfigs(c.Ports), healthCheck(c.Health), types.DependsOnConfig{}
	for _, part := range c.DependsOn {
		s.DependsOn[part] = types.ServiceDependency{Condition: types.ServiceConditionHealthy, Required: true}
	}
	return s, nil
}

func hosts(list []string) types.HostsList {
	h := types.HostsList{}
	for _, entry := range list {
		name, address, _ := strings.Cut(entry, ":")
		h[name] = append(h[name], address)
	}
	return h
}

func deviceMappings(list []string) []types.DeviceMapping {
	var m []types.DeviceMapping
	for _, d := range list {
		parts := strings.SplitN(d, ":", 3)
		m = append(m, types.DeviceMapping{Source: parts[0], Target: parts[1], Permissions: parts[2]})
	}
	return m
}

func volumeConfigs(instance string, mounts []plan.Mount) []types.ServiceVolumeConfig {
	var v []types.ServiceVolumeConfig
	for _, m := range mounts {
		v = append(v, types.ServiceVolumeConfig{
			Type: types.VolumeTypeVolume, Source: strings.TrimPrefix(m.Volume, instance+"_"), Target: m.Target, ReadOnly: m.ReadOnly,
		})
	}
	return v
}

func portConfigs(bindings []plan.PortBinding) []types.ServicePortConfig {
	var p []types.ServicePortConfig
	for _, b := range bindings {
		p = append(p, types.ServicePortConfig{
			Mode: "ingress", HostIP: b.Address, Target: uint32(b.Target), Published: strconv.Itoa(int(b.Port)), Protocol: "tcp",
		})
	}
	return p
}

func healthCheck(h plan.Health) *types.HealthCheckConfig {
	seconds := func(n int) *types.Duration {
		d := types.Duration(time.Duration(n) * time.Second)
		return &d
	}
	retries := uint64(h.Retries) //nolint:gosec // a small constant
	return &types.HealthCheckConfig{
		Test: h.Test, Interval: seconds(h.Interval), Timeout: seconds(h.Timeout), StartPeriod: seconds(h.StartPeriod), Retries: &retries,
	}
}

// escape keeps compose from taking a "$" for a variable.
func escape(text string) string { return strings.ReplaceAll(text, "$", "$$") }

func escapeAll(list []string) []string {
	escaped := make([]string, len(list))
	for i, s := range list {
		escaped[i] = escape(s)
	}
	return escaped
}

// Applied reads from a compose file what was applied when it was written; nil if it is not
// ours or does not say.
func Applied(compose []byte) *spec.Instance {
	var file struct {
		Own struct {
			Spec string `yaml:"spec"`
		} `yaml:"x-millwright"`
	}
	if yaml.Unmarshal(compose, &file) != nil || file.Own.Spec == "" {
		return nil
	}
	applied, err := spec.ParseApplied(strings.ReplaceAll(file.Own.Spec, "$$", "$"))
	if err != nil {
		return nil
	}
	return applied
}

// Ours reports whether the content of a file of one of our names was written by us, or by somebody
// who edited what we had written.
func Ours(content []byte) bool {
	return bytes.HasPrefix(content, []byte(written)) || Applied(content) != nil
}

// Env writes .env: the environment of every container, which docker-compose.yml names as its env_file.
func Env(i spec.Instance) []byte {
	var b bytes.Buffer
	b.WriteString(written + ": the environment of instance " + i.Name + "'s containers.\n")
	e := environment(i)
	for _, name := range sortedKeys(e) {
		fmt.Fprintf(&b, "%s=%s\n", name, quote(e[name]))
	}
	return b.Bytes()
}

var bareValue = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]*$`)

// quote writes a value so that compose reads it literally.
func quote(value string) string {
	switch {
	case bareValue.MatchString(value):
		return value
	case !strings.ContainsAny(value, `'\`):
		return "'" + value + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(value) + `"`
}
