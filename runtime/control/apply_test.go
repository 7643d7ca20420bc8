package control

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// refused applies without a digest and expects a problem; nothing may have changed.
func (i *instance) refused(req plan.Request, kind spec.Kind, says string) Problem {
	i.Helper()
	before := i.control.Revision()
	if req.Digest == "" {
		req.Confirm = "any"
	}
	p := i.do(http.MethodPost, "/api/v1/apply", i.token, req).problem(kind)
	if !strings.Contains(p.Detail, says) {
		i.Errorf("the detail is %q, not about %q", p.Detail, says)
	}
	if after := i.control.Revision(); after != before {
		i.Errorf("the revision went from %d to %d", before, after)
	}
	return p
}

func TestStatesOfAService(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	state := func(s spec.State) plan.Request {
		return plan.Request{Services: []spec.Service{{ID: "press", State: s}}}
	}
	bound := func() []spec.Resource { return i.control.model.Load().bound["press"] }
	if p := i.apply(state(spec.Disabled)); len(bound()) != 0 || p.MaxDisturbance() != plan.DisturbsService {
		t.Errorf("disabling leaves %d resources, after\n%s", len(bound()), p)
	}
	if len(i.control.identities.values["service:press"].Credentials) != 0 {
		t.Error("a disabled service can log in")
	}
	if p := i.apply(state(spec.Present)); !p.Empty() {
		t.Errorf("present changes a disabled service:\n%s", p)
	}
	i.apply(state(spec.Enabled))
	before := bound()
	if p := i.apply(state(spec.Restarted)); p.Empty() {
		t.Error("a restart is no step")
	}
	for n, r := range bound() {
		if r.Generation == before[n].Generation || string(r.Properties) != string(before[n].Properties) {
			t.Errorf("a restart makes %+v of %+v", r, before[n])
		}
	}
	i.apply(state(spec.Absent))
	if p := i.apply(state(spec.Absent)); !p.Empty() || len(i.control.model.Load().services) != 0 {
		t.Errorf("deleting twice:\n%s", p)
	}
	i.refused(state(spec.Restarted), spec.NotFound, `"press"`)
}

func TestParametersAreKept(t *testing.T) {
	i := start(t)
	req := install("press", press)
	req.Services[0].Parameters = map[string]any{"host": "10.1.1.1"}
	i.apply(req)
	if p := i.planOf(install("press", press)); !p.Empty() {
		t.Errorf("parameters that are not given are dropped:\n%s", p)
	}
	req.Services[0].Parameters = map[string]any{}
	if p := i.planOf(req); p.MaxDisturbance() != plan.DisturbsConnection {
		t.Errorf("given parameters are not complete:\n%s", p)
	}
}

func TestWrongFileChangesNothing(t *testing.T) {
	i := start(t)
	wrong := strings.Replace(press, "!ref plc", "!ref plx", 1)
	req := plan.Request{
		Users: []spec.User{{Username: "line1", Password: ptr("secret-1")}},
		Services: []spec.Service{
			{ID: "press", Commissioning: wrong, CommissioningFile: "press.yml"},
			{ID: "other", Commissioning: "resources: [", CommissioningFile: "other.yml"},
		},
	}
	p := i.refused(req, spec.Invalid, "press")
	files := map[string]bool{}
	for _, d := range p.Diagnostics {
		if d.Severity == spec.SeverityError && d.Line > 0 {
			files[d.File] = true
		}
	}
	if len(files) != 2 {
		t.Errorf("the diagnostics are %v", p.Diagnostics)
	}
	i.do(http.MethodGet, "/api/v1/users/line1", i.token, nil).problem(spec.NotFound)
	if q := i.do(http.MethodPost, "/api/v1/plan", i.token, req).problem(spec.Invalid); len(q.Diagnostics) != len(p.Diagnostics) {
		t.Errorf("planning says %v", q.Diagnostics)
	}
}

