package control

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func TestNarrowedTokenManagesOnlyItself(t *testing.T) {
	i := start(t)
	worker := i.with("worker", grant("/api/v1/services/#", spec.ReadWrite))
	create := func(token, name string, permissions ...spec.Permission) spec.TokenSecret {
		t.Helper()
		return mustCreate(t, i.do(http.MethodPost, "/api/v1/tokens", token, spec.TokenRequest{Name: name, Permissions: permissions}))
	}
	seen := func(token string) int {
		t.Helper()
		return len(decodeAs[spec.Page[spec.TokenView]](i.do(http.MethodGet, "/api/v1/tokens", token, nil)).Items)
	}
	wide := create(worker, "wide")
	narrow := create(worker, "narrow", grant("/api/v1/services/#", spec.Read))
	if a, b := seen(worker), seen(narrow.Token); a != 3 || b != 1 {
		t.Errorf("the worker sees %d tokens, the narrow one %d", a, b)
	}
	i.do(http.MethodGet, "/api/v1/tokens/"+wide.ID, narrow.Token, nil).problem(spec.NotFound)
	i.do(http.MethodDelete, "/api/v1/tokens/"+wide.ID, narrow.Token, nil).problem(spec.NotFound)
	i.do(http.MethodDelete, "/api/v1/tokens/"+narrow.ID, narrow.Token, nil).want(http.StatusNoContent)
	i.do(http.MethodGet, "/api/v1/tokens", narrow.Token, nil).problem(spec.Unauthorised)
	keeper := create(i.token, "keeper", grant("/api/v1/tokens/#", spec.ReadWrite))
	i.do(http.MethodDelete, "/api/v1/tokens/"+wide.ID, keeper.Token, nil).want(http.StatusNoContent)
	i.do(http.MethodGet, "/api/v1/services", wide.Token, nil).problem(spec.Unauthorised)
}

func TestTokenDoesNotOutliveTheOneThatMadeIt(t *testing.T) {
	i := start(t)
	create := func(token string, ttl string) spec.TokenSecret {
		t.Helper()
		return mustCreate(t, i.do(http.MethodPost, "/api/v1/tokens", token, spec.TokenRequest{Name: "a", TTL: ttl}))
	}
	parent := create(i.token, "1h")
	for _, ttl := range []string{"", "2h", "10m"} {
		child := create(parent.Token, ttl)
		if child.ExpiresAt.After(parent.ExpiresAt) || ttl == "10m" && !child.ExpiresAt.Before(parent.ExpiresAt) {
			t.Errorf("a child for %q ends at %s, its parent at %s", ttl, child.ExpiresAt, parent.ExpiresAt)
		}
	}
	session := decodeAs[spec.LoginReply](i.do(http.MethodPost, "/api/v1/login", "", spec.LoginRequest{Username: "admin", Password: adminPassword}))
	if long := create(session.Token, "720h"); time.Until(long.ExpiresAt) < 719*time.Hour {
		t.Errorf("a token of a log-in ends at %s", long.ExpiresAt)
	}
}

// A refusal says whether the user or only the token lacks the permission.
func TestRefusalNamesTheToken(t *testing.T) {
	i := start(t, func(o *Options) { o.Messages = newSource() })
	narrow := mustCreate(t, i.do(http.MethodPost, "/api/v1/tokens", i.token, spec.TokenRequest{
		Name: "ci", Permissions: []spec.Permission{grant("/api/v1/services/#", spec.ReadWrite)},
	}))
	reader := i.with("reader")
	for path, token := range map[string]string{"/api/v1/users": narrow.Token, "/api/v1/messages?filter=a": narrow.Token, "/api/v1/roles": reader} {
		p := i.do(http.MethodGet, path, token, nil).problem(spec.Forbidden)
		named := strings.Contains(p.Detail, `token "ci" of user "admin"`) && !strings.Contains(p.Hint, "administrator")
		if named != (token == narrow.Token) {
			t.Errorf("%s: the problem is %+v", path, p)
		}
	}
	req := plan.Request{Services: install("mover", moves("topic: a", "services/mover/x")).Services, Confirm: "any"}
	if p := i.do(http.MethodPost, "/api/v1/apply", narrow.Token, req).problem(spec.Forbidden); !strings.Contains(p.Detail, `token "ci"`) {
		t.Errorf("the problem is %+v", p)
	}
	if p := i.do(http.MethodGet, "/api/v1/users", "", nil).problem(spec.Unauthorised); strings.Contains(p.Detail, "nobody") || !strings.Contains(p.Hint, "login") {
		t.Errorf("the problem is %+v", p)
	}
}

func TestAdminReadsSYS(t *testing.T) {
	i := start(t)
	if got := i.control.identities.values["admin"].Permissions; !spec.Allows(got, spec.MQTT, spec.Read, "$SYS/#") || spec.Allows(got, spec.MQTT, spec.Write, "$SYS/x") {
		t.Errorf("the admin may %v", got)
	}
}
