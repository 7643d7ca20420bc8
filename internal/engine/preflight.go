package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// preflight finds what would make applying fail half-way, before anything is touched.
func (e *Engine) preflight(ctx context.Context, p *Pass) []spec.Diagnostic {
	var found []spec.Diagnostic
	if p.given.License != nil {
		found = append(found, warning("license-ignored", "license is ignored: Millwright needs none", ""))
	}
	if p.given.Ports[spec.PortHTTP] != "" && p.Instance.Ports[spec.PortHTTPS] == "" {
		found = append(found, warning("no-redirect", "ports.http stays closed: it redirects to https, and ports.https is closed", ""))
	}
	found = append(found, fromSnap(p)...)
	if p.Plan.Empty() {
		return found
	}
	found = append(found, versions(p)...)
	found = append(found, foreignVolumes(p)...)
	found = append(found, e.otherFormat(ctx, p)...)
	for _, name := range []string{spec.PortHTTPS, spec.PortMQTTS, spec.PortMQTT} {
		found = append(found, e.portTaken(ctx, p, name)...)
	}
	found = append(found, e.rootlessPorts(p)...)
	return append(found, e.maskOverlap(ctx, p)...)
}

// foreignVolumes refuses volumes that have the instance's names and are somebody else's.
func foreignVolumes(p *Pass) []spec.Diagnostic {
	var found []spec.Diagnostic
	for _, v := range p.actual.foreign {
		if slices.Contains(p.desired.Volumes, v) {
			found = append(found, failure("volume-taken", "cannot use the volume "+v+": it is not this instance's",
				"remove it (docker volume rm "+v+"), or give the instance another name"))
		}
	}
	return found
}

// fromSnap warns of an engine that is confined.
func fromSnap(p *Pass) []spec.Diagnostic {
	if !strings.Contains(p.info.DockerRootDir, "/snap/") {
		return nil
	}
	return []spec.Diagnostic{warning("docker-from-snap", "this Docker comes from snap, which cannot read every path and stops containers when it updates itself",
		"install Docker from the distribution or from docker.com")}
}

// firstPort is the first port that the engine may open on its host.
func (e *Engine) firstPort(p *Pass) uint16 {
	const firstUnprivileged = 1024
	switch {
	case !slices.ContainsFunc(p.info.SecurityOptions, func(s string) bool { return strings.Contains(s, "rootless") }):
		return 1
	case e.local:
		return hostFirstPort(firstUnprivileged)
	}
	return firstUnprivileged
}

// rootlessPorts refuses ports that an engine without root's rights cannot open.
func (e *Engine) rootlessPorts(p *Pass) []spec.Diagnostic {
	first := e.firstPort(p)
	var found []spec.Diagnostic
	for _, c := range p.desired.Containers {
		for _, b := range c.Ports {
			if b.Port < first {
				found = append(found, failure("rootless-port", fmt.Sprintf("a rootless engine cannot open port %d", b.Port),
					fmt.Sprintf("choose ports from %d on (ports.https: 8443), or set net.ipv4.ip_unprivileged_port_start=0 on the host", first)))
			}
		}
	}
	return found
}

// leaveClosed keeps port http closed where it cannot be had: nothing depends on the redirect.
// When the port is free the next pass opens it.
func (e *Engine) leaveClosed(ctx context.Context, p *Pass) []spec.Diagnostic {
	address, number, err := p.Instance.Ports[spec.PortHTTP].Split()
	if err != nil || p.Instance.Ports[spec.PortHTTPS] == "" || e.holds(p, address, number) {
		return nil
	}
	why := ""
	if number < e.firstPort(p) {
		why = fmt.Sprintf("port %d (http) is one that a rootless engine cannot open", number)
	} else if by := e.listener(ctx, p.Instance.Name, address, number); by != "" {
		why = fmt.Sprintf("port %d (http) is taken by %s", number, by)
	}
	if why == "" {
		return nil
	}
	p.closed = []string{spec.PortHTTP}
	return []spec.Diagnostic{warning("http-closed", why+": it stays closed, and nothing redirects from there to https",
		"apply again when it is free, choose another one, or close it: ports.http: null")}
}

// wasClosed are the ports that were left closed when last was applied.
func (p *Pass) wasClosed(last spec.Instance) []string {
	_, number, err := last.Ports[spec.PortHTTP].Split()
	control := slices.IndexFunc(p.actual.Containers, func(c plan.Container) bool { return c.Part == spec.PartControl })
	switch {
	case err != nil:
		return nil
	case control < 0:
		return p.closed // nobody knows
	case slices.ContainsFunc(p.actual.Containers[control].Ports, func(b plan.PortBinding) bool { return b.Port == number }):
		return nil
	}
	return []string{spec.PortHTTP}
}