func TestRefusals(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	board := "description: b\nmetadata: {name: board}\nresources:\n  app:\n    type: Cybus::Container\n    properties: {image: 'board:1'}\n"
	siemens := "description: s\nmetadata: {name: s}\nresources:\n  plc:\n    type: Cybus::Connection\n    properties:\n      protocol: S7\n      connection: {host: 10.0.0.1}\n"
	dangling := "description: d\nmetadata: {name: d}\nresources:\n  m:\n    type: Cybus::Mapping\n    properties:\n      mappings:\n        - subscribe: {topic: !ref press::absent}\n          publish: {topic: x}\n"
	edited := install("press", strings.Replace(press, "10.0.0.7", "10.0.0.8", 1))
	edited.MaxDisturbance = plan.DisturbsEndpoint
	if p := i.refused(edited, spec.Conflict, "connection"); p.Type != typeDisturbs || p.Plan == nil {
		t.Errorf("problem is %+v", p)
	}
	if p := i.do(http.MethodPost, "/api/v1/plan", i.token, edited).problem(spec.Conflict); p.Type != typeDisturbs {
		t.Errorf("planning says %+v", p)
	}
	for name, c := range map[string]struct {
		req  plan.Request
		kind spec.Kind
		says string
	}{
		"no service":       {plan.Request{Services: []spec.Service{{ID: "x"}}}, spec.Invalid, "no commissioning file"},
		"nothing":          {plan.Request{Services: []spec.Service{{}}}, spec.Invalid, "without an id"},
		"bad id":           {install("a b", press), spec.Invalid, `"a b"`},
		"twice":            {plan.Request{Roles: []spec.Role{{Name: "a"}, {Name: "a"}}}, spec.Invalid, "twice"},
		"bad user":         {plan.Request{Users: []spec.User{{Username: "a:b"}}}, spec.Invalid, `"a:b"`},
		"short password":   {plan.Request{Users: []spec.User{{Username: "a", Password: ptr("1234")}}}, spec.Invalid, "5"},
		"long password":    {plan.Request{Users: []spec.User{{Username: "a", Password: ptr(strings.Repeat("x", 2000))}}}, spec.Invalid, "1024"},
		"no role":          {plan.Request{Users: []spec.User{{Username: "a", Roles: []string{"none"}}}}, spec.Invalid, `"none"`},
		"bad owner":        {plan.Request{Owner: "a b"}, spec.Invalid, `"a b"`},
		"prune api":        {plan.Request{Prune: true}, spec.Invalid, "owner"},
		"bad disturbance":  {plan.Request{MaxDisturbance: "much"}, spec.Invalid, `"much"`},
		"bad wait":         {plan.Request{Wait: "long"}, spec.Invalid, `"long"`},
		"bad timeout":      {plan.Request{Timeout: "-1s"}, spec.Invalid, `"-1s"`},
		"admin role":       {plan.Request{Roles: []spec.Role{{Name: "admin", State: spec.Absent}}}, spec.Invalid, "built-in"},
		"last admin":       {plan.Request{Users: []spec.User{{Username: "admin", State: spec.Absent}}}, spec.Conflict, "nobody would be left"},
		"admin's role":     {plan.Request{Users: []spec.User{{Username: "admin", Roles: []string{}}}}, spec.Conflict, "nobody would be left"},
		"admin's grant":    {plan.Request{Users: []spec.User{{Username: "admin", Grants: []spec.Grant{spec.GrantToken}}}}, spec.Conflict, "nobody would be left"},
		"container":        {install("board", board), spec.Invalid, "container/app"},
		"protocol":         {install("s", siemens), spec.Invalid, "connection/plc"},
		"dangling":         {install("d", dangling), spec.Invalid, "reference"},
		"missing required": {install("uplink", uplink), spec.Invalid, "mistake"},
	} {
		t.Run(name, func(t *testing.T) {
			at := *i
			at.T = t
			at.refused(c.req, c.kind, c.says)
		})
	}
	unsupported := install("s", siemens)
	unsupported.AllowUnsupported = true
	i.apply(unsupported)
	v := decodeAs[spec.ServiceView](i.do(http.MethodGet, "/api/v1/services/s", i.token, nil))
	if v.State != "deviated" || len(v.Deviations) != 1 || len(i.control.model.Load().bound["s"]) != 0 {
		t.Errorf("a service that cannot run is %+v", v)
	}
	if p := i.planOf(install("s", siemens)); !p.Empty() {
		t.Errorf("what cannot run is planned again:\n%s", p)
	}
	if p := i.planOf(plan.Request{Roles: []spec.Role{{Name: "admin"}}}); !p.Empty() {
		t.Errorf("naming the built-in role changes\n%s", p)
	}
}

