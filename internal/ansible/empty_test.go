package ansible

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/gateway"
)

const pressFile = `
metadata: {name: Press}
parameters:
  host: {type: string, default: 127.0.0.1}
  password: {type: string, default: none-yet, format: password}
resources:
  plc: {type: Cybus::Connection, properties: {protocol: Modbus, connection: {host: !ref host, port: 502}}}
  temp: {type: Cybus::Endpoint, properties: {protocol: Modbus, connection: !ref plc, topic: temp, subscribe: {fc: 3, length: 1, address: 1, interval: 1000}}}
  up:
    type: Cybus::Mapping
    properties:
      mappings: [{subscribe: {endpoint: !ref temp}, publish: {topic: plant/temp}, rules: [{transform: {expression: "$ * 2"}}]}]
`

// What is planned here against an instance that is not there yet is what an instance of this
// build would answer.
func TestPlanEmpty(t *testing.T) {
	password := "a password"
	permissions := []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}
	press := spec.Service{ID: "press", Commissioning: pressFile, CommissioningFile: "press.yml"}
	with := func(change func(*spec.Service)) plan.Request {
		s := press
		change(&s)
		return plan.Request{Services: []spec.Service{s}}
	}
	user := func(u spec.User) plan.Request { return plan.Request{Users: []spec.User{u}} }
	for name, r := range map[string]plan.Request{
		"role":              {Roles: []spec.Role{{Name: "operators", Permissions: permissions}}},
		"no role":           {Roles: []spec.Role{{Name: "operators", State: spec.Absent}}},
		"admin's role":      {Roles: []spec.Role{{Name: spec.RoleAdmin, Permissions: permissions}}},
		"user":              user(spec.User{Username: "line1", Password: &password, Permissions: permissions}),
		"user with roles":   {Roles: []spec.Role{{Name: "operators"}}, Users: []spec.User{{Username: "line1", Roles: []string{"operators"}, Grants: []spec.Grant{spec.GrantToken}}}},
		"user who is admin": user(spec.User{Username: "second", Roles: []string{spec.RoleAdmin}}),
		"no user":           user(spec.User{Username: "line1", State: spec.Absent}),
		"admin":             user(spec.User{Username: "admin", Permissions: permissions}),
		"service":           with(func(*spec.Service) {}),
		"disabled":          with(func(s *spec.Service) { s.State = spec.Disabled }),
		"restarted":         with(func(s *spec.Service) { s.State = spec.Restarted }),
		"parameters":        with(func(s *spec.Service) { s.Parameters = map[string]any{"host": "10.0.0.7", "password": password} }),
		"no service":        with(func(s *spec.Service) { s.State = spec.Absent }),
		"no file":           with(func(s *spec.Service) { s.Commissioning, s.State = "", spec.Enabled }),
		"wrong parameter":   with(func(s *spec.Service) { s.Parameters = map[string]any{"hots": "x"} }),
		"wrong file":        with(func(s *spec.Service) { s.Commissioning = "resources: 7\n" }),
		"wrong expression":  with(func(s *spec.Service) { s.Commissioning = strings.Replace(pressFile, "$ * 2", "$ * (", 1) }),
		"wrong id":          with(func(s *spec.Service) { s.ID = "p/q" }),
		"other kinds": with(func(s *spec.Service) {
			s.Commissioning = "resources: {c: {type: Cybus::Container, properties: {image: x}}}\n"
		}),
	} {
		got, err := planEmpty(r)
		want, wanted := gateway.PlanEmpty(t.Context(), slog.New(slog.DiscardHandler), false, r)
		if spec.KindOf(err) != spec.KindOf(wanted) {
			t.Errorf("%s: %v, not %v", name, err, wanted)
		}
		if err == nil && got.String() != want.String() {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		if err == nil && strings.Contains(got.String(), password) {
			t.Errorf("%s: the password is shown", name)
		}
	}
}
