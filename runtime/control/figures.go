package control

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// brokerReport is what a broker in another process last said of itself.
type brokerReport struct {
	seenAt  time.Time
	figures spec.BrokerFigures
	clients []spec.ClientView
}

// takeBroker takes the broker's report: a full one says which policy is in force.
func (c *Control) takeBroker(r spec.AgentStatus) {
	c.mu.Lock()
	if r.Full {
		c.policy = r.Revision
	}
	if r.Broker != nil {
		c.broker = brokerReport{time.Now(), *r.Broker, r.Clients[:min(len(r.Clients), spec.MaxReportedClients)]}
	}
	c.mu.Unlock()
	c.reported.raise()
}

// Figures are what the parts of the instance count, wherever they run. Of a part that is silent
// there are none.
type Figures struct {
	Broker    *spec.BrokerFigures // nil: it is silent
	Agents    []AgentFigures      // by name
	Resources []spec.ResourceStatus
}

// AgentFigures are those of one mapper.
type AgentFigures struct {
	Name      string
	Online    bool
	Abandoned int64            // calls to drivers that were given up
	Bus       *spec.BusFigures // nil: its broker is in its own process
}

// Figures returns those of now, or of the parts' last reports.
func (c *Control) Figures() Figures {
	var f Figures
	now := time.Now()
	if c.opts.Broker != nil {
		figures := c.opts.Broker()
		f.Broker = &figures
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Broker == nil && now.Sub(c.broker.seenAt) < offlineAfter {
		figures := c.broker.figures
		f.Broker = &figures
	}
	resources := map[string]spec.ResourceStatus{} // one that has just moved is reported by two agents
	for _, name := range slices.Sorted(maps.Keys(c.agents)) {
		a := c.agents[name]
		f.Agents = append(f.Agents, AgentFigures{Name: name, Online: a.online(now), Abandoned: a.abandoned, Bus: a.bus})
		if a.online(now) {
			maps.Copy(resources, a.statuses)
		}
	}
	f.Resources = slices.SortedFunc(maps.Values(resources), func(a, b spec.ResourceStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
	})
	return f
}

// clients are the broker's, by key. An error of kind unavailable: it is silent.
func (c *Control) clients() (map[string]spec.ClientView, error) {
	var list []spec.ClientView
	if c.opts.Clients != nil {
		list = c.opts.Clients()
	} else {
		c.mu.Lock()
		silent := time.Since(c.broker.seenAt) >= offlineAfter
		list = c.broker.clients
		c.mu.Unlock()
		if silent {
			return nil, spec.Errorf(spec.Unavailable, "cannot list the clients: the broker is silent").
				WithHint("it reports every 5 s; see that its container runs")
		}
	}
	byKey := make(map[string]spec.ClientView, len(list))
	for _, v := range list {
		byKey[v.Key()] = v
	}
	return byKey, nil
}
