package control

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// The broker in this process is asked.
func TestClients(t *testing.T) {
	i := start(t, func(o *Options) {
		o.Broker = func() spec.BrokerFigures { return spec.BrokerFigures{Clients: 2} }
		o.Clients = func() []spec.ClientView {
			return []spec.ClientView{{Identity: "line1", Client: "b", Dropped: 3}, {Identity: "line1", Client: "a", Connected: true}}
		}
	})
	page := decodeAs[spec.Page[spec.ClientView]](i.do(http.MethodGet, "/api/v1/clients", i.token, nil))
	if len(page.Items) != 2 || page.Items[0].Client != "a" || page.Items[1].Dropped != 3 {
		t.Errorf("the clients are %+v", page)
	}
	some := decodeAs[spec.Page[spec.ClientView]](i.do(http.MethodGet, "/api/v1/clients?filter=line1/b&limit=1", i.token, nil))
	if len(some.Items) != 1 || some.Items[0].Client != "b" {
		t.Errorf("the filter leaves %+v", some)
	}
	i.do(http.MethodGet, "/api/v1/clients", i.with("nobody"), nil).problem(spec.Forbidden)
	if f := i.control.Figures(); f.Broker == nil || f.Broker.Clients != 2 {
		t.Errorf("the figures are %+v", f)
	}
}

// A broker in another process reports; what it said is of no use once it is silent.
func TestFiguresOfOtherProcesses(t *testing.T) {
	i := start(t)
	c := i.control
	i.do(http.MethodGet, "/api/v1/clients", i.token, nil).problem(spec.Unavailable)
	if f := c.Figures(); f.Broker != nil || len(f.Agents) != 0 {
		t.Errorf("before any report: %+v", f)
	}
	many := make([]spec.ClientView, spec.MaxReportedClients+1)
	for n := range many {
		many[n] = spec.ClientView{Identity: "line1", Client: strings.Repeat("x", n)}
	}
	c.takeBroker(spec.AgentStatus{Agent: spec.BrokerPart, Revision: 7, Full: true})
	c.takeBroker(spec.AgentStatus{Agent: spec.BrokerPart, Broker: &spec.BrokerFigures{MessagesDropped: 9}, Clients: many})
	if f := c.Figures(); f.Broker == nil || f.Broker.MessagesDropped != 9 || c.policy != 7 {
		t.Errorf("the figures are %+v, the policy %d", f.Broker, c.policy)
	}
	if page := decodeAs[spec.Page[spec.ClientView]](i.do(http.MethodGet, "/api/v1/clients?limit=1000", i.token, nil)); len(page.Items) != spec.MaxReportedClients {
		t.Errorf("%d clients", len(page.Items))
	}
	status := spec.ResourceStatus{Service: "press", ID: "temp", Type: "Endpoint"}
	for _, name := range []string{"a", "b"} { // it has just moved from one to the other
		if err := c.Report(t.Context(), spec.AgentStatus{Agent: name, Full: true, Put: []spec.ResourceStatus{status}, Abandoned: 2, Bus: &spec.BusFigures{Dropped: 5}}); err != nil {
			t.Fatal(err)
		}
	}
	f := c.Figures()
	if len(f.Resources) != 1 || len(f.Agents) != 2 || !f.Agents[0].Online || f.Agents[0].Abandoned != 2 || f.Agents[0].Bus.Dropped != 5 {
		t.Errorf("the figures are %+v", f)
	}
	agent := decodeAs[spec.AgentView](i.do(http.MethodGet, "/api/v1/agents/a", i.token, nil))
	if agent.Bus == nil || agent.Bus.Dropped != 5 {
		t.Errorf("the agent is %+v", agent)
	}
	c.mu.Lock()
	c.broker.seenAt = time.Now().Add(-offlineAfter)
	for _, a := range c.agents {
		a.seenAt = c.broker.seenAt
	}
	c.mu.Unlock()
	if f := c.Figures(); f.Broker != nil || len(f.Resources) != 0 || f.Agents[0].Online {
		t.Errorf("of silent parts: %+v", f)
	}
	i.do(http.MethodGet, "/api/v1/clients", i.token, nil).problem(spec.Unavailable)
}
