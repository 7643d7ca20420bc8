package engine

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// labelRole marks the container that is never started: it mounts the secrets to fill them, and
// its labels say what was last applied.
const (
	labelRole  = "io.millwright.role"
	roleRecord = "record"
	labelOne   = "com.docker.compose.oneoff"
)

func recordName(instance string) string { return instance + "-record" }

// observation is the actual state, and what the engine needs to know to change it.
type observation struct {
	plan.Deployment
	recordID string
}

// observe looks at everything that belongs to the instance. What is not there is left out.
func (e *Engine) observe(ctx context.Context, name string) (*observation, error) {
	o := &observation{Deployment: plan.Deployment{Name: name}}
	if err := e.observeNetwork(ctx, o); err != nil {
		return nil, err
	}
	list, err := e.api.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", render.LabelInstance+"="+name)),
	})
	if err != nil {
		return nil, e.failed("list containers", err)
	}
	var fallback string // what the newest container was made from
	var newest int64
	for _, c := range list {
		switch {
		case c.Labels[labelRole] == roleRecord && containerName(c.Names) == recordName(name):
			o.recordID, o.Recorded = c.ID, true
			o.Spec = parsed(c.Labels[render.LabelSpec])
		case c.Labels[labelOne] == "True":
		case containerName(c.Names) != name+"-"+c.Labels[render.LabelPart]+"-1":
			o.Leftovers = append(o.Leftovers, plan.Leftover{ID: c.ID, Name: containerName(c.Names)})
		default:
			if err := e.observeContainer(ctx, o, c.ID); err != nil {
				return nil, err
			}
			if c.Created >= newest {
				newest, fallback = c.Created, c.Labels[render.LabelSpec]
			}
		}
	}
	if o.Spec == nil {
		o.Recorded, o.Spec = false, parsed(fallback)
	}
	slices.SortFunc(o.Containers, func(a, b plan.Container) int {
		return strings.Compare(rankOf(a.Part)+a.Part, rankOf(b.Part)+b.Part)
	})
	slices.SortFunc(o.Leftovers, func(a, b plan.Leftover) int { return strings.Compare(a.Name, b.Name) })
	return o, e.observeVolumes(ctx, o)
}

// rankOf orders parts as they start.
func rankOf(part string) string {
	if i := slices.Index((spec.Instance{}).Parts(), part); i >= 0 {
		return string(rune('0' + i))
	}
	return "9"
}

func parsed(text string) *spec.Instance {
	if text == "" {
		return nil
	}
	applied, err := spec.ParseApplied(text)
	if err != nil {
		return nil
	}
	return applied
}

func containerName(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") { // the others are links
			return n
		}
	}
	return ""
}

func (e *Engine) observeNetwork(ctx context.Context, o *observation) error {
	name := o.Name + "_default"
	n, err := e.api.NetworkInspect(ctx, name, network.InspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return e.failed("look at network "+name, err)
	}
	if n.Name != name { // an id that begins so
		return nil
	}
	if n.Labels[render.LabelInstance] != o.Name {
		return spec.Errorf(spec.Conflict, "cannot use the network %q: it is not this instance's", name).
			WithHint("remove it (docker network rm %s), or give the instance another name", name)
	}
	o.Network = &plan.Network{Name: name}
	if len(n.IPAM.Config) > 0 {
		o.Network.Subnet = n.IPAM.Config[0].Subnet
	}
	return nil
}

func (e *Engine) observeVolumes(ctx context.Context, o *observation) error {
	list, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("name", o.Name+"_"))})
	if err != nil {
		return e.failed("list volumes", err)
	}
	for _, v := range list.Volumes {
		if strings.HasPrefix(v.Name, o.Name+"_") && v.Labels[render.LabelInstance] == o.Name {
			o.Volumes = append(o.Volumes, v.Name)
		}
	}
	slices.Sort(o.Volumes)
	return nil
}

func (e *Engine) observeContainer(ctx context.Context, o *observation, id string) error {
	c, err := e.api.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil // it went in between
	}
	if err != nil {
		return e.failed("look at container "+id, err)
	}
	o.Containers = append(o.Containers, containerOf(o.Name, c))
	return nil
}

// containerOf is the container as it is compared with what it shall be.
func containerOf(instance string, c container.InspectResponse) plan.Container {
	x := plan.Container{
		Part: c.Config.Labels[render.LabelPart], Name: strings.TrimPrefix(c.Name, "/"), ID: c.ID,
		ImageID: c.Image, Image: c.Config.Image, Command: c.Config.Cmd, Environment: environment(c.Config.Env),
		User: c.Config.User, Groups: c.HostConfig.GroupAdd, ReadOnly: c.HostConfig.ReadonlyRootfs,
		CapDrop: c.HostConfig.CapDrop, SecurityOpt: c.HostConfig.SecurityOpt, Tmpfs: c.HostConfig.Tmpfs,
		Mounts: mounts(c.Mounts), Ports: portBindings(c.HostConfig.PortBindings), Network: networkOf(instance+"_default", c),
		Devices: devices(c.HostConfig.Devices), ExtraHosts: slices.Sorted(slices.Values(c.HostConfig.ExtraHosts)), DNS: c.HostConfig.DNS,
		LogDriver: c.HostConfig.LogConfig.Type, LogOptions: c.HostConfig.LogConfig.Config,
		Memory: c.HostConfig.Memory, CPUs: float64(c.HostConfig.NanoCPUs) / 1e9, Restart: string(c.HostConfig.RestartPolicy.Name),
		Running: c.State.Running && !c.State.Restarting && !c.State.Paused, Status: statusOf(c.State),
		Unhealthy: !c.State.Paused && c.State.Health != nil && c.State.Health.Status == container.Unhealthy,
		Made:      c.Config.Labels[render.LabelConfig],
	}
	if p := c.HostConfig.PidsLimit; p != nil {
		x.Pids = *p
	}
	if s := c.Config.StopTimeout; s != nil {
		x.StopSeconds = *s
	}
	if h := c.Config.Healthcheck; h != nil {
		x.Health = plan.Health{
			Test: h.Test, Interval: int(h.Interval.Seconds()), Timeout: int(h.Timeout.Seconds()),
			StartPeriod: int(h.StartPeriod.Seconds()), Retries: h.Retries,
		}
	}
	return x
}

func statusOf(s *container.State) string {
	switch {
	case s.Paused:
		return "paused"
	case s.Running && s.Health != nil && s.Health.Status == container.Unhealthy:
		return "running, unhealthy"
	case s.Status == "exited" || s.Status == "dead" || s.Status == "restarting":
		return s.Status + " (exit code " + decimal(s.ExitCode) + ")"
	}
	return s.Status
}

func environment(list []string) map[string]string {
	e := map[string]string{}
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		e[name] = value
	}
	return e
}

func mounts(list []container.MountPoint) []plan.Mount {
	var m []plan.Mount
	for _, p := range list {
		source := p.Name
		if source == "" {
			source = path.Clean(p.Source)
		}
		m = append(m, plan.Mount{Volume: source, Target: p.Destination, ReadOnly: !p.RW})
	}
	return m
}

func devices(list []container.DeviceMapping) []string {
	var d []string
	for _, m := range list {
		d = append(d, m.PathOnHost+":"+m.PathInContainer+":"+m.CgroupPermissions)
	}
	slices.Sort(d)
	return d
}

// networkOf is ours where the container is in it, whatever others it is in too.
func networkOf(ours string, c container.InspectResponse) string {
	var names []string
	for name := range c.NetworkSettings.Networks {
		if name == ours {
			return ours
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
