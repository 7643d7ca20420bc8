package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/go-connections/nat"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// The labels by which docker compose takes what we make for its own.
const (
	composeProject     = "com.docker.compose.project"
	composeService     = "com.docker.compose.service"
	composeNumber      = "com.docker.compose.container-number"
	composeHash        = "com.docker.compose.config-hash"
	composeDir         = "com.docker.compose.project.working_dir"
	composeFiles       = "com.docker.compose.project.config_files"
	composeVersion     = "com.docker.compose.version"
	composeVolume      = "com.docker.compose.volume"
	composeNetwork     = "com.docker.compose.network"
	composeDependsOn   = "com.docker.compose.depends_on"
	composeVersionText = "2.40.3" // whose labels these are
)

func decimal(n int) string { return strconv.Itoa(n) }

// createContainer makes a container of the settings under a name, without starting it.
func (e *Engine) createContainer(ctx context.Context, p *Pass, c plan.Container, name string) (string, error) {
	labels, err := containerLabels(p.Instance, c)
	if err != nil {
		return "", err
	}
	stop := c.StopSeconds
	config := &container.Config{
		Image: e.nameOf(ctx, c.Image, c.ImageID), Cmd: c.Command, User: c.User, Labels: labels, StopTimeout: &stop,
		ExposedPorts: nat.PortSet{}, Healthcheck: healthcheck(c.Health),
	}
	for _, key := range slices.Sorted(mapsKeys(c.Environment)) {
		config.Env = append(config.Env, key+"="+c.Environment[key])
	}
	bindings := portMap(c.Ports)
	for port := range bindings {
		config.ExposedPorts[port] = struct{}{}
	}
	networks := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		c.Network: {Aliases: aliases(c)},
	}}
	made, err := e.api.ContainerCreate(ctx, config, hostConfig(c, bindings), networks, nil, name)
	if err != nil {
		err = e.failed("make container "+name, err)
		var conflict *spec.Error
		if errors.As(err, &conflict) && conflict.Kind == spec.Conflict {
			conflict.Hint = "another pass may be at work on the instance: wait for its end, and apply again"
		}
		return "", err
	}
	for _, w := range made.Warnings {
		e.log.Warn("the engine warns of a container", "container", name, "warning", w)
	}
	return made.ID, nil
}

// nameOf is the reference, by which people know the image, as long as it stands for the id.
func (e *Engine) nameOf(ctx context.Context, reference, id string) string {
	if have, err := e.api.ImageInspect(ctx, reference); err != nil || have.ID != id {
		return id
	}
	return reference
}

func aliases(c plan.Container) []string { return []string{c.Part, c.Name} }

func hostConfig(c plan.Container, bindings nat.PortMap) *container.HostConfig {
	h := &container.HostConfig{
		NetworkMode: container.NetworkMode(c.Network), PortBindings: bindings, ReadonlyRootfs: c.ReadOnly,
		CapDrop: c.CapDrop, SecurityOpt: c.SecurityOpt, GroupAdd: c.Groups, Tmpfs: c.Tmpfs, ExtraHosts: c.ExtraHosts, DNS: c.DNS,
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(c.Restart)},
		LogConfig:     container.LogConfig{Type: c.LogDriver, Config: c.LogOptions},
		Resources:     resources(c),
	}
	for _, m := range c.Mounts {
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeVolume, Source: m.Volume, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	for _, d := range c.Devices {
		parts := strings.SplitN(d, ":", 3)
		h.Devices = append(h.Devices, container.DeviceMapping{PathOnHost: parts[0], PathInContainer: parts[1], CgroupPermissions: parts[2]})
	}
	return h
}

// resources are those that can change on a running container. No swap beyond the memory.
func resources(c plan.Container) container.Resources {
	r := container.Resources{Memory: c.Memory, MemorySwap: c.Memory, NanoCPUs: int64(c.CPUs*1e9 + 0.5)}
	if c.Pids > 0 {
		r.PidsLimit = &c.Pids
	}
	return r
}

func healthcheck(h plan.Health) *container.HealthConfig {
	return &container.HealthConfig{
		Test: h.Test, Interval: time.Duration(h.Interval) * time.Second, Timeout: time.Duration(h.Timeout) * time.Second,
		StartPeriod: time.Duration(h.StartPeriod) * time.Second, Retries: h.Retries,
	}
}

func portMap(bindings []plan.PortBinding) nat.PortMap {
	m := nat.PortMap{}
	for _, b := range bindings {
		port := nat.Port(decimal(int(b.Target)) + "/tcp")
		m[port] = append(m[port], nat.PortBinding{HostIP: b.Address, HostPort: decimal(int(b.Port))})
	}
	return m
}

// portBindings reads what portMap wrote, or what somebody else did.
func portBindings(m nat.PortMap) []plan.PortBinding {
	var list []plan.PortBinding
	for port, bindings := range m {
		for _, b := range bindings {
			number, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				number = 0 // chosen by the engine: not what we ask for
			}
			address := b.HostIP
			if a, err := netip.ParseAddr(address); err == nil && a == netip.IPv4Unspecified() {
				address = ""
			}
			list = append(list, plan.PortBinding{Target: uint16(port.Int()), Address: address, Port: uint16(number)}) //nolint:gosec // a port
		}
	}
	slices.SortFunc(list, func(a, b plan.PortBinding) int { return int(a.Target) - int(b.Target) })
	return list
}

func containerLabels(i spec.Instance, c plan.Container) (map[string]string, error) {
	made, err := c.Fingerprint()
	if err != nil {
		return nil, err
	}
	applied, err := appliedLabels(i)
	if err != nil {
		return nil, err
	}
	depends := make([]string, 0, len(c.DependsOn))
	for _, part := range c.DependsOn {
		depends = append(depends, part+":service_healthy:false")
	}
	for key, value := range map[string]string{
		render.LabelPart: c.Part, render.LabelConfig: made,
		composeProject: i.Name, composeService: c.Part, composeNumber: "1", labelOne: "False",
		composeHash: made, composeVersion: composeVersionText, composeDependsOn: strings.Join(depends, ","),
	} {
		applied[key] = value
	}
	if i.InstallPath != "" {
		applied[composeDir] = i.InstallPath
		applied[composeFiles] = i.InstallPath + "/" + render.ComposeFile
	}
	return applied, nil
}

// appliedLabels say whose it is and what was applied.
func appliedLabels(i spec.Instance) (map[string]string, error) {
	text, err := json.Marshal(i.Applied())
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write what is applied: %w", err)
	}
	digest, err := i.Digest()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		render.LabelInstance: i.Name, render.LabelSpec: string(text), render.LabelDigest: digest,
	}, nil
}

func (e *Engine) createNetwork(ctx context.Context, instance string, n plan.Network) error {
	options := network.CreateOptions{Driver: "bridge", Labels: map[string]string{
		render.LabelInstance: instance, composeProject: instance, composeNetwork: "default", composeVersion: composeVersionText,
	}}
	if n.Subnet != "" {
		options.IPAM = &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: n.Subnet}}}
	}
	if _, err := e.api.NetworkCreate(ctx, n.Name, options); err != nil {
		return e.failed("make network "+n.Name, err)
	}
	return nil
}

func (e *Engine) createVolume(ctx context.Context, instance, name string) error {
	_, err := e.api.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: map[string]string{
		render.LabelInstance: instance, composeProject: instance,
		composeVolume: strings.TrimPrefix(name, instance+"_"), composeVersion: composeVersionText,
	}})
	if err != nil {
		return e.failed("make volume "+name, err)
	}
	return nil
}
