package control

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func grant(resource string, op spec.Operation) spec.Permission {
	return spec.Permission{Resource: resource, Operation: op, Context: spec.HTTP}
}

// with makes a user with the permissions and returns a token of theirs.
func (i *instance) with(username string, permissions ...spec.Permission) string {
	i.Helper()
	i.apply(plan.Request{Users: []spec.User{{Username: username, Password: ptr(username + "-secret"), Permissions: permissions}}})
	return i.tokenOf(username)
}

func TestEveryRouteNeedsPermission(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	nobody := i.with("nobody")
	reader := i.with("reader", grant("#", spec.Read))
	open := map[string]bool{"POST /api/v1/login": true}
	loggedIn := map[string]bool{ // the handler decides
		"POST /api/v1/plan": true, "POST /api/v1/apply": true, "POST /api/v1/logout": true, "GET /api/v1/messages": true,
		"POST /api/v1/tokens": true, "GET /api/v1/tokens": true, "GET /api/v1/tokens/{id}": true, "DELETE /api/v1/tokens/{id}": true,
	}
	routes := 0
	for route := range i.routes() {
		method, path, _ := strings.Cut(route, " ")
		path = strings.ReplaceAll(path, "{id}", "press")
		routes++
		if open[route] {
			continue
		}
		i.do(method, path, "", nil).problem(spec.Unauthorised)
		i.do(method, path, "mw_wrong", nil).problem(spec.Unauthorised)
		if loggedIn[route] {
			continue
		}
		i.do(method, path, nobody, nil).problem(spec.Forbidden)
		if method != http.MethodGet {
			i.do(method, path, reader, nil).problem(spec.Forbidden)
		}
	}
	if routes < 25 {
		t.Errorf("only %d routes were tried", routes)
	}
	for path, status := range map[string]int{"/api/v1/none": 404, "/": 404, "/api/v1": 404, "/api/v1/plan": 405, "/api/v1/services/a/b": 404} {
		if a := i.do(http.MethodGet, path, i.token, nil); a.status != status || a.header.Get("Content-Type") != problemType {
			t.Errorf("%s answers %d %s", path, a.status, a.body)
		}
	}
}

// routes are those that the description of the API lists.
func (i *instance) routes() map[string]bool {
	i.Helper()
	type description struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	routes := map[string]bool{}
	for path, methods := range decodeAs[description](openAPI(i)).Paths {
		for method := range methods {
			routes[strings.ToUpper(method)+" "+path] = true
		}
	}
	return routes
}

func openAPI(i *instance) answer {
	i.Helper()
	return i.do(http.MethodGet, "/api/v1/openapi.json", "", nil).want(http.StatusOK)
}

func TestPlanAndApplyNeedPermissionOnObjects(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	planner := i.with("planner", grant("/api/v1/services/press", spec.Read))
	installer := i.with("installer", grant("/api/v1/services/+", spec.ReadWrite))
	edited := install("press", strings.Replace(press, "interval: 500", "interval: 250", 1))
	post := func(route, token string, req plan.Request) answer {
		t.Helper()
		req.Confirm = "any"
		return i.do(http.MethodPost, "/api/v1/"+route, token, req)
	}
	if p := post("plan", planner, edited).plan(); p.Counts() != (plan.Counts{Update: 1}) {
		t.Errorf("the planner sees\n%s", p)
	}
	post("plan", planner, install("other", press)).problem(spec.Forbidden)
	post("apply", planner, edited).problem(spec.Forbidden)
	if p := post("apply", planner, install("press", press)).plan(); !p.Empty() {
		t.Errorf("applying nothing needs no permission, and gives\n%s", p)
	}
	post("apply", installer, edited).plan()
	post("plan", installer, plan.Request{Users: []spec.User{{Username: "x"}}}).problem(spec.Forbidden)
	post("plan", planner, plan.Request{Owner: "a", Prune: true}).plan()
}

