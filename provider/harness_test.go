package provider_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/provider"
	"github.com/millwright/millwright/runtime/gateway"
)

// TestMain leaves nothing of the user's own settings to the tests.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "terraform")
	if err != nil {
		panic(err)
	}
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "TF_") || strings.HasPrefix(name, "MILLWRIGHT_") && name != "MILLWRIGHT_TEST_REQUIRE_ALL" {
			must(os.Unsetenv(name))
		}
	}
	config := filepath.Join(dir, "terraform.rc")
	must(os.WriteFile(config, []byte("disable_checkpoint = true\n"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("contexts: {}\n"), 0o600))
	must(os.Setenv("TF_CLI_CONFIG_FILE", config))
	must(os.Setenv("TF_ACC", "1"))
	must(os.Setenv("CHECKPOINT_DISABLE", "1"))
	must(os.Setenv("MILLWRIGHT_CONFIG", filepath.Join(dir, "config.yaml")))
	code := m.Run()
	must(os.RemoveAll(dir))
	os.Exit(code)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

const adminPassword = "the-admins-own-password"

// instance is a runtime in this process.
type instance struct {
	*client.Client
	t          testing.TB
	url, token string
	dataDir    string
	end        func()
}

// start runs an instance until the test ends.
func start(t testing.TB) *instance {
	t.Helper()
	i := &instance{t: t, dataDir: filepath.Join(t.TempDir(), "data")}
	i.up("127.0.0.1:0")
	return i
}

// up starts the instance, or starts it again at the address that it had.
func (i *instance) up(address string) {
	i.t.Helper()
	g, err := gateway.New(i.t.Context(), gateway.Options{
		DataDir: i.dataDir, ListenHTTP: address, ListenMQTT: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		i.t.Fatal(err)
	}
	if !g.Control().HasUsers() {
		if _, err := g.Control().Bootstrap(i.t.Context(), adminPassword); err != nil {
			i.t.Fatal(err)
		}
		issued, err := g.Control().IssueToken(i.t.Context(), "admin", "tests", time.Hour)
		if err != nil {
			i.t.Fatal(err)
		}
		i.token = issued.Token
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	i.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			i.t.Errorf("the instance ended with %v", err)
		}
		if err := g.Close(); err != nil {
			i.t.Error(err)
		}
	})
	i.t.Cleanup(i.end)
	i.url = g.URL()
	if i.Client, err = client.New(client.Settings{URL: i.url, Token: i.token}, "", slog.New(slog.DiscardHandler)); err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(i.Close)
}

// again stops the instance and starts it at the same address.
func (i *instance) again() {
	i.t.Helper()
	i.end()
	at, err := url.Parse(i.url)
	if err != nil {
		i.t.Fatal(err)
	}
	i.up(at.Host)
}

// by applies what somebody else than Terraform wants.
func (i *instance) by(req plan.Request) {
	i.t.Helper()
	req.Confirm = "any"
	if _, err := i.Apply(i.t.Context(), req); err != nil {
		i.t.Fatal(err)
	}
}

// becomes waits until a service is in the state.
func (i *instance) becomes(id, state string) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		v, err := i.Services().Get(ctx, id)
		if err != nil {
			i.t.Fatalf("waiting for service %s to become %s: %v", id, state, err)
		}
		if v.State == state {
			return
		}
		<-again.C
	}
}

// provider is the provider block of the instance.
func (i *instance) provider() string { return block(i.url, i.token) }

func block(url, token string) string {
	return fmt.Sprintf("provider \"millwright\" {\n  url   = %q\n  token = %q\n}\n", url, token)
}

// factories serve the provider in this process.
func factories(version string) map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){
		"millwright": providerserver.NewProtocol6WithError(provider.New(version)),
	}
}

// run runs the steps. After each that applies, a plan that refreshes must be empty, which the
// test framework holds too.
func run(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	runVersion(t, "test", steps...)
}

// runVersion is run with a provider of the version.
func runVersion(t *testing.T, version string, steps ...resource.TestStep) {
	t.Helper()
	t.Setenv("TF_ACC_TERRAFORM_PATH", testneed.Program(t, "terraform"))
	for n := range steps {
		s := &steps[n]
		if s.Config != "" && !s.PlanOnly && !s.ExpectNonEmptyPlan && s.ExpectError == nil && !s.ImportState {
			s.ConfigPlanChecks.PostApplyPostRefresh = append(s.ConfigPlanChecks.PostApplyPostRefresh, plancheck.ExpectEmptyPlan())
		}
	}
	resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: factories(version), Steps: steps})
}

// action checks what a step plans for a resource.
func action(address string, a plancheck.ResourceActionType) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(address, a)}}
}

// front is a proxy in front of an instance: it hands on what meddle does not answer itself.
func (i *instance) front(meddle func(w http.ResponseWriter, r *http.Request) (answered bool)) (address string) {
	i.t.Helper()
	target, err := url.Parse(i.url)
	if err != nil {
		i.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !meddle(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	i.t.Cleanup(server.Close)
	return server.URL
}

// counted is a proxy in front of an instance that counts requests by method and route.
type counted struct {
	url string

	mu     sync.Mutex
	counts map[string]int
}

func (i *instance) counted() *counted {
	i.t.Helper()
	c := &counted{counts: map[string]int{}}
	c.url = i.front(func(_ http.ResponseWriter, r *http.Request) bool {
		parts := strings.Split(r.URL.Path, "/") // /api/v1/services/press/outline
		if len(parts) > 4 {
			parts[4] = "{id}"
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.counts[r.Method+" "+strings.Join(parts, "/")]++
		return false
	})
	return c
}

// take returns the counts and begins anew.
func (c *counted) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = map[string]int{}
	return counts
}

func role(name string, permissions ...spec.Permission) plan.Request {
	return plan.Request{Roles: []spec.Role{{Name: name, Permissions: permissions}}}
}