// explain says of control's step that it is port http which has come free, or was lost, where no
// setting of it changed.
func (p *Pass) explain(steps []plan.Step) {
	last := p.actual.Spec
	if last == nil || last.Ports[spec.PortHTTP] != p.Instance.Ports[spec.PortHTTP] || last.Ports[spec.PortHTTPS] != p.Instance.Ports[spec.PortHTTPS] {
		return
	}
	was := len(p.wasClosed(*last)) > 0
	why := "port http is free now"
	switch {
	case was == (len(p.closed) > 0) || p.Instance.Ports[spec.PortHTTPS] == "":
		return
	case !was:
		why = "port http is not to be had any more"
	}
	address := plan.InstanceAddress(p.Instance.Name) + "/" + plan.KindContainer + "/" + spec.PartControl
	for i, s := range steps {
		if s.Address == address && s.Symbol == plan.Replace {
			steps[i].Cause = why + ": " + s.Cause
		}
	}
}

// portTaken finds out whether somebody else listens where the instance is to, and who.
func (e *Engine) portTaken(ctx context.Context, p *Pass, name string) []spec.Diagnostic {
	address, number, err := p.Instance.Ports[name].Split()
	if err != nil || e.holds(p, address, number) {
		return nil // closed, or ours
	}
	by := e.listener(ctx, p.Instance.Name, address, number)
	if by == "" {
		return nil
	}
	return []spec.Diagnostic{failure("port-taken", fmt.Sprintf("port %d (%s) is taken by %s", number, name, by),
		"stop that, or choose another one: ports."+name)}
}

// holds reports whether a running container of the instance has the port now.
func (e *Engine) holds(p *Pass, address string, number uint16) bool {
	return slices.ContainsFunc(p.actual.Containers, func(c plan.Container) bool {
		return c.Running && slices.ContainsFunc(c.Ports, func(b plan.PortBinding) bool {
			return b.Port == number && (b.Address == address || b.Address == "" || address == "")
		})
	})
}

// listener names who has the port: a container of somebody else, or a process of this host.
func (e *Engine) listener(ctx context.Context, instance, address string, number uint16) string {
	list, err := e.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		e.log.Warn("cannot see which ports containers have", "error", err)
	}
	for _, c := range list {
		for _, port := range c.Ports {
			switch {
			case port.PublicPort != number || !meet(port.IP, address):
			case c.Labels[render.LabelInstance] == instance:
				return "" // it goes, or is replaced
			default:
				return "container " + containerName(c.Names)
			}
		}
	}
	if !e.local {
		return e.remoteListener(ctx, address, number)
	}
	return hostListener(address, number)
}

// meet reports whether two listening addresses cannot both be had.
func meet(a, b string) bool {
	all := func(s string) bool { return s == "" || s == "0.0.0.0" || s == "::" }
	return a == b || all(a) || all(b)
}

// maskOverlap refuses a network that the host reaches by another way.
func (e *Engine) maskOverlap(ctx context.Context, p *Pass) []spec.Diagnostic {
	want := p.desired.Network
	if want == nil || want.Subnet == "" || p.actual.Network != nil && p.actual.Network.Subnet == want.Subnet {
		return nil
	}
	mask, err := netip.ParsePrefix(want.Subnet)
	if err != nil {
		return nil // Check has refused it
	}
	taken := map[string]string{}
	list, err := e.api.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		e.log.Warn("cannot see which networks there are", "error", err)
	}
	own := map[string]bool{}
	for _, n := range list {
		for _, c := range n.IPAM.Config {
			if n.Name == want.Name {
				own[c.Subnet] = true
				continue
			}
			taken[c.Subnet] = "Docker network " + n.Name
		}
	}
	if e.local {
		for subnet, device := range hostRoutes() {
			if taken[subnet] == "" && !own[subnet] {
				taken[subnet] = "route by " + device
			}
		}
	}
	for _, subnet := range slices.Sorted(maps.Keys(taken)) {
		if other, err := netip.ParsePrefix(subnet); err == nil && other.Bits() > 0 && other.Overlaps(mask) {
			return []spec.Diagnostic{failure("mask-overlap", fmt.Sprintf("network_mask %s overlaps %s (%s)", mask, other, taken[subnet]),
				"choose one that nothing on the host uses")}
		}
	}
	return nil
}