func TestNobodyGrantsMoreThanTheyHave(t *testing.T) {
	i := start(t)
	some := grant("/api/v1/services/#", spec.ReadWrite)
	manager := i.with("manager", grant("/api/v1/users/#", spec.ReadWrite), grant("/api/v1/roles/#", spec.ReadWrite), some)
	i.apply(plan.Request{Roles: []spec.Role{{Name: "strong", Permissions: []spec.Permission{grant("#", spec.ReadWrite)}}}, Users: []spec.User{{Username: "boss", Roles: []string{"strong"}, Password: ptr("secret-1")}}})
	own := plan.Request{Users: []spec.User{{Username: "helper", Permissions: []spec.Permission{some}}}, Roles: []spec.Role{{Name: "weak", Permissions: []spec.Permission{some}}}, Confirm: "any"}
	i.do(http.MethodPost, "/api/v1/apply", manager, own).plan()
	for name, req := range map[string]plan.Request{
		"permission":        {Users: []spec.User{{Username: "helper", Permissions: []spec.Permission{grant("#", spec.Read)}}}},
		"topic":             {Users: []spec.User{{Username: "helper", Permissions: []spec.Permission{{Resource: "a", Operation: spec.Read, Context: spec.MQTT}}}}},
		"role":              {Users: []spec.User{{Username: "helper", Roles: []string{"admin"}}}},
		"new role":          {Roles: []spec.Role{{Name: "x", Permissions: []spec.Permission{grant("/api/v1/tokens", spec.Read)}}}},
		"stronger role":     {Roles: []spec.Role{{Name: "strong", Permissions: []spec.Permission{some}}}},
		"another password":  {Users: []spec.User{{Username: "boss", Password: ptr("mine-now")}}},
		"delete a boss":     {Users: []spec.User{{Username: "boss", State: spec.Absent}}},
		"service's account": install("shop", strings.Replace(accounts, "/api/v1/services/shop, operation: read", "'#', operation: readWrite", 1)),
		"defaultRole":       install("shop", accounts),
	} {
		t.Run(name, func(t *testing.T) {
			at := *i
			at.T = t
			req.Confirm = "any"
			before := i.control.Revision()
			if p := at.do(http.MethodPost, "/api/v1/apply", manager, req).problem(spec.Forbidden); !strings.Contains(p.Detail, "more than they have") || i.control.Revision() != before {
				t.Errorf("the problem is %+v", p)
			}
		})
	}
	plain := install("press", press)
	plain.Confirm = "any"
	i.do(http.MethodPost, "/api/v1/apply", manager, plain).plan()
}

// Planning must not tell whether a guess of a secret is right.
func TestPlanIsNoOracle(t *testing.T) {
	i := start(t)
	req := install("uplink", uplink)
	req.Services[0].Parameters = map[string]any{"token": "right-token"}
	req.Users = []spec.User{{Username: "line1", Password: ptr("right-password")}}
	i.apply(req)
	reader := i.with("reader", grant("#", spec.Read))
	answers := map[string]bool{}
	for _, guess := range []plan.Request{req, {
		Services: []spec.Service{{ID: "uplink", Commissioning: strings.Replace(uplink, "PASSWORD", "wrong", 1), CommissioningFile: "uplink.yml", Parameters: map[string]any{"token": "wrong-token"}}},
		Users:    []spec.User{{Username: "line1", Password: ptr("wrong-password")}},
	}} {
		answers[string(i.do(http.MethodPost, "/api/v1/plan", reader, guess).want(http.StatusOK).body)] = true
	}
	if len(answers) != 1 {
		t.Errorf("the answers tell right from wrong: %v", answers)
	}
	changed := req
	changed.Services = []spec.Service{{ID: "uplink", Commissioning: strings.Replace(uplink, "cloud.example", "new.example", 1), Parameters: map[string]any{"token": "right-token"}}}
	blind := i.do(http.MethodPost, "/api/v1/plan", reader, changed).plan()
	if !strings.Contains(blind.String(), "(sensitive, not compared)") || len(blind.Diagnostics) == 0 {
		t.Errorf("the blind plan is\n%s", blind)
	}
	if seen := i.planOf(changed); seen.Digest != blind.Digest {
		t.Errorf("the plan that was reviewed cannot be applied:\n%s\n%s", blind, seen)
	}
}

