package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
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
	if p.given.Ports[spec.PortHTTP] != "" {
		found = append(found, warning("no-redirect", "ports.http stays closed: this release does not redirect to https yet", "use https"))
	}
	if strings.Contains(p.info.DockerRootDir, "/snap/") {
		found = append(found, warning("docker-from-snap", "this Docker comes from snap, which cannot read every path and stops containers when it updates itself",
			"install Docker from the distribution or from docker.com"))
	}
	if p.Plan.Empty() {
		return found
	}
	found = append(found, downgrade(p)...)
	for _, name := range []string{spec.PortHTTPS, spec.PortMQTTS, spec.PortMQTT} {
		found = append(found, e.portTaken(ctx, p, name)...)
	}
	found = append(found, rootlessPorts(p)...)
	return append(found, e.maskOverlap(ctx, p)...)
}

// downgrade refuses an older version than the one that was applied.
func downgrade(p *Pass) []spec.Diagnostic {
	if p.actual.Spec == nil || p.Instance.AllowDowngrade || !older(p.Instance.Version, p.actual.Spec.Version) {
		return nil
	}
	return []spec.Diagnostic{failure("downgrade",
		fmt.Sprintf("cannot go from version %s back to %s", p.actual.Spec.Version, p.Instance.Version),
		"allow_downgrade permits it; an older version may not be able to read the newer one's data")}
}

// older reports whether version a comes before b; what is no dotted number is never older.
func older(a, b string) bool {
	x, okX := numbers(a)
	y, okY := numbers(b)
	return okX && okY && slices.Compare(x, y) < 0
}

func numbers(version string) ([]int, bool) {
	release, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	var list []int
	for _, part := range strings.Split(release, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}

// rootlessPorts refuses ports that an engine without root's rights cannot open.
func rootlessPorts(p *Pass) []spec.Diagnostic {
	if !slices.ContainsFunc(p.info.SecurityOptions, func(s string) bool { return strings.Contains(s, "rootless") }) {
		return nil
	}
	var found []spec.Diagnostic
	for _, c := range p.desired.Containers {
		for _, b := range c.Ports {
			if b.Port < 1024 {
				found = append(found, failure("rootless-port", fmt.Sprintf("a rootless engine cannot open port %d", b.Port),
					"choose ports from 1024 on (ports.https: 8443), or set net.ipv4.ip_unprivileged_port_start=0 on the host"))
			}
		}
	}
	return found
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
		return ""
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
