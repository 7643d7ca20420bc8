package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// figuresEvery is how often a broker in a process of its own reports its figures.
const figuresEvery = 5 * time.Second

func (g *Gateway) brokerFigures() spec.BrokerFigures { return spec.BrokerFigures(g.broker.Stats()) }

func (g *Gateway) brokerClients() []spec.ClientView {
	sessions := g.broker.Sessions()
	views := make([]spec.ClientView, 0, len(sessions))
	for _, s := range sessions {
		s.Oldest = s.Oldest.UTC()
		views = append(views, spec.ClientView(s))
	}
	return views
}

// withFigures adds to a mapper's report what is counted around it.
func (g *Gateway) withFigures(s spec.AgentStatus) spec.AgentStatus {
	s.Abandoned = g.mapper.Abandoned()
	if g.bus != nil {
		figures := spec.BusFigures(g.bus.Stats())
		s.Bus = &figures
	}
	return s
}

// reportBroker tells control the broker's figures until ctx ends. Where control is away there is
// nobody to tell; the next ones say all.
func (g *Gateway) reportBroker(ctx context.Context) error {
	select {
	case <-g.link.Joined():
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(figuresEvery)
	defer tick.Stop()
	for {
		figures := g.brokerFigures()
		status := spec.AgentStatus{Agent: spec.BrokerPart, Broker: &figures, Clients: neediest(g.brokerClients(), spec.MaxReportedClients)}
		if err := g.link.Report(ctx, status); err != nil && ctx.Err() == nil {
			g.log.Debug("the broker's figures were not reported", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// neediest are the clients that lost most, then those for which most waits, at most n of them.
func neediest(all []spec.ClientView, n int) []spec.ClientView {
	slices.SortFunc(all, func(a, b spec.ClientView) int {
		return cmp.Or(cmp.Compare(b.Dropped, a.Dropped), cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Key(), b.Key()))
	})
	return all[:min(len(all), n)]
}
