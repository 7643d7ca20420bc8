package provider_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// trouble is an instance that cannot be used, and the settings that lead there.
type trouble struct {
	name     string
	settings map[string]any
	meddle   func(w http.ResponseWriter, r *http.Request) bool // of a proxy in front of the instance, if settings name no url
	timeouts map[string]any
}

// What each trouble is told as, and which requests were sent for it, stands in a golden file: each
// has a cause and what to do, and nothing is sent twice that may have been done.
func TestDiagnosticsOfTrouble(t *testing.T) {
	i := start(t)
	i.by(plan.Request{
		Roles: []spec.Role{{Name: "reader", Permissions: []spec.Permission{{Resource: "api/v1/#", Operation: spec.Read, Context: spec.HTTP}}}},
		Users: []spec.User{{Username: "ci", Password: text("only-reads"), Roles: []string{"reader"}}},
	})
	troubles := i.troubles(t)
	told := make([]string, len(troubles))
	var group sync.WaitGroup
	for n, one := range troubles {
		group.Go(func() { told[n] = i.tell(one) })
	}
	group.Wait()
	got := strings.Join(told, "\n")
	path := filepath.Join("testdata", "diagnostics.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := testFile(t, "diagnostics.golden"); got != want {
		t.Errorf("diagnostics:\n%s\nwant, or -update:\n%s", got, want)
	}
}

func (i *instance) troubles(t *testing.T) []trouble {
	t.Helper()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	busy := func(path string, status int, answered bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			w.Header().Set("Retry-After", "1")
			if answered {
				return answer(w, status, spec.Problem{Kind: spec.Unavailable, Detail: "too many requests"})
			}
			http.Error(w, "<html>not now</html>", status)
			return true
		}
	}
	fails := func(path string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == path && answer(w, http.StatusInternalServerError, spec.Problem{Kind: spec.Internal, Detail: "the server failed; its log says why"})
		}
	}
	silent := func(path string) func(http.ResponseWriter, *http.Request) bool {
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			_, err := io.Copy(io.Discard, r.Body) // only then is it noticed that the client left
			<-r.Context().Done()
			return err == nil
		}
	}
	const planned, applied = "/api/v1/plan", "/api/v1/apply"
	return []trouble{
		{name: "nobody listens", settings: map[string]any{"url": gone.URL, "token": "t"}},
		{name: "no address", settings: map[string]any{"url": "gateway", "token": "t"}},
		{name: "another authority", settings: map[string]any{"url": secure.URL, "token": "t"}},
		{name: "a certificate that is none", settings: map[string]any{"url": secure.URL, "token": "t", "ca_cert": "hello"}},
		{name: "a certificate file that is not there", settings: map[string]any{"url": secure.URL, "token": "t", "ca_path": "/nowhere/ca.pem"}},
		{name: "TLS to a port without", settings: map[string]any{"url": strings.Replace(i.url, "http:", "https:", 1), "token": "t"}},
		{name: "no TLS to a port with", settings: map[string]any{"url": strings.Replace(secure.URL, "https:", "http:", 1), "token": "t"}},
		{name: "no credentials", settings: map[string]any{"url": i.url}},
		{name: "a wrong token", settings: map[string]any{"url": i.url, "token": "wrong"}},
		{name: "a wrong password", settings: map[string]any{"url": i.url, "username": "admin", "password": "wrong"}},
		{name: "a permission that is missing", settings: map[string]any{"url": i.url, "username": "ci", "password": "only-reads"}},
		{name: "a context that is not there", settings: map[string]any{"context": "nowhere"}},
		{name: "another major version", meddle: func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Millwright-Version", "7.0.0")
			return false
		}},
		{name: "something else", meddle: func(w http.ResponseWriter, _ *http.Request) bool {
			_, err := w.Write([]byte("<html>welcome</html>"))
			return err == nil
		}},
		{name: "a redirect", meddle: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://login.example/", http.StatusFound)
			return true
		}},
		{name: "the server fails at the plan", meddle: fails(planned)},
		{name: "the server fails at the apply", meddle: fails(applied)},
		{name: "a rate limit at the plan", meddle: busy(planned, http.StatusTooManyRequests, true)},
		{name: "a rate limit at the apply", meddle: busy(applied, http.StatusTooManyRequests, true)},
		{name: "a proxy that is busy", meddle: busy(applied, http.StatusServiceUnavailable, false)},
		{name: "a proxy without its server", meddle: busy(applied, http.StatusBadGateway, false)},
		{name: "no answer to the plan", meddle: silent(planned), timeouts: map[string]any{"create": "1s", "read": "1s"}},
		{name: "an answer that is cut off", meddle: func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == applied {
				panic(http.ErrAbortHandler)
			}
			return false
		}},
	}
}

var (
	addresses = regexp.MustCompile(`127\.0\.0\.1:\d+(->127\.0\.0\.1:\d+)?`)
	times     = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT[0-9:Z+.-]+`)
)

// tell has a role applied, and says what is said about that.
func (i *instance) tell(one trouble) string {
	counts, mu := map[string]int{}, sync.Mutex{}
	settings := one.settings
	if one.meddle != nil {
		settings = map[string]any{"token": i.token, "url": i.front(func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			counts[r.Method+" "+r.URL.Path]++
			mu.Unlock()
			return one.meddle(w, r)
		})}
	}
	c := &core{version: "1.2.3", settings: settings, state: map[string]object{}}
	name := "new-" + strings.ReplaceAll(one.name, " ", "-")
	values := map[string]any{"name": name, "permissions": []any{}}
	if one.timeouts != nil {
		values["timeouts"] = one.timeouts
	}
	err := c.apply(i.t.Context(), []wish{{address: "millwright_role.new", values: values}})
	if err == nil {
		err = errors.New("nothing failed")
	}
	mu.Lock()
	defer mu.Unlock()
	said := times.ReplaceAllString(addresses.ReplaceAllString(err.Error(), "ADDRESS"), "TIME")
	said = strings.NewReplacer(name, "NAME", filepath.Dir(os.Getenv("MILLWRIGHT_CONFIG")), "DIR").Replace(said)
	text := fmt.Sprintf("# %s\n%s\n", one.name, said)
	if one.meddle != nil {
		text += "(" + printed(counts) + ")\n"
	}
	return text
}
