package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// serve starts a server whose routes are those of mux, and a client with the token "t".
func serve(t *testing.T, routes map[string]http.HandlerFunc) *Client {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return connect(t, Settings{URL: server.URL, Token: "t"})
}

func connect(t *testing.T, s Settings) *Client {
	t.Helper()
	c, err := New(s, "1.2.3", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

func TestRequest(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{
		"POST /api/v1/plan": func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer t" {
				t.Errorf("Authorization is %q", got)
			}
			if got := r.Header.Get("User-Agent"); got != "millwright/1.2.3" {
				t.Errorf("User-Agent is %q", got)
			}
			var request plan.Request
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Services[0].ID != "press" {
				t.Errorf("request is %+v, %v", request, err)
			}
			reply(t, header(w), `{"revision": 9, "digest": "d", "steps": [{"symbol": "+", "address": "service/press",
				"changes": [{"path": "n", "from": null, "to": 9007199254740993}], "disturbs": "none"}]}`)
		},
	})
	p, err := c.Plan(t.Context(), plan.Request{Services: []spec.Service{{ID: "press"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Steps[0].Changes[0].To); got != "9007199254740993" || p.Revision != 9 {
		t.Errorf("plan is %+v, number %s", p, got)
	}
}

func reply(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Error(err)
	}
}

func header(w http.ResponseWriter) http.ResponseWriter {
	w.Header().Set("Content-Type", "application/json")
	return w
}

func TestProblem(t *testing.T) {
	diagnostic := spec.Diagnostic{Position: spec.Position{File: "a.yml", Line: 3, Column: 4}, Severity: spec.SeverityError, Code: "x", Message: "m"}
	for name, test := range map[string]struct {
		status      int
		contentType string
		body        string
		kind        spec.Kind
		message     string
		hint        string
	}{
		"problem":    {422, "application/problem+json", `{"title":"t","status":422,"detail":"cannot read it","kind":"invalid","hint":"mend it","diagnostics":[{"file":"a.yml","line":3,"column":4,"end_line":0,"end_column":0,"severity":"error","code":"x","message":"m"}]}`, spec.Invalid, "cannot read it", "mend it"},
		"no kind":    {404, "application/problem+json", `{"title":"Not Found","status":404}`, spec.NotFound, "Not Found", ""},
		"logged out": {401, "application/problem+json", `{"title":"t","status":401,"detail":"who?","kind":"unauthorised"}`, spec.Unauthorised, "who?", "the token is wrong, expired or revoked: log in again with `millwright login`"},
		"foreign":    {500, "text/html", `<html>`, spec.Internal, "", "check the address: the answer is not of this API"},
		"broken":     {403, "application/problem+json", `{`, spec.Forbidden, "", "check the address: the answer is not of this API"},
		"proxy":      {502, "text/html", `<html>`, spec.Unavailable, "", "something in front of the instance answers for it: look whether the instance itself runs"},
		"redirect":   {302, "text/html", ``, spec.Invalid, "", "use that address itself"},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/users/x": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.WriteHeader(test.status)
				reply(t, w, test.body)
			}})
			_, err := c.Users().Get(t.Context(), "x")
			var e *spec.Error
			if !errors.As(err, &e) || e.Kind != test.kind || e.Hint != test.hint || (test.message != "" && e.Message != test.message) {
				t.Fatalf("error is %#v", err)
			}
			if name == "problem" && (len(e.Diagnostics) != 1 || e.Diagnostics[0] != diagnostic) {
				t.Errorf("diagnostics are %+v", e.Diagnostics)
			}
		})
	}
}

func TestForeignAnswer(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/users/x": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		reply(t, w, "<html>welcome</html>")
	}})
	if _, err := c.Users().Get(t.Context(), "x"); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("error is %v", err)
	}
}

