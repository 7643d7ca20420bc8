package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// offlineAfter is the silence after which an agent counts as offline.
const offlineAfter = 45 * time.Second

// agent is what a mapper last reported. Its fields are guarded by Control.mu.
type agent struct {
	seenAt   time.Time
	revision int64
	statuses map[string]spec.ResourceStatus // by key

	abandoned int64
	bus       *spec.BusFigures
}

func (a *agent) online(now time.Time) bool { return now.Sub(a.seenAt) < offlineAfter }

// Report takes a mapper's report. A mapper that is not known and does not report
// everything is asked to by an error of kind conflict.
func (c *Control) Report(_ context.Context, r spec.AgentStatus) error {
	if r.Agent == "" {
		return spec.Errorf(spec.Invalid, "cannot take a report of an agent without a name")
	}
	c.mu.Lock()
	a, known := c.agents[r.Agent]
	if !known && !r.Full {
		c.mu.Unlock()
		return spec.Errorf(spec.Conflict, "cannot take the changes of agent %q: its full report is missing", r.Agent)
	}
	if !known || r.Full {
		a = &agent{statuses: map[string]spec.ResourceStatus{}}
		c.agents[r.Agent] = a
	}
	for _, key := range r.Removed {
		delete(a.statuses, key)
	}
	for _, s := range r.Put {
		a.statuses[s.Key()] = s
	}
	a.seenAt, a.revision, a.abandoned, a.bus = time.Now(), r.Revision, r.Abandoned, r.Bus
	c.mu.Unlock()
	c.reported.raise()
	c.noteStates()
	return nil
}