func TestSecretsInPlans(t *testing.T) {
	i := start(t)
	req := install("uplink", uplink)
	req.Services[0].Parameters = map[string]any{"token": "one-token"}
	req.Users = []spec.User{{Username: "line1", Password: ptr("one-password")}}
	i.apply(req)
	if p := i.planOf(req); !p.Empty() {
		t.Errorf("the same secrets change\n%s", p)
	}
	req.Services[0].Parameters["token"] = "two-token"
	req.Users[0].Password = ptr("two-password")
	body := i.do(http.MethodPost, "/api/v1/plan", i.token, req).want(http.StatusOK)
	if strings.Contains(string(body.body), "-token") || strings.Contains(string(body.body), "-password") {
		t.Errorf("the plan tells a secret: %s", body.body)
	}
	p := body.plan()
	if !strings.Contains(p.String(), "(sensitive, changed)") || p.MaxDisturbance() != plan.DisturbsConnection {
		t.Errorf("the plan is\n%s", p)
	}
	req.Users[0].UpdatePassword = spec.UpdateOnCreate
	req.Services = nil
	if p := i.planOf(req); !p.Empty() {
		t.Errorf("on_create changes\n%s", p)
	}
	v := i.do(http.MethodGet, "/api/v1/services/uplink", i.token, nil).want(http.StatusOK)
	if strings.Contains(string(v.body), "one-token") || strings.Contains(string(v.body), "PASSWORD") {
		t.Errorf("the service is shown as %s", v.body)
	}
}

func TestComparingIsLimited(t *testing.T) {
	i := start(t)
	i.apply(plan.Request{Users: []spec.User{{Username: "line1", Password: ptr("right-password")}}})
	i.control.probes = credential.NewLimiter(3, time.Hour)
	guess := func() answer {
		return i.do(http.MethodPost, "/api/v1/plan", i.token, plan.Request{Users: []spec.User{{Username: "line1", Password: ptr("a-guess")}}})
	}
	for range 3 {
		guess().want(http.StatusOK)
	}
	a := i.do(http.MethodPost, "/api/v1/plan", i.token, plan.Request{Users: []spec.User{{Username: "line1", Password: ptr("right-password")}}})
	a.problem(spec.Unavailable)
	a = guess()
	if a.problem(spec.Unavailable); a.header.Get("Retry-After") == "" {
		t.Error("the refusal does not say when to try again")
	}
}

func TestLogin(t *testing.T) {
	i := start(t)
	login := func(username, password string) answer {
		return i.do(http.MethodPost, "/api/v1/login", "", spec.LoginRequest{Username: username, Password: password})
	}
	reply := decodeAs[spec.LoginReply](login("admin", adminPassword))
	if left := time.Until(reply.ExpiresAt); left < 11*time.Hour || left > 13*time.Hour || !strings.HasPrefix(reply.Token, tokenPrefix) {
		t.Errorf("the reply is %+v", reply)
	}
	i.do(http.MethodGet, "/api/v1/users", reply.Token, nil).want(http.StatusOK)
	i.do(http.MethodPost, "/api/v1/logout", reply.Token, nil).want(http.StatusNoContent)
	i.do(http.MethodGet, "/api/v1/users", reply.Token, nil).problem(spec.Unauthorised)

	session := decodeAs[spec.LoginReply](login("admin", adminPassword)).Token
	i.apply(plan.Request{Users: []spec.User{{Username: "admin", Password: ptr("a new password")}}})
	i.do(http.MethodGet, "/api/v1/users", session, nil).problem(spec.Unauthorised)
	i.do(http.MethodGet, "/api/v1/users", i.token, nil).want(http.StatusOK)

	wrong := login("admin", "wrong").problem(spec.Unauthorised)
	unknown := login("nobody", "wrong").problem(spec.Unauthorised)
	if wrong.Detail != unknown.Detail {
		t.Errorf("a wrong password says %q, an unknown user %q", wrong.Detail, unknown.Detail)
	}
	i.control.opts.Logins = credential.NewLogins(i.control.opts.Verifier)
	for n := range 10 {
		login("admin", fmt.Sprint("wrong", n)).problem(spec.Unauthorised)
	}
	if a := login("admin", "another"); a.problem(spec.Unavailable).Detail == "" || a.header.Get("Retry-After") == "" {
		t.Error("the refusal does not say when to try again")
	}
	login("other", "wrong").problem(spec.Unauthorised)

	i.apply(plan.Request{Users: []spec.User{{Username: "robot", Password: ptr("secret-1"), Grants: []spec.Grant{spec.GrantToken}}}})
	login("robot", "secret-1").problem(spec.Unauthorised)
	if _, ok := i.control.identities.values["robot"]; ok {
		t.Error("who may not use a password is an identity of the broker")
	}
	i.do(http.MethodGet, "/api/v1/users/robot", i.tokenOf("robot"), nil).problem(spec.Forbidden)
	i.do(http.MethodPost, "/api/v1/login", "", strings.Repeat("x", maxSmallBody+1)).problem(spec.Invalid)
}