func TestMovedPlan(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/apply": func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusConflict, problem{
			Problem: spec.Problem{Type: TypeMoved, Kind: spec.Conflict, Detail: "the state moved"},
			Plan:    &plan.Plan{Digest: "new"},
		})
	}})
	_, err := c.Apply(t.Context(), plan.Request{Digest: "old"})
	var moved *PlanError
	if !errors.As(err, &moved) || moved.Plan.Digest != "new" || moved.Type != TypeMoved || spec.KindOf(err) != spec.Conflict {
		t.Errorf("error is %#v", err)
	}
}

// What changes something is sent once; what does not is sent again while the server is busy.
func TestRepeats(t *testing.T) {
	var plans, applies atomic.Int32
	busy := func(n *atomic.Int32, until int32) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) < until {
				answer(w, http.StatusServiceUnavailable, spec.Problem{Kind: spec.Unavailable, Detail: "busy"})
				return
			}
			answer(w, http.StatusOK, plan.Plan{})
		}
	}
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/plan": busy(&plans, 3), "POST /api/v1/apply": busy(&applies, 3)})
	if _, err := c.Plan(t.Context(), plan.Request{}); err != nil || plans.Load() != 3 {
		t.Errorf("plan was sent %d times: %v", plans.Load(), err)
	}
	_, err := c.Apply(t.Context(), plan.Request{})
	if _, untouched := Untouched(err); spec.KindOf(err) != spec.Unavailable || applies.Load() != 1 || !untouched {
		t.Errorf("apply was sent %d times: %v", applies.Load(), err)
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, Settings{URL: "http://" + address})
	_, err = c.Plan(t.Context(), plan.Request{})
	var e *spec.Error
	if !errors.As(err, &e) || e.Kind != spec.Unavailable || !strings.Contains(e.Hint, "millwright up") {
		t.Errorf("error is %#v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Plan(ctx, plan.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error after cancel is %v", err)
	}
}

// A port that speaks something else is told so.
func TestWrongPort(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	_, plainAddress, _ := strings.Cut(plain.URL, "//")
	for name, test := range map[string]struct{ url, hint string }{
		"https to a plain port":     {"https://" + plainAddress, "try http://" + plainAddress},
		"http, and it hangs up":     {"http://" + foreignServer(t, ""), "MQTT broker"},
		"http, and it says else":    {"http://" + foreignServer(t, "\x20\x02\x00\x00\n"), "MQTT broker"},
		"https, and it hangs up":    {"https://" + foreignServer(t, ""), "MQTT broker"},
		"https, and it says else":   {"https://" + foreignServer(t, "\x20\x02\x00\x00\n"), "does not speak"},
		"https, and it speaks HTTP": {"https://" + foreignServer(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), "try http://"},
	} {
		_, err := connect(t, Settings{URL: test.url}).Apply(t.Context(), plan.Request{})
		var e *spec.Error
		if !errors.As(err, &e) || e.Kind != spec.Unavailable || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s: error is %v, hint %q", name, err, e.Hint)
		}
	}
}

// foreignServer reads a line of each connection, says something and hangs up.
func foreignServer(t *testing.T, says string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // ends the goroutine
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<16)) // a client that went away is no failure here
			_, _ = io.WriteString(conn, says)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// A context file that is named but not there is the reason for asking the wrong address.
func TestAbsentConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent")
	getenv := func(name string) string { return map[string]string{"MILLWRIGHT_CONFIG": path}[name] }
	s, _, err := Resolve(Given{}, getenv)
	if err != nil || s.absentConfig != path {
		t.Fatalf("settings %+v, %v", s, err)
	}
	s.URL = "https://" + foreignServer(t, "")
	var e *spec.Error
	if _, err := connect(t, s).Users().Get(t.Context(), "x"); !errors.As(err, &e) || !strings.Contains(e.Hint, path) {
		t.Errorf("error is %v", err)
	}
	if s, _, err := Resolve(Given{URL: "http://a"}, getenv); err != nil || s.absentConfig != "" {
		t.Errorf("settings %+v, %v", s, err)
	}
	if _, _, err := Resolve(Given{Context: "plant"}, getenv); !errors.As(err, &e) || !strings.Contains(e.Hint, "does not exist") {
		t.Errorf("error is %v", err)
	}
}