// statuses lists what is reported of all resources of a type, "" for all, by service and id.
func (c *Control) statuses(typ string) []spec.ResourceStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []spec.ResourceStatus
	for _, a := range c.agents {
		for _, s := range a.statuses {
			if typ == "" || s.Type == typ {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b spec.ResourceStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// The states of a service (data-plane.md).
const (
	stateDisabled  = "disabled"
	stateEnabling  = "enabling"
	stateEnabled   = "enabled"
	stateDisabling = "disabling"
	stateDeviated  = "deviated"
)

// serviceState compares a service with what the agents report, and names each resource that
// is not where it should be.
func (c *Control) serviceState(m *model, s *service) (string, []spec.Deviation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.record.Enabled {
		if c.reportedLocked(s.record.ID) {
			return stateDisabling, nil
		}
		return stateDisabled, nil
	}
	found := s.ownDeviations()
	enabling := false
	silent := map[string]bool{}
	connections := map[string]string{}       // how they stand, by id
	for _, r := range m.bound[s.record.ID] { // a connection comes before its endpoints
		d, state := c.deviationLocked(s, s.agents[r.ID], r, silent)
		if r.Type == "Connection" {
			connections[r.ID] = state
		}
		if r.Type == "Endpoint" && d != nil {
			d, state = folded(d, state, connections[s.connectionOf(r.ID)])
		}
		if d != nil {
			found = append(found, *d)
		}
		enabling = enabling || state == stateEnabling
	}
	switch {
	case len(found) > 0:
		return stateDeviated, found
	case enabling:
		return stateEnabling, nil
	}
	return stateEnabled, nil
}

// folded puts an endpoint's deviation under its connection's: what a machine that is off
// does to its endpoints is told once, and one that waits for a connection's first opening
// does not deviate.
func folded(d *spec.Deviation, state, connection string) (*spec.Deviation, string) {
	switch {
	case connection == stateDeviated:
		return nil, stateDeviated
	case connection == stateEnabling && d.State == spec.StatePending:
		return nil, stateEnabling
	}
	return d, state
}

// connectionOf is the id of the connection, in the same service, that an endpoint runs on.
func (s *service) connectionOf(endpoint string) string {
	id, _ := s.byID[endpoint].Properties["connection"].(string)
	return id
}

// reportedLocked tells whether an agent that is there still runs something of the service.
func (c *Control) reportedLocked(id string) bool {
	now := time.Now()
	for _, a := range c.agents {
		if !a.online(now) {
			continue
		}
		for _, status := range a.statuses {
			if status.Service == id {
				return true
			}
		}
	}
	return false
}

// deviationLocked says where one resource stands. An agent that is away is told once.
func (c *Control) deviationLocked(s *service, name string, r spec.Resource, silent map[string]bool) (*spec.Deviation, string) {
	a, known := c.agents[name]
	if !known {
		return nil, stateEnabling
	}
	if !a.online(time.Now()) {
		if silent[name] {
			return nil, stateDeviated
		}
		silent[name] = true
		return &spec.Deviation{Address: "agent/" + name, State: "offline", Error: "the mapper is silent", Since: a.seenAt.UTC()}, stateDeviated
	}
	status, ok := a.statuses[r.Key()]
	if !ok || a.revision < s.record.Revision {
		return nil, stateEnabling
	}
	switch {
	case status.OnTarget:
		return nil, stateEnabled
	case underWay(status, time.Now()):
		return nil, stateEnabling
	}
	return &spec.Deviation{
		Address: r.Address(), State: status.State, Error: cmp.Or(status.Error, status.LastError), Since: status.Since,
	}, stateDeviated
}

// patience is how long a resource may be on its way to its target before that is a deviation.
const patience = 30 * time.Second

// underWay reports whether a state is a step on the way to the target, which nothing has
// failed on yet. Why an endpoint or mapping is pending is no failure.
func underWay(s spec.ResourceStatus, now time.Time) bool {
	if !s.Since.IsZero() && now.Sub(s.Since) > patience {
		return false
	}
	switch s.State {
	case spec.StatePending:
		return true
	case string(spec.StateConnecting), string(spec.StateDisconnected), string(spec.StateDisconnecting):
		return s.Error == ""
	}
	return false
}

// ownDeviations are those that no agent knows of: what this build cannot read or run.
func (s *service) ownDeviations() []spec.Deviation {
	var found []spec.Deviation
	for _, d := range s.errors {
		found = append(found, spec.Deviation{Address: plan.ServiceAddress(s.record.ID), State: "invalid", Error: d.String()})
	}
	for _, r := range s.canonical.Resources {
		if r.Unsupported != "" {
			found = append(found, spec.Deviation{
				Address: spec.ResourceAddress(s.record.ID, r.Type, r.ID), State: spec.StateUnknown, Error: r.Unsupported,
			})
		}
	}
	return found
}

// noteStates tells the stream of events which services changed their state.
func (c *Control) noteStates() {
	m := c.model.Load()
	for _, id := range slices.Sorted(maps.Keys(m.services)) {
		state, deviations := c.serviceState(m, m.services[id])
		c.noteState(id, state, deviations)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.states, func(id string, _ string) bool { _, ok := m.services[id]; return !ok })
}

func (c *Control) noteState(id, state string, deviations []spec.Deviation) {
	c.mu.Lock()
	changed := c.states[id] != state
	c.states[id] = state
	c.mu.Unlock()
	if !changed {
		return
	}
	c.opts.Log.Info("a service changed its state", "service", id, "state", state, "deviations", len(deviations))
	c.addEvent(Event{Kind: EventState, Service: id, State: state, Deviations: deviations})
}

// waitTakenOver waits until the broker and every mapper that is there have what the last
// changes mean to them. The error says who did not.
func (c *Control) waitTakenOver(ctx context.Context) error {
	for {
		reported, policy := c.reported.wait(), c.identities.changed.wait()
		behind, away := c.behind()
		if len(behind) == 0 {
			if len(away) > 0 {
				return fmt.Errorf("agent %s is offline, and takes the change over when it is back", strings.Join(away, ", "))
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not take the change over in time", strings.Join(behind, ", "))
		case <-reported:
		case <-policy:
		}
	}
}

// behind names the parts that are there and have not taken over the last change that
// concerns them, and the agents that are not there.
func (c *Control) behind() (behind, away []string) {
	if !c.identities.takenOver() {
		behind = append(behind, "the broker")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(c.resources)) {
		h := c.resources[name]
		a, known := c.agents[name]
		switch {
		case known && a.revision >= h.lastChange():
		case h.watched() || known && a.online(now):
			behind = append(behind, "agent "+name)
		case h.size() > 0:
			away = append(away, name)
		}
	}
	return behind, away
}

// waitReached waits for the target states of the services that the request names.
func (c *Control) waitReached(ctx context.Context, wait plan.WaitFor, services []string) error {
	if wait != plan.WaitConnected && wait != plan.WaitData {
		return nil
	}
	for {
		reported := c.reported.wait()
		missing := c.missing(wait, services)
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return spec.Errorf(spec.Unavailable, "everything is stored, but not all is %s in time: %s", map[plan.WaitFor]string{
				plan.WaitConnected: "connected", plan.WaitData: "delivering",
			}[wait], missing).WithHint("the runtime goes on trying; see `millwright get services`")
		case <-reported:
		}
	}
}

// missing describes the first resource that is not where the request waits for it to be.
func (c *Control) missing(wait plan.WaitFor, services []string) string {
	m := c.model.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range services {
		for _, r := range m.bound[id] {
			agents := m.services[id].agents
			var status spec.ResourceStatus
			if a, ok := c.agents[agents[r.ID]]; ok {
				status = a.statuses[r.Key()]
			}
			if wants(wait, r) && !reached(wait, r, status) {
				return strings.TrimRight(fmt.Sprintf("%s is %s: %s", r.Address(), cmp.Or(status.State, spec.StatePending), cmp.Or(status.Error, status.LastError)), ": ")
			}
		}
	}
	return ""
}

// wants reports whether the wait concerns the resource at all.
func wants(wait plan.WaitFor, r spec.Resource) bool {
	switch r.Type {
	case "Connection":
		v, err := commissioning.Decode[commissioning.Connection](r.Properties)
		return err == nil && v.TargetState != string(spec.StateDisconnected)
	case "Endpoint":
		v, err := commissioning.Decode[commissioning.Endpoint](r.Properties)
		return err == nil && wait == plan.WaitData && v.Subscribe != nil && v.TargetState != spec.StateDisabled
	}
	return false
}

func reached(wait plan.WaitFor, r spec.Resource, s spec.ResourceStatus) bool {
	if r.Type == "Connection" {
		return s.State == string(spec.StateConnected)
	}
	return wait != plan.WaitData || !s.LastValueAt.IsZero()
}