func TestMovedState(t *testing.T) {
	i := start(t)
	req := plan.Request{Roles: []spec.Role{{Name: "a", Permissions: []spec.Permission{{Resource: "x", Operation: spec.Read, Context: spec.MQTT}}}}}
	shown := i.planOf(req)
	other := plan.Request{Users: []spec.User{{Username: "u", Password: ptr("secret-1")}}}
	i.apply(other) // another revision, the same plan
	req.Digest = shown.Digest
	if p := i.do(http.MethodPost, "/api/v1/apply", i.token, req).plan(); !p.Applied {
		t.Fatalf("the same plan is refused: %+v", p)
	}
	problem := i.refused(req, spec.Conflict, "moved")
	if problem.Type != typeMoved || problem.Plan == nil || !problem.Plan.Empty() || problem.Plan.Digest == shown.Digest {
		t.Errorf("the problem is %+v", problem)
	}
	req.Digest, req.Confirm = "", ""
	i.do(http.MethodPost, "/api/v1/apply", i.token, req).problem(spec.Invalid)
}

func TestOwners(t *testing.T) {
	i := start(t)
	role := func(name string) spec.Role {
		return spec.Role{Name: name, Permissions: []spec.Permission{{Resource: name, Operation: spec.Read, Context: spec.MQTT}}}
	}
	stack := plan.Request{Owner: "plant-a", Roles: []spec.Role{role("a"), role("b")}, Services: []spec.Service{{ID: "press", Commissioning: press}}}
	i.apply(stack)
	i.apply(plan.Request{Roles: []spec.Role{role("mine")}})

	changed := role("a")
	changed.Permissions[0].Operation = spec.Write
	foreign := plan.Request{Roles: []spec.Role{changed}}
	p := i.refusedPlan(foreign)
	if !strings.Contains(p.Detail, "stack:plant-a") || !strings.Contains(p.Hint, "adopt") {
		t.Errorf("the problem is %+v", p)
	}
	if p := i.planOf(plan.Request{Roles: []spec.Role{role("a")}}); !p.Empty() {
		t.Errorf("naming another owner's object as it is changes\n%s", p)
	}
	i.refusedPlan(plan.Request{Roles: []spec.Role{{Name: "a", State: spec.Absent}}})

	stack.Prune = true
	if p := i.planOf(stack); !p.Empty() {
		t.Errorf("pruning what is all named changes\n%s", p)
	}
	stack.Roles, stack.Services = stack.Roles[:1], nil
	pruned := i.apply(stack)
	if pruned.Counts() != (plan.Counts{Delete: 5}) || !strings.Contains(pruned.String(), "no longer in stack plant-a") {
		t.Errorf("pruning gives\n%s", pruned)
	}
	roles := decodeAs[spec.Page[spec.RoleView]](i.do(http.MethodGet, "/api/v1/roles", i.token, nil))
	if len(roles.Items) != 3 || roles.Items[1].Name != "admin" || roles.Items[2].Name != "mine" {
		t.Errorf("the roles are %+v", roles.Items)
	}
	foreign.Adopt = true
	i.apply(foreign)
	if r := decodeAs[spec.RoleView](i.do(http.MethodGet, "/api/v1/roles/a", i.token, nil)); r.Owner != "api" {
		t.Errorf("the adopted role is %+v", r)
	}
}

func (i *instance) refusedPlan(req plan.Request) Problem {
	i.Helper()
	return i.do(http.MethodPost, "/api/v1/plan", i.token, req).problem(spec.Conflict)
}

const line = `description: A line that copies from the press
metadata: {name: line}
resources:
  copy:
    type: Cybus::Mapping
    properties:
      mappings:
        - subscribe: {topic: !ref press::temp}
          publish: {topic: plant/line/temp}
`

func TestReferencesBetweenServices(t *testing.T) {
	i := start(t)
	both := plan.Request{Services: []spec.Service{{ID: "line", Commissioning: line}, {ID: "press", Commissioning: press}}}
	if p := i.apply(both); !strings.HasPrefix(p.Steps[0].Address, "service/press") {
		t.Errorf("what is referred to comes later:\n%s", p)
	}
	gone := plan.Request{Services: []spec.Service{{ID: "press", State: spec.Absent}}}
	if p := i.refusedPlan(gone); !strings.Contains(p.Detail, `"line"`) {
		t.Errorf("the problem is %+v", p)
	}
	moved := strings.Replace(press, "interval: !ref INTERVAL}\n", "interval: !ref INTERVAL}\n      topic: heat\n", 1)
	p := i.apply(install("press", moved))
	if !slices.Contains(p.Steps[0].Stops, "plant/line/temp") {
		t.Errorf("the plan does not say that the other service stops:\n%s", p)
	}
	bound := fmt.Sprint(i.control.model.Load().bound["line"])
	text := string(i.control.model.Load().bound["line"][0].Properties)
	if !strings.Contains(text, "services/press/heat") {
		t.Errorf("the other service is bound to %s", bound)
	}
	if grants := i.control.identities.values["service:line"].Permissions; !spec.Allows(grants, spec.MQTT, spec.Read, "services/press/heat") {
		t.Errorf("the other service may %v", grants)
	}
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Absent}, {ID: "line", State: spec.Absent}}})
	if n := len(i.control.model.Load().services); n != 0 {
		t.Errorf("%d services are left", n)
	}
}

