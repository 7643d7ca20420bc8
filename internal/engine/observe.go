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
	setAside map[string]plan.Container // by part: predecessors of those that are Interrupted
	foreign  []string                  // volumes with names that are ours, and somebody else's
	unread   error                     // why Spec could not be read
	backup   backupSigns

	restoring string // the backup with which a restore has not come to its end; empty: none
}

// observe looks at everything that belongs to the instance. What is not there is left out.
func (e *Engine) observe(ctx context.Context, name string) (*observation, error) {
	o := &observation{Deployment: plan.Deployment{Name: name}, setAside: map[string]plan.Container{}}
	network, err := e.observeNetwork(ctx, o)
	if err != nil {
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
	parts := map[string][]interrupted{}
	for _, c := range list {
		part := c.Labels[render.LabelPart]
		switch {
		case c.Labels[labelOne] == "True":
		case c.Labels[labelRole] == roleRecord && containerName(c.Names) == recordName(name):
			o.recordID, o.Recorded = c.ID, true
			o.Spec, o.unread = parsed(name, c.Labels[render.LabelSpec])
		case c.Labels[labelRole] == roleRestore:
			o.meetMark(c.ID, containerName(c.Names), e.by, c.Labels)
		case c.Labels[labelRole] == roleBackup && o.backup.met(c.Labels[labelMaker]):
		case part == "" || c.Labels[labelRole] != "":
			o.leftOver(c.ID, containerName(c.Names), false)
		default:
			found, err := e.observeContainer(ctx, network, c.ID)
			if err != nil {
				return nil, err
			}
			if found == nil {
				continue // it went in between
			}
			found.created = c.Created
			parts[part] = append(parts[part], *found)
			if c.Created >= newest {
				newest, fallback = c.Created, c.Labels[render.LabelSpec]
			}
		}
	}
	for part, found := range parts {
		o.settle(name+"-"+part+"-1", found)
	}
	o.explainBackup()
	if o.Spec == nil && o.unread == nil {
		o.Recorded = false
		o.Spec, o.unread = parsed(name, fallback)
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

// parsed reads what was last applied; nil where nothing says so.
func parsed(instance, text string) (*spec.Instance, error) {
	if text == "" {
		return nil, nil
	}
	applied, err := spec.ParseApplied(text)
	if err != nil {
		return nil, spec.Errorf(spec.Conflict, "cannot tell what was last applied to instance %q: %w", instance, err).
			WithHint("a newer release wrote it: use that one; state absent removes the instance")
	}
	return applied, nil
}

func containerName(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") { // the others are links
			return n
		}
	}
	return ""
}

// observeNetwork returns the network; its zero has the name alone.
func (e *Engine) observeNetwork(ctx context.Context, o *observation) (network.Inspect, error) {
	name := o.Name + "_default"
	none := network.Inspect{Name: name}
	n, err := e.api.NetworkInspect(ctx, name, network.InspectOptions{})
	if errdefs.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, e.failed("look at network "+name, err)
	}
	if n.Name != name { // an id that begins so
		return none, nil
	}
	if n.Labels[render.LabelInstance] != o.Name {
		return none, spec.Errorf(spec.Conflict, "cannot use the network %q: it is not this instance's", name).
			WithHint("remove it (docker network rm %s), or give the instance another name", name)
	}
	o.Network = &plan.Network{Name: name}
	if len(n.IPAM.Config) > 0 {
		o.Network.Subnet = n.IPAM.Config[0].Subnet
	}
	return n, nil
}

func (e *Engine) observeVolumes(ctx context.Context, o *observation) error {
	list, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("name", o.Name+"_"))})
	if err != nil {
		return e.failed("list volumes", err)
	}
	for _, v := range list.Volumes {
		switch {
		case !strings.HasPrefix(v.Name, o.Name+"_"):
		case v.Labels[render.LabelInstance] == o.Name && v.Name == backupVolume(o.Name):
			o.Backups = v.Name
		case v.Labels[render.LabelInstance] == o.Name:
			o.Volumes = append(o.Volumes, v.Name)
		default:
			o.foreign = append(o.foreign, v.Name)
		}
	}
	slices.Sort(o.Volumes)
	return nil
}

func (e *Engine) observeContainer(ctx context.Context, own network.Inspect, id string) (*interrupted, error) {
	c, err := e.api.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.failed("look at container "+id, err)
	}
	found := interrupted{Container: containerOf(own, c)}
	found.healthy = found.Running && (c.State.Health == nil || c.State.Health.Status == container.Healthy)
	return &found, nil
}

// containerOf is the container as it is compared with what it shall be.
func containerOf(own network.Inspect, c container.InspectResponse) plan.Container {
	x := plan.Container{
		Part: c.Config.Labels[render.LabelPart], Name: strings.TrimPrefix(c.Name, "/"), ID: c.ID,
		ImageID: c.Image, Image: c.Config.Image, Command: c.Config.Cmd, Environment: environment(c.Config.Env),
		User: c.Config.User, Groups: c.HostConfig.GroupAdd, ReadOnly: c.HostConfig.ReadonlyRootfs,
		CapDrop: c.HostConfig.CapDrop, SecurityOpt: c.HostConfig.SecurityOpt, Tmpfs: c.HostConfig.Tmpfs,
		Mounts: mounts(c.Mounts), Ports: portBindings(c.HostConfig.PortBindings), Network: networkOf(own, c),
		Devices: devices(c.HostConfig.Devices), ExtraHosts: slices.Sorted(slices.Values(c.HostConfig.ExtraHosts)), DNS: c.HostConfig.DNS,
		LogDriver: c.HostConfig.LogConfig.Type, LogOptions: c.HostConfig.LogConfig.Config,
		Memory: c.HostConfig.Memory, CPUs: float64(c.HostConfig.NanoCPUs) / 1e9, Restart: string(c.HostConfig.RestartPolicy.Name),
		Running: c.State.Running && !c.State.Restarting && !c.State.Paused, Status: statusOf(c.State),
		Unhealthy: !c.State.Paused && unwell(c.State), Made: c.Config.Labels[render.LabelConfig],
	}
	if p := c.HostConfig.PidsLimit; p != nil {
		x.Pids = *p
	}
	if swap := c.HostConfig.MemorySwap; swap < 0 {
		x.Swap = -1
	} else if swap > 0 {
		x.Swap = swap - x.Memory
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
		return statusPaused
	case s.Running && unwell(s):
		return "running, unhealthy"
	case s.Status == "exited" || s.Status == "dead" || s.Status == "restarting":
		return s.Status + " (exit code " + decimal(s.ExitCode) + ")"
	}
	return s.Status
}

// unwell: its health check has failed. Of a container that was paused the engine says "unhealthy" too, until it
// asks the next time, after as much as the check's interval; then no check has failed.
func unwell(s *container.State) bool {
	return s.Health != nil && s.Health.Status == container.Unhealthy && s.Health.FailingStreak > 0
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

// networkOf is ours where the container is in it, under the names by which the others know it,
// whatever others it is in too. A stopped container may be in one of that name that is no more.
func networkOf(own network.Inspect, c container.InspectResponse) string {
	var names []string
	for name, e := range c.NetworkSettings.Networks {
		switch {
		case name != own.Name:
			names = append(names, name)
		case e.NetworkID != "" && e.NetworkID != own.ID:
		case !slices.Contains(e.Aliases, c.Config.Labels[render.LabelPart]):
			return name + ", without its name there"
		default:
			return name
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