func TestTokens(t *testing.T) {
	i := start(t)
	worker := i.with("worker", grant("/api/v1/services/#", spec.ReadWrite), grant("/api/v1/users", spec.Read))
	create := func(token string, req spec.TokenRequest) answer {
		return i.do(http.MethodPost, "/api/v1/tokens", token, req)
	}
	narrow := mustCreate(t, create(worker, spec.TokenRequest{Name: "ci", Permissions: []spec.Permission{grant("/api/v1/services/#", spec.Read)}, TTL: "1h"}))
	i.do(http.MethodGet, "/api/v1/services", narrow.Token, nil).want(http.StatusOK)
	i.do(http.MethodGet, "/api/v1/users", narrow.Token, nil).problem(spec.Forbidden)
	i.do(http.MethodDelete, "/api/v1/services/x", narrow.Token, nil).problem(spec.Forbidden)

	child := mustCreate(t, create(narrow.Token, spec.TokenRequest{Name: "child"}))
	i.do(http.MethodGet, "/api/v1/users", child.Token, nil).problem(spec.Forbidden)
	create(narrow.Token, spec.TokenRequest{Name: "wider", Permissions: []spec.Permission{grant("/api/v1/users", spec.Read)}}).problem(spec.Forbidden)
	for _, bad := range []spec.TokenRequest{{}, {Name: "a", TTL: "soon"}, {Name: "a", TTL: "-1h"}, {Name: "a", Permissions: []spec.Permission{{Resource: "x"}}}} {
		create(worker, bad).problem(spec.Invalid)
	}

	tokens := decodeAs[spec.Page[spec.TokenView]](i.do(http.MethodGet, "/api/v1/tokens", worker, nil))
	if len(tokens.Items) != 3 {
		t.Errorf("the worker sees %+v", tokens.Items)
	}
	all := decodeAs[spec.Page[spec.TokenView]](i.do(http.MethodGet, "/api/v1/tokens", i.token, nil))
	if len(all.Items) != 4 {
		t.Errorf("the admin sees %+v", all.Items)
	}
	for _, v := range all.Items {
		if v.Username == "admin" {
			i.do(http.MethodDelete, "/api/v1/tokens/"+v.ID, worker, nil).problem(spec.NotFound)
		}
	}
	i.apply(plan.Request{Users: []spec.User{{Username: "worker", Permissions: []spec.Permission{}}}})
	i.do(http.MethodGet, "/api/v1/services", narrow.Token, nil).problem(spec.Forbidden)
	i.do(http.MethodDelete, "/api/v1/tokens/"+narrow.ID, worker, nil).want(http.StatusNoContent)
	i.do(http.MethodGet, "/api/v1/services", narrow.Token, nil).problem(spec.Unauthorised)
	i.apply(plan.Request{Users: []spec.User{{Username: "worker", State: spec.Absent}}})
	i.apply(plan.Request{Users: []spec.User{{Username: "worker", Roles: []string{"admin"}, Password: ptr("secret-2")}}})
	i.do(http.MethodGet, "/api/v1/services", worker, nil).problem(spec.Unauthorised)
}

