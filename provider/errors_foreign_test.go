package provider_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func answer(w http.ResponseWriter, status int, p spec.Problem) bool {
	p.Status = status
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		panic(err)
	}
	return true
}

// What keeps an instance from being used is told with its cause and what to do.
func TestForeignTerraformErrors(t *testing.T) {
	i := start(t)
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tls.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	other := i.front(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Millwright-Version", "7.0.0")
		return false
	})
	broken := i.front(func(w http.ResponseWriter, _ *http.Request) bool {
		return answer(w, http.StatusInternalServerError, spec.Problem{Kind: spec.Internal, Detail: "the server failed; its log says why"})
	})
	silent := i.front(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	foreign := i.front(func(w http.ResponseWriter, _ *http.Request) bool {
		_, err := w.Write([]byte("<html>welcome</html>"))
		return err == nil
	})
	i.by(plan.Request{
		Roles: []spec.Role{{Name: "reader", Permissions: []spec.Permission{{Resource: "api/v1/#", Operation: spec.Read, Context: spec.HTTP}}}},
		Users: []spec.User{{Username: "ci", Password: text("only-reads"), Roles: []string{"reader"}}},
	})
	role := roleConfig("operators", readPlant)
	steps := []resource.TestStep{}
	for _, test := range []struct{ config, why string }{
		{block(gone.URL, "t") + role, `(?s)connection\s+refused.*url\s+or\s+context`},
		{block("https://nowhere.invalid", "t") + role, `(?s)nowhere\.invalid`},
		{block("ftp://x", "t") + role, `(?s)address.*https://gateway\.example`},
		{block(tls.URL, "t") + role, `(?s)unknown\s+authority.*ca_cert`},
		{block(i.url, "wrong") + role, `(?s)[Tt]oken.*MILLWRIGHT_TOKEN`},
		{"provider \"millwright\" {\n  url = \"" + i.url + "\"\n  username = \"admin\"\n  password = \"wrong\"\n}\n" + role, `(?s)wrong\s+user\s+name\s+or\s+password.*MILLWRIGHT_PASSWORD`},
		{"provider \"millwright\" {\n  url = \"" + i.url + "\"\n  username = \"ci\"\n  password = \"only-reads\"\n}\n" + role, `(?s)may\s+not\s+write.*permission`},
		{block(other, i.token) + role, `(?s)7\.0\.0.*same\s+major\s+version`},
		{block(broken, i.token) + role, `(?s)server\s+failed.*log`},
		{block(foreign, i.token) + role, `(?s)not\s+of\s+this\s+API.*address`},
		{"provider \"millwright\" {\n  context = \"nowhere\"\n}\n" + role, `(?s)context\s+"nowhere"`},
		{"provider \"millwright\" {\n  url = \"" + i.url + "\"\n  token = \"t\"\n  username = \"u\"\n}\n" + role, `Two\s+ways\s+to\s+log\s+in`},
		{"provider \"millwright\" {\n  on_unreachable = \"ignore\"\n}\n" + role, `one\s+of\s+error,\s+keep`},
	} {
		steps = append(steps, resource.TestStep{Config: test.config, ExpectError: regexp.MustCompile(test.why)})
	}
	steps = append(steps,
		resource.TestStep{Config: block(i.url, i.token) + roleConfigTimeouts},
		resource.TestStep{Config: block(silent, i.token) + roleConfigTimeouts, ExpectError: regexp.MustCompile(`(?s)no\s+answer\s+in\s+time.*timeouts`)},
		resource.TestStep{Config: block(i.url, i.token) + roleConfigTimeouts},
	)
	runVersion(t, "1.2.3", steps...)
}

const roleConfigTimeouts = "resource \"millwright_role\" \"r\" {\n  name = \"slow\"\n  permissions = [" + readPlant + "]\n  timeouts = { read = \"1s\" }\n}\n"

func text(s string) *string { return &s }

// An instance that is busy is asked again, also to change something: it has said that it did
// nothing. A change whose answer got lost is not sent twice; the next apply goes on.
func TestForeignTerraformRepeats(t *testing.T) {
	i := start(t)
	var applies, refusals atomic.Int32
	refusals.Store(2)
	var lost atomic.Bool
	front := i.front(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/apply" {
			return false
		}
		applies.Add(1)
		if refusals.Add(-1) >= 0 {
			w.Header().Set("Retry-After", "1")
			return answer(w, http.StatusTooManyRequests, spec.Problem{Kind: spec.Unavailable, Detail: "cannot do that now"})
		}
		if lost.Swap(false) {
			i.by(plan.Request{Roles: []spec.Role{{Name: "second", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}}})
			panic(http.ErrAbortHandler)
		}
		return false
	})
	p := block(front, i.token)
	first := roleConfig("first", readPlant)
	second := "resource \"millwright_role\" \"s\" {\n  name = \"second\"\n  permissions = [" + readPlant + "]\n}\n"
	run(
		t,
		resource.TestStep{Config: p + first},
		resource.TestStep{
			PreConfig: func() {
				if n := applies.Swap(0); n != 3 {
					t.Errorf("apply was sent %d times", n)
				}
				lost.Store(true)
			},
			Config: p + first + second, ExpectError: regexp.MustCompile(`second`),
		},
		resource.TestStep{
			PreConfig: func() {
				if n := applies.Swap(0); n != 1 {
					t.Errorf("apply was sent %d times", n)
				}
			},
			Config: p + first + second,
		},
	)
}
