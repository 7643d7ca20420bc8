package control

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// emptyOptions are those of the instances of these tests, without a store.
func emptyOptions() Options {
	return Options{
		Log: slog.New(slog.DiscardHandler), Verifier: credential.NewVerifier(),
		MqttAddress: func() (string, int) { return "broker", 1883 },
		Supports:    func(protocol string) bool { return protocol != "S7" },
	}
}

// The plan against an instance that is not there yet is the one that it will make itself.
func TestPlanEmpty(t *testing.T) {
	password := "line one's own"
	req := install("press", press)
	req.Owner, req.Prune = "stack:plant-a", true
	req.Roles = []spec.Role{{Name: "operators", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}}
	req.Users = []spec.User{{Username: "line1", Password: &password, Roles: []string{"operators"}}}
	offline, err := PlanEmpty(t.Context(), emptyOptions(), req)
	if err != nil {
		t.Fatal(err)
	}
	i := start(t)
	online := i.planOf(req)
	if offline.Digest != online.Digest || len(offline.Steps) < 5 || offline.String() != online.String() {
		t.Errorf("without an instance:\n%s\nwith one:\n%s", offline, online)
	}
	if strings.Contains(offline.String(), password) {
		t.Error("the plan shows the password")
	}
	i.apply(req)
}

func TestPlanEmptyRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		req  plan.Request
		kind spec.Kind
	}{
		{"a service that is not there", plan.Request{Services: []spec.Service{{ID: "press", State: spec.Disabled}}}, spec.NotFound},
		{"a role that is not there", plan.Request{Users: []spec.User{{Username: "u", Roles: []string{"none"}}}}, spec.Invalid},
		{"the last admin", plan.Request{Adopt: true, Users: []spec.User{{Username: "admin", State: spec.Absent}}}, spec.Conflict},
		{"a broken file", install("press", "resources: 7\n"), spec.Invalid},
	} {
		if p, err := PlanEmpty(t.Context(), emptyOptions(), c.req); spec.KindOf(err) != c.kind {
			t.Errorf("%s: got %v, %v", c.name, p, err)
		}
	}
	adopted := "another password"
	p, err := PlanEmpty(t.Context(), emptyOptions(), plan.Request{Adopt: true, Owner: "stack:a", Users: []spec.User{{Username: "admin", Password: &adopted}}})
	if err != nil || len(p.Steps) != 1 || p.Steps[0].Symbol != plan.Update {
		t.Errorf("the first admin is there: got %v, %v", p, err)
	}
	if _, err := PlanEmpty(t.Context(), Options{}, plan.Request{}); spec.KindOf(err) != spec.Internal {
		t.Errorf("got %v", err)
	}
}