func TestAlive(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /healthz": func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token was sent")
		}
	}})
	if !c.Alive(t.Context()) {
		t.Error("it is not alive")
	}
	if serve(t, nil).Alive(t.Context()) || connect(t, Settings{URL: "http://" + foreignServer(t, "")}).Alive(t.Context()) {
		t.Error("something else is alive")
	}
}

func TestAuthority(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, spec.UserView{Username: "x"})
	}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	_, err := connect(t, Settings{URL: server.URL}).Users().Get(t.Context(), "x")
	var e *spec.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "--ca-path") {
		t.Errorf("error is %#v", err)
	}
	trusting := connect(t, Settings{URL: server.URL, CA: pemOf(server)})
	if _, err := trusting.Users().Get(t.Context(), "x"); err != nil {
		t.Error(err)
	}
}

func TestPasswordLogin(t *testing.T) {
	var logins atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/login" {
			logins.Add(1)
			answer(w, http.StatusOK, spec.LoginReply{Token: "fresh"})
			return
		}
		if r.Header.Get("Authorization") != "Bearer fresh" {
			answer(w, http.StatusUnauthorized, spec.Problem{Kind: spec.Unauthorised, Detail: "no"})
			return
		}
		answer(w, http.StatusOK, spec.UserView{Username: "x"})
	}))
	t.Cleanup(server.Close)
	c := connect(t, Settings{URL: server.URL, Username: "admin", Password: "secret"})
	for range 2 {
		if _, err := c.Users().Get(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if logins.Load() != 1 {
		t.Errorf("logged in %d times", logins.Load())
	}
}

func TestVersion(t *testing.T) {
	for server, refused := range map[string]bool{"1.9.0": false, "v1.0.0-rc.1": false, "2.0.0": true, "0.4.0": true, "": false, "(devel)": false} {
		c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/users/x": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(versionHeader, server)
			answer(w, http.StatusOK, spec.UserView{})
		}})
		_, err := c.Users().Get(t.Context(), "x")
		if (err != nil) != refused {
			t.Errorf("server %q: %v", server, err)
		}
		if refused && (!strings.Contains(err.Error(), server) || !strings.Contains(err.Error(), "1.2.3")) {
			t.Errorf("error %q does not name both versions", err)
		}
	}
}

func TestListPages(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/roles": func(w http.ResponseWriter, r *http.Request) {
		pages := map[string]spec.Page[spec.RoleView]{
			"":  {Items: []spec.RoleView{{Name: "a"}, {Name: "b"}}, Cursor: "2"},
			"2": {Items: []spec.RoleView{{Name: "c"}}},
		}
		answer(w, http.StatusOK, pages[r.URL.Query().Get("cursor")])
	}})
	var names []string
	for role, err := range c.Roles().All(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, role.Name)
	}
	if got := strings.Join(names, ""); got != "abc" {
		t.Errorf("roles are %q", got)
	}
}

func TestItemPath(t *testing.T) {
	var got string
	c := serve(t, map[string]http.HandlerFunc{"DELETE /api/v1/users/{id}": func(w http.ResponseWriter, r *http.Request) {
		got = r.PathValue("id")
		w.WriteHeader(http.StatusNoContent)
	}})
	if err := c.Users().Delete(t.Context(), "a/b c?d"); err != nil || got != "a/b c?d" {
		t.Errorf("deleted %q, %v", got, err)
	}
	for _, id := range []string{"", ".", ".."} {
		if err := c.Users().Delete(t.Context(), id); spec.KindOf(err) != spec.NotFound {
			t.Errorf("deleting %q: %v", id, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, s := range []Settings{{URL: "localhost"}, {URL: "ftp://x"}, {URL: "https://"}, {URL: "https://a:b@c"}, {URL: "https://x", CA: []byte("no pem")}} {
		if _, err := New(s, "", slog.New(slog.DiscardHandler)); spec.KindOf(err) != spec.Invalid {
			t.Errorf("New(%+v): %v", s, err)
		}
	}
}