func mustCreate(t *testing.T, a answer) spec.TokenSecret {
	t.Helper()
	a.status -= http.StatusCreated - http.StatusOK
	return decodeAs[spec.TokenSecret](a)
}

func TestTokensExpireAndAreExtended(t *testing.T) {
	i := start(t)
	ctx := t.Context()
	for name, test := range map[string]struct {
		expires time.Duration
		extend  time.Duration
		ok      bool
		left    time.Duration
	}{
		"valid":    {time.Hour, 0, true, time.Hour},
		"expired":  {-time.Second, 0, false, 0},
		"extended": {time.Hour, 90 * 24 * time.Hour, true, 90 * 24 * time.Hour},
		"too late": {-time.Second, 90 * 24 * time.Hour, false, 0},
	} {
		record, secret := newToken("admin", name, test.expires, time.Now())
		record.Extend = test.extend
		if err := i.control.store.touch(ctx, func(tx *transaction) error { return tx.putToken(record) }); err != nil {
			t.Fatal(err)
		}
		if got := i.control.TokenValid(ctx, secret); got != test.ok {
			t.Errorf("%s: valid is %v", name, got)
		}
		stored, _, err := i.control.store.tokenByID(ctx, record.ID)
		if left := time.Until(stored.ExpiresAt); err != nil || test.ok && (left < test.left-time.Minute || left > test.left+time.Minute || stored.UsedAt.IsZero()) {
			t.Errorf("%s: %v is left, %v", name, left, err)
		}
	}
	if err := i.control.store.touch(ctx, func(tx *transaction) error { return tx.deleteExpired(time.Now()) }); err != nil {
		t.Fatal(err)
	}
	left, err := i.control.store.tokens(ctx)
	if err != nil || len(left) != 3 {
		t.Errorf("%d tokens are left, %v", len(left), err)
	}
}

func TestClientVersions(t *testing.T) {
	i := start(t)
	for agent, refused := range map[string]bool{
		"millwright/1.9.9": false, "millwright/v1.0.0 (linux)": false, "millwright/2.0.0": true, "millwright/0.3.0": true,
		"millwright/0.0.0": false, "millwright/dev": false, "curl/8.0": false, "": false,
	} {
		err := i.control.checkClient(agent)
		if (err != nil) != refused || refused && (!strings.Contains(err.Error(), "1.2.3") || spec.KindOf(err) != spec.Conflict) {
			t.Errorf("%q: %v", agent, err)
		}
	}
}

func TestBootstrapOnce(t *testing.T) {
	i := start(t)
	if created, err := i.control.Bootstrap(t.Context(), "another password"); err != nil || created {
		t.Errorf("bootstrap again: %v %v", created, err)
	}
	c, err := openDir(t, t.TempDir(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Bootstrap(t.Context(), "1234"); spec.KindOf(err) != spec.Invalid {
		t.Errorf("a short password: %v", err)
	}
	if created, err := c.Bootstrap(t.Context(), adminPassword); err != nil || !created || !c.HasUsers() {
		t.Errorf("bootstrap: %v %v", created, err)
	}
	if _, err := c.login(t.Context(), "admin", adminPassword, "here"); err != nil {
		t.Error(err)
	}
	if _, err := c.IssueToken(t.Context(), "nobody", "x", time.Hour); spec.KindOf(err) != spec.NotFound {
		t.Errorf("a token for nobody: %v", err)
	}
}

// What somebody without a password sends is not kept: a log line of 60 kB each would fill
// the memory that the log's stream reaches back to.
func TestLoginWithoutName(t *testing.T) {
	logs := NewLogRing(slog.NewTextHandler(io.Discard, nil), 10)
	i := start(t, func(o *Options) { o.Log = slog.New(logs) })
	name := strings.Repeat("x", 60_000)
	i.do(http.MethodPost, "/api/v1/login", "", spec.LoginRequest{Username: name, Password: "wrong"}).problem(spec.Unauthorised)
	entries, _ := logs.lines.after(0)
	if len(entries) == 0 {
		t.Fatal("the refusal is not logged")
	}
	if text := fmt.Sprint(entries); len(text) > 4096 {
		t.Errorf("%d bytes are logged", len(text))
	}
}
