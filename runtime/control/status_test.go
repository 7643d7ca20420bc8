package control

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func running(r spec.Resource) spec.ResourceStatus {
	s := spec.ResourceStatus{State: spec.StateEnabled, OnTarget: true, Since: time.Now(), LastValueAt: time.Now()}
	if r.Type == "Connection" {
		s.State, s.LastValueAt = string(spec.StateConnected), time.Time{}
	}
	return s
}

// unreachable is a machine that is switched off.
func unreachable(r spec.Resource) spec.ResourceStatus {
	if r.Type == "Connection" {
		return spec.ResourceStatus{State: string(spec.StateConnectFailed), Error: "connection refused"}
	}
	return spec.ResourceStatus{State: spec.StateFailed, Error: "connection \"plc\" is connectFailed: connection refused"}
}

func (i *instance) service(id string) spec.ServiceView {
	i.Helper()
	return decodeAs[spec.ServiceView](i.do(http.MethodGet, "/api/v1/services/"+id, i.token, nil))
}

func TestServiceStates(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	if v := i.service("press"); v.State != stateEnabling {
		t.Errorf("without a mapper the service is %s", v.State)
	}
	stop := i.mapperOf(spec.DefaultAgent, unreachable)
	req := install("press", strings.Replace(press, "interval: 500", "interval: 250", 1))
	p := i.apply(req)
	if !p.Applied || len(p.Deviations) != 1 || p.Deviations[0].Error != "connection refused" || p.Deviations[0].Address != "service/press/connection/plc" {
		t.Errorf("a machine that is off gives %+v", p)
	}
	if v := i.service("press"); v.State != stateDeviated || len(v.Deviations) != 1 {
		t.Errorf("the service is %+v", v)
	}
	again := i.planOf(req)
	if !again.Empty() || len(again.Deviations) != 1 || !strings.Contains(again.String(), "deviated: service/press/connection/plc is connectFailed: connection refused\nNo changes.") {
		t.Errorf("a deviation makes the plan\n%s", again)
	}
	stop()
	stop = i.mapperOf(spec.DefaultAgent, running)
	defer stop()
	if p := i.apply(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Restarted}}, Wait: plan.WaitData}); len(p.Deviations) != 0 || len(p.Diagnostics) != 0 {
		t.Errorf("what runs gives %+v", p)
	}
	if v := i.service("press"); v.State != stateEnabled || v.Resources != 3 {
		t.Errorf("the service is %+v", v)
	}
	list := decodeAs[spec.Page[spec.ResourceStatus]](i.do(http.MethodGet, "/api/v1/services/press/resources", i.token, nil))
	if len(list.Items) != 3 || list.Items[0].State != string(spec.StateConnected) {
		t.Errorf("the resources are %+v", list.Items)
	}
	endpoints := decodeAs[spec.Page[spec.ResourceStatus]](i.do(http.MethodGet, "/api/v1/endpoints", i.token, nil))
	if len(endpoints.Items) != 2 {
		t.Errorf("the endpoints are %+v", endpoints.Items)
	}
	i.do(http.MethodGet, "/api/v1/connections/press::plc", i.token, nil).want(http.StatusOK)
	i.do(http.MethodGet, "/api/v1/connections/press::temp", i.token, nil).problem(spec.NotFound)
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Disabled}}})
	if v := i.service("press"); v.State != stateDisabled {
		t.Errorf("the service is %s", v.State)
	}
}

// opening is a machine whose first connection is being made.
func opening(since time.Time) func(spec.Resource) spec.ResourceStatus {
	return func(r spec.Resource) spec.ResourceStatus {
		if r.Type == "Connection" {
			return spec.ResourceStatus{State: string(spec.StateConnecting), Since: since}
		}
		return spec.ResourceStatus{State: spec.StatePending, Error: `connection "plc" is connecting`, Since: since}
	}
}