const accounts = `description: Accounts
metadata: {name: shop}
resources:
  operators:
    type: Cybus::Role
    properties:
      permissions:
        - {resource: !sub '${Cybus::MqttRoot}/#', operation: read, context: mqtt}
  defaultRole:
    type: Cybus::Role
    properties:
      permissions:
        - {resource: extra/#, operation: write, context: mqtt}
  line1:
    type: Cybus::User
    properties:
      password: shop-secret
      roles: [!ref operators]
      permissions:
        - {resource: /api/v1/services/shop, operation: read, context: http}
`

func TestAccountsOfAService(t *testing.T) {
	i := start(t)
	i.apply(install("shop", accounts))
	identities := i.control.identities.values
	if got := identities["line1"].Permissions; !spec.Allows(got, spec.MQTT, spec.Read, "services/shop/x") || len(got) != 1 {
		t.Errorf("the user may %v", got)
	}
	if got := identities["service:shop"].Permissions; !spec.Allows(got, spec.MQTT, spec.Write, "extra/x") {
		t.Errorf("the service may %v", got)
	}
	login := spec.LoginRequest{Username: "line1", Password: "shop-secret"}
	token := decodeAs[spec.LoginReply](i.do(http.MethodPost, "/api/v1/login", "", login)).Token
	v := i.do(http.MethodGet, "/api/v1/services/shop", token, nil)
	if view := decodeAs[spec.ServiceView](v); strings.Contains(string(v.body), "shop-secret") || !strings.Contains(view.Commissioning, "(sensitive)") {
		t.Errorf("the source is shown as %s", view.Commissioning)
	}
	i.do(http.MethodGet, "/api/v1/services", token, nil).problem(spec.Forbidden)
	if u := decodeAs[spec.UserView](i.do(http.MethodGet, "/api/v1/users/line1", i.token, nil)); u.Owner != "service:shop" || u.Roles[0] != "service:shop:operators" {
		t.Errorf("the user is %+v", u)
	}
	i.refusedPlan(plan.Request{Users: []spec.User{{Username: "line1", Roles: []string{}}}, Adopt: true})
	i.refusedPlan(install("shop2", strings.Replace(accounts, "name: shop", "name: shop2", 1)))
	i.apply(plan.Request{Services: []spec.Service{{ID: "shop", State: spec.Disabled}}})
	i.do(http.MethodGet, "/api/v1/services/shop", token, nil).problem(spec.Unauthorised)
	i.do(http.MethodPost, "/api/v1/login", "", login).problem(spec.Unauthorised)
	i.apply(plan.Request{Services: []spec.Service{{ID: "shop", State: spec.Absent}}})
	i.apply(plan.Request{Users: []spec.User{{Username: "line1", Password: ptr("other-secret")}}})
	i.do(http.MethodGet, "/api/v1/services/shop", token, nil).problem(spec.Unauthorised)
}

func TestOneObjectRoutes(t *testing.T) {
	i := start(t)
	i.do(http.MethodPut, "/api/v1/roles/a", i.token, `{"permissions": [{"resource": "a", "operation": "read", "context": "mqtt"}]}`).want(http.StatusOK)
	i.do(http.MethodPut, "/api/v1/users/u", i.token, `{"password": "secret-1", "roles": ["a"]}`).want(http.StatusOK)
	i.do(http.MethodPut, "/api/v1/services/press", i.token, spec.Service{Commissioning: press}).want(http.StatusOK)
	i.do(http.MethodPut, "/api/v1/services/press", i.token, spec.Service{ID: "other", Commissioning: press}).problem(spec.Invalid)
	i.do(http.MethodPut, "/api/v1/users/u", i.token, `{"pasword": "x"}`).problem(spec.Invalid)
	i.do(http.MethodPut, "/api/v1/users/u", i.token, `{} {}`).problem(spec.Invalid)
	for _, path := range []string{"/api/v1/services/press", "/api/services/press", "/api/v1/users/u", "/api/users/u", "/api/v1/roles/a"} {
		a := i.do(http.MethodGet, path, i.token, nil).want(http.StatusOK)
		if a.header.Get("ETag") == "" || a.header.Get(versionHeader) != "1.2.3" {
			t.Errorf("%s has headers %v", path, a.header)
		}
	}
	i.do(http.MethodDelete, "/api/v1/roles/a", i.token, nil).problem(spec.Conflict)
	for _, path := range []string{"/api/v1/services/press", "/api/v1/users/u", "/api/v1/roles/a"} {
		i.do(http.MethodDelete, path, i.token, nil).want(http.StatusNoContent)
		i.do(http.MethodDelete, path, i.token, nil).problem(spec.NotFound)
		i.do(http.MethodGet, path, i.token, nil).problem(spec.NotFound)
	}
}

