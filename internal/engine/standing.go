package engine

import (
	"context"
	"slices"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// Runs reports whether the instance's control part ran when the pass looked.
func (p *Pass) Runs() bool {
	i := p.control()
	return i >= 0 && p.actual.Containers[i].Running
}

func (p *Pass) control() int {
	return slices.IndexFunc(p.actual.Containers, func(c plan.Container) bool { return c.Part == spec.PartControl })
}

// KeepsData reports whether control's volume was there when the pass looked: what the instance
// holds, it goes on holding.
func (p *Pass) KeepsData() bool {
	return slices.Contains(p.actual.Volumes, p.Instance.Name+"_"+spec.PartControl)
}

// AccessNow is how the instance is spoken to as long as the pass is not applied: at the port that
// its container publishes, whatever is declared. Errors are those of Access; one that does not
// run is of kind not_found.
func (e *Engine) AccessNow(ctx context.Context, p *Pass) (Access, error) {
	i := p.control()
	if i < 0 {
		return Access{}, spec.Errorf(spec.NotFound, "cannot reach instance %q: it has no container of its control part", p.Instance.Name)
	}
	now := spec.Instance{Name: p.Instance.Name, Ports: spec.Ports{spec.PortHTTPS: render.PublishedHTTPS(p.actual.Containers[i])}}
	return e.Access(ctx, now)
}