// After an install or a restart a service whose connections are being opened for the first
// time is enabling; what waits too long or has failed deviates, once for each connection.
func TestServiceIsEnablingWhileItConnects(t *testing.T) {
	for name, c := range map[string]struct {
		status     func(spec.Resource) spec.ResourceStatus
		state      string
		deviations []string
	}{
		"at once":  {opening(time.Now()), stateEnabling, nil},
		"too long": {opening(time.Now().Add(-time.Hour)), stateDeviated, []string{"service/press/connection/plc"}},
		"again": {func(r spec.Resource) spec.ResourceStatus {
			if r.Type == "Connection" {
				return spec.ResourceStatus{State: string(spec.StateReconnecting), Error: "refused", Since: time.Now()}
			}
			return opening(time.Now())(r)
		}, stateDeviated, []string{"service/press/connection/plc"}},
		"long pending on a connection that waits": {func(r spec.Resource) spec.ResourceStatus {
			if r.Type == "Connection" {
				return opening(time.Now())(r)
			}
			return opening(time.Now().Add(-time.Hour))(r)
		}, stateEnabling, nil},
		"failed on a connection that waits": {func(r spec.Resource) spec.ResourceStatus {
			if r.ID == "temp" {
				return spec.ResourceStatus{State: spec.StateFailed, Error: "no such address"}
			}
			return opening(time.Now())(r)
		}, stateDeviated, []string{"service/press/endpoint/temp"}},
		"pending on what is connected": {func(r spec.Resource) spec.ResourceStatus {
			if r.Type == "Connection" {
				return running(r)
			}
			return opening(time.Now())(r)
		}, stateEnabling, nil},
	} {
		t.Run(name, func(t *testing.T) {
			i := start(t)
			defer i.mapperOf(spec.DefaultAgent, c.status)()
			p := i.apply(install("press", press))
			v := i.service("press")
			var addresses []string
			for _, d := range p.Deviations {
				addresses = append(addresses, d.Address)
			}
			if v.State != c.state || !slices.Equal(addresses, c.deviations) || len(v.Deviations) != len(c.deviations) {
				t.Errorf("the service is %s with %v, the answer has %v", v.State, v.Deviations, p.Deviations)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	i := start(t)
	stop := i.mapperOf(spec.DefaultAgent, unreachable)
	defer stop()
	req := install("press", press)
	req.Confirm, req.Wait, req.Timeout = "any", plan.WaitConnected, "50ms"
	p := i.do(http.MethodPost, "/api/v1/apply", i.token, req).problem(spec.Unavailable)
	if p.Type != typeNotReached || p.Plan == nil || !p.Plan.Applied || !strings.Contains(p.Detail, "connection refused") {
		t.Errorf("the problem is %+v", p)
	}
	if i.service("press").Revision == 0 {
		t.Error("nothing is stored")
	}
}

// A mapper that is there and does not take over is a warning, since all is stored.
func TestMapperThatHangs(t *testing.T) {
	i := start(t)
	if err := i.control.Report(t.Context(), spec.AgentStatus{Agent: spec.DefaultAgent, Full: true}); err != nil {
		t.Fatal(err)
	}
	req := install("press", press)
	req.Timeout = "50ms"
	p := i.apply(req)
	if !p.Applied || len(p.Diagnostics) != 1 || p.Diagnostics[0].Code != "not-taken-over" {
		t.Errorf("the answer is %+v", p)
	}
}

func TestReports(t *testing.T) {
	i := start(t)
	ctx := t.Context()
	report := func(r spec.AgentStatus) error { return i.control.Report(ctx, r) }
	status := func(id string) spec.ResourceStatus {
		return spec.ResourceStatus{Service: "s", ID: id, Type: "Endpoint"}
	}
	if err := report(spec.AgentStatus{}); spec.KindOf(err) != spec.Invalid {
		t.Errorf("a nameless report: %v", err)
	}
	if err := report(spec.AgentStatus{Agent: "a", Put: []spec.ResourceStatus{status("x")}}); spec.KindOf(err) != spec.Conflict {
		t.Errorf("changes before everything: %v", err)
	}
	for _, r := range []spec.AgentStatus{
		{Agent: "a", Full: true, Put: []spec.ResourceStatus{status("x"), status("y")}},
		{Agent: "a", Put: []spec.ResourceStatus{status("z")}, Removed: []string{"s::x"}, Revision: 7},
	} {
		if err := report(r); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, s := range i.control.statuses("Endpoint") {
		ids = append(ids, s.ID)
	}
	if !slices.Equal(ids, []string{"y", "z"}) {
		t.Errorf("reported are %v", ids)
	}
	agents := decodeAs[spec.Page[spec.AgentView]](i.do(http.MethodGet, "/api/v1/agents", i.token, nil))
	if len(agents.Items) != 1 || !agents.Items[0].Online || agents.Items[0].Revision != 7 {
		t.Errorf("the agents are %+v", agents.Items)
	}
	i.do(http.MethodDelete, "/api/v1/agents/a", i.token, nil).problem(spec.Conflict)
	i.control.mu.Lock()
	i.control.agents["a"].seenAt = time.Now().Add(-offlineAfter)
	i.control.mu.Unlock()
	if v := decodeAs[spec.AgentView](i.do(http.MethodGet, "/api/v1/agents/a", i.token, nil)); v.Online {
		t.Error("a silent agent is online")
	}
	i.do(http.MethodDelete, "/api/v1/agents/a", i.token, nil).want(http.StatusNoContent)
	i.do(http.MethodDelete, "/api/v1/agents/a", i.token, nil).problem(spec.NotFound)
}

func TestSilentMapperIsADeviation(t *testing.T) {
	i := start(t)
	stop := i.mapperOf(spec.DefaultAgent, running)
	i.apply(install("press", press))
	stop()
	i.control.mu.Lock()
	i.control.agents[spec.DefaultAgent].seenAt = time.Now().Add(-offlineAfter)
	i.control.mu.Unlock()
	v := i.service("press")
	if v.State != stateDeviated || len(v.Deviations) != 1 || v.Deviations[0].Address != "agent/"+spec.DefaultAgent {
		t.Errorf("the service is %+v", v)
	}
	p := i.apply(install("press", strings.Replace(press, "interval: 500", "interval: 250", 1)))
	if len(p.Diagnostics) != 1 || !strings.Contains(p.Diagnostics[0].Message, "offline") {
		t.Errorf("the answer is %+v", p)
	}
}
