package render

import (
	"slices"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// PublishedHTTPS is the host's port on which a control container, as it is, has the API; empty
// where it publishes none.
func PublishedHTTPS(control plan.Container) spec.Port {
	i := slices.IndexFunc(control.Ports, func(b plan.PortBinding) bool { return b.Target == targetHTTPS })
	if i < 0 {
		return ""
	}
	b := control.Ports[i]
	return spec.JoinPort(b.Address, b.Port)
}