func TestLists(t *testing.T) {
	i := start(t)
	var req plan.Request
	for n := range 25 {
		req.Roles = append(req.Roles, spec.Role{Name: fmt.Sprintf("role-%02d", n)})
	}
	i.apply(req)
	var names []string
	path := "/api/v1/roles?limit=10"
	for range 5 {
		page := decodeAs[spec.Page[spec.RoleView]](i.do(http.MethodGet, path, i.token, nil))
		for _, r := range page.Items {
			names = append(names, r.Name)
		}
		if page.Cursor == "" {
			break
		}
		path = "/api/v1/roles?limit=10&cursor=" + page.Cursor
	}
	if len(names) != 26 || !slices.IsSorted(names) {
		t.Errorf("the pages hold %v", names)
	}
	some := decodeAs[spec.Page[spec.RoleView]](i.do(http.MethodGet, "/api/v1/roles?filter=role-1", i.token, nil))
	if len(some.Items) != 10 {
		t.Errorf("the filter leaves %d", len(some.Items))
	}
	for _, query := range []string{"limit=0", "limit=x", "limit=100000", "cursor=%25"} {
		i.do(http.MethodGet, "/api/v1/roles?"+query, i.token, nil).problem(spec.Invalid)
	}
	for _, route := range []string{"services", "users", "agents", "tokens", "connections", "endpoints", "mappings"} {
		a := i.do(http.MethodGet, "/api/v1/"+route, i.token, nil).want(http.StatusOK)
		if !strings.HasPrefix(string(a.body), `{"items":[`) {
			t.Errorf("%s are %s", route, a.body)
		}
	}
}

func TestConcurrentApplies(t *testing.T) {
	i := start(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("r%d", n%4)
			req := plan.Request{Confirm: "any", Roles: []spec.Role{{Name: name, Permissions: []spec.Permission{{Resource: fmt.Sprint(n), Operation: spec.Read, Context: spec.MQTT}}}}}
			if p := i.do(http.MethodPost, "/api/v1/apply", i.token, req).plan(); !p.Applied {
				t.Errorf("apply %d: %+v", n, p)
			}
			i.do(http.MethodGet, "/api/v1/roles", i.token, nil).want(http.StatusOK)
		})
	}
	wg.Wait()
	before := i.control.model.Load()
	i.again()
	after := i.control.model.Load()
	if after.revision != before.revision || len(after.roles) != 4 {
		t.Errorf("the store has %d roles at revision %d, the memory had %d at %d", len(after.roles), after.revision, len(before.roles), before.revision)
	}
	for name, r := range before.roles {
		if fmt.Sprint(after.roles[name]) != fmt.Sprint(r) {
			t.Errorf("role %+v is stored as %+v", r, after.roles[name])
		}
	}
}

// A step that cannot be stored stops the apply; what came before it is done, and a new plan
// shows only the rest.
func TestFailureHalfWay(t *testing.T) {
	i := start(t)
	if _, err := i.control.store.db.ExecContext(t.Context(),
		"CREATE TRIGGER full BEFORE INSERT ON users WHEN NEW.name = 'u2' BEGIN SELECT RAISE(ABORT, 'disk is full'); END"); err != nil {
		t.Fatal(err)
	}
	req := plan.Request{Confirm: "any"}
	for _, name := range []string{"u1", "u2", "u3"} {
		req.Users = append(req.Users, spec.User{Username: name, Password: ptr("secret-1")})
	}
	p := i.do(http.MethodPost, "/api/v1/apply", i.token, req).problem(spec.Unavailable)
	var results []string
	for _, s := range p.Plan.Steps {
		results = append(results, s.Address+" "+string(s.Result))
	}
	if got := strings.Join(results, ", "); got != "user/u1 done, user/u2 failed, user/u3 skipped" || !strings.Contains(p.Detail, "disk is full") {
		t.Errorf("the results are %s: %s", got, p.Detail)
	}
	if rest := i.planOf(req); rest.Counts() != (plan.Counts{Create: 2}) {
		t.Errorf("the rest is\n%s", rest)
	}
}
