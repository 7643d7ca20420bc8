package provider_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millwright/millwright/internal/gitlabci"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

const jobToken = "of-the-job"

// states are GitLab's Terraform states: read, written and locked by HTTP.
type states struct {
	mu    sync.Mutex
	held  map[string][]byte
	locks map[string][]byte
}

func (s *states) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, password, _ := r.BasicAuth()
	name, known := strings.CutPrefix(r.URL.Path, "/api/v4/projects/7/terraform/state/")
	body, err := io.ReadAll(r.Body)
	if !known || password != jobToken || err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if name, isLock := strings.CutSuffix(name, "/lock"); isLock {
		if held, locked := s.locks[name]; locked && r.Method == http.MethodPost {
			w.WriteHeader(http.StatusLocked)
			_, _ = w.Write(held)
		} else if r.Method == http.MethodPost {
			s.locks[name] = body
		} else {
			delete(s.locks, name)
		}
		return
	}
	switch text, found := s.held[name]; {
	case r.Method == http.MethodPost:
		s.held[name] = body
	case !found:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(text)
	}
}

// gitlab is a project of the example's Terraform half, with an instance for each environment.
type gitlab struct {
	t       *testing.T
	repo    string
	dir     string // of the last pipeline
	project *gitlabci.Project
	plants  map[string]*instance
	states  *states
	api     string
}

func newGitLab(t *testing.T) *gitlab {
	t.Helper()
	for _, name := range []string{"git", "bash", "jq"} {
		testneed.Program(t, name)
	}
	g := &gitlab{t: t, repo: t.TempDir(), plants: map[string]*instance{}, states: &states{held: map[string][]byte{}, locks: map[string][]byte{}}}
	server := httptest.NewServer(g.states)
	t.Cleanup(server.Close)
	g.api = server.URL + "/api/v4"
	if err := os.CopyFS(g.repo, os.DirFS(filepath.Join("..", "examples", "gitlab-ci"))); err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(t.TempDir(), "terraform.rc")
	config := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror(t))
	if err := os.WriteFile(rc, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.git("init", "--quiet", "--initial-branch", "main")
	g.edit("terraform/staging.tfvars", "10.0.1.7", "127.0.0.1") // where nothing listens, but nobody is asked either
	g.edit("terraform/production.tfvars", "10.1.1.7", "127.0.0.2")
	path := filepath.Dir(testneed.Program(t, "terraform")) + string(os.PathListSeparator) + os.Getenv("PATH")
	g.project = &gitlabci.Project{Repository: g.repo, Path: path, Passed: []string{"TF_CLI_CONFIG_FILE=" + rc}, Variables: []gitlabci.Variable{
		{Name: "LINE1_PASSWORD", Value: "planted-line-4711", Protected: true},
		{Name: "PRESS_PASSWORD", Value: "planted-press-4711", Protected: true},
	}}
	for _, environment := range []string{"staging", "production"} {
		i := start(t)
		reader, writer := i.tokens()
		g.plants[environment] = i
		g.project.Variables = append(g.project.Variables,
			gitlabci.Variable{Name: "MILLWRIGHT_URL", Value: i.url, Environment: environment},
			gitlabci.Variable{Name: "PLAN_TOKEN", Value: reader, Environment: environment},
			gitlabci.Variable{Name: "APPLY_TOKEN", Value: writer, Environment: environment, Protected: true})
	}
	return g
}

// tokens makes the accounts that the example's ci.yaml declares, and a token of each.
func (i *instance) tokens() (reader, writer string) {
	i.t.Helper()
	routes := func(op spec.Operation) []spec.Permission {
		var all []spec.Permission
		for _, kind := range []string{"services", "users", "roles"} {
			all = append(all, spec.Permission{Resource: "api/v1/" + kind + "/#", Operation: op, Context: spec.HTTP})
		}
		return all
	}
	all := spec.Permission{Resource: "#", Operation: spec.ReadWrite, Context: spec.MQTT}
	password := "of-the-pipelines"
	i.by(plan.Request{Users: []spec.User{
		{Username: "ci-plan", Password: &password, Permissions: routes(spec.Read)},
		{Username: "ci-apply", Password: &password, Permissions: append(routes(spec.ReadWrite), all)},
	}})
	var tokens []string
	for _, user := range []string{"ci-plan", "ci-apply"} {
		session, err := i.Login(i.t.Context(), user, password)
		if err != nil {
			i.t.Fatal(err)
		}
		made, err := i.WithToken(session.Token).CreateToken(i.t.Context(), spec.TokenRequest{Name: "gitlab"})
		if err != nil {
			i.t.Fatal(err)
		}
		tokens = append(tokens, made.Token)
	}
	return tokens[0], tokens[1]
}

func (g *gitlab) git(args ...string) {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example", "-C", g.repo}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// edit replaces text in a file of the repository, and commits that.
func (g *gitlab) edit(file, old, replacement string) {
	g.t.Helper()
	path := filepath.Join(g.repo, file)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		g.t.Fatalf("%s does not hold %q: %v", file, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, replacement, 1)), 0o644); err != nil {
		g.t.Fatal(err)
	}
	g.git("add", "-A")
	g.git("commit", "--quiet", "--message", "change")
}

// pipeline begins one of a merge request, of the default branch, or on a schedule, and runs
// what waits for nobody, which ends as said.
func (g *gitlab) pipeline(source string, want ...int) (*gitlabci.Pipeline, []*gitlabci.Result) {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.repo, "terraform.gitlab-ci.yml"))
	if err != nil {
		g.t.Fatal(err)
	}
	file, err := gitlabci.Parse(text)
	if err != nil {
		g.t.Fatal(err)
	}
	given := map[string]string{
		"CI_PIPELINE_SOURCE": source, "CI_DEFAULT_BRANCH": "main", "CI_REGISTRY_IMAGE": "registry.example/plant",
		"CI_API_V4_URL": g.api, "CI_PROJECT_ID": "7", "CI_JOB_TOKEN": jobToken,
	}
	protected := source != "merge_request_event"
	if protected {
		given["CI_COMMIT_BRANCH"] = "main"
	}
	g.dir = g.t.TempDir()
	pl, err := g.project.Start(file, g.dir, protected, given)
	if err != nil {
		g.t.Fatal(err)
	}
	results, err := pl.RunAll(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	var got []int
	log := ""
	for _, r := range results {
		got = append(got, r.Exit)
		log += r.Job.Name + ":\n" + r.Log
	}
	if !slices.Equal(got, want) || strings.Contains(log, "planted") {
		g.t.Fatalf("the jobs end with %v, want %v\n%s", got, want, log)
	}
	return pl, results
}

// play runs a job that waits for a person.
func (g *gitlab) play(pl *gitlabci.Pipeline, name string, want int) *gitlabci.Result {
	g.t.Helper()
	r, err := pl.Run(g.t.Context(), name)
	if err != nil {
		g.t.Fatal(err)
	}
	if r.Exit != want || strings.Contains(r.Log, "planted") {
		g.t.Fatalf("%s ends with %d, want %d\n%s", name, r.Exit, want, r.Log)
	}
	return r
}

// counts are what GitLab shows in a merge request: created, updated, deleted.
func (g *gitlab) counts(r *gitlabci.Result) [3]int {
	g.t.Helper()
	text, err := r.Report("terraform")
	if err != nil {
		g.t.Fatal(err)
	}
	var counts map[string]int
	if err := json.Unmarshal(text, &counts); err != nil || len(counts) != 3 {
		g.t.Fatalf("the report is %s: %v", text, err)
	}
	return [3]int{counts["create"], counts["update"], counts["delete"]}
}

// holdsNoSecret reads what is packed in a plan file.
func (g *gitlab) holdsNoSecret(planned *gitlabci.Result) {
	g.t.Helper()
	packed, err := zip.OpenReader(filepath.Join(planned.Dir, "terraform", "plan.cache"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer packed.Close()
	for _, f := range packed.File {
		in, err := f.Open()
		if err != nil {
			g.t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil || strings.Contains(string(text), "planted") {
			g.t.Errorf("%s in the plan file holds a secret, or cannot be read: %v", f.Name, err)
		}
	}
}

// TestForeignTerraformGitLab runs the jobs of examples/gitlab-ci/terraform.gitlab-ci.yml as GitLab
// would, with its states, against real instances.
func TestForeignTerraformGitLab(t *testing.T) {
	g := newGitLab(t)

	// A merge request plans with a token that may read, and without the secrets.
	request, results := g.pipeline("merge_request_event", 0, 0, 0)
	if got := strings.Join(request.Jobs(), ", "); got != "validate, plan production, plan staging" {
		t.Errorf("a merge request has the jobs %s", got)
	}
	if got := g.counts(results[1]); got != [3]int{3, 0, 0} {
		t.Errorf("the first plan: %v", got)
	}

	// After the merge exactly that is applied, and the next pipeline changes nothing.
	for _, want := range [][3]int{{3, 0, 0}, {}} {
		merged, results := g.pipeline("push", 0, 0, 0)
		g.holdsNoSecret(results[1])
		if got := g.counts(results[1]); got != want {
			t.Errorf("the report is %v, want %v", got, want)
		}
		g.play(merged, "apply staging", 0)
		g.play(merged, "apply production", 0)
	}
	for environment, host := range map[string]string{"staging": "127.0.0.1", "production": "127.0.0.2"} {
		if v, err := g.plants[environment].Services().Get(t.Context(), "press"); err != nil || v.Parameters["host"] != host {
			t.Errorf("%s has the host %v, %v", environment, v.Parameters["host"], err)
		}
	}

	// Somebody stops the press: the nightly job tells, and the next pipeline mends it. A plan that
	// was made before that is refused afterwards.
	g.plants["staging"].by(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Disabled}}})
	g.pipeline("schedule", 0, 2)
	late, _ := g.pipeline("push", 0, 0, 0)
	merged, results := g.pipeline("push", 0, 0, 0)
	if got := g.counts(results[2]); got != [3]int{0, 1, 0} {
		t.Errorf("mending is %v", got)
	}
	g.play(merged, "apply staging", 0)
	if r := g.play(late, "apply staging", 1); !strings.Contains(r.Log, "Saved plan is stale") {
		t.Errorf("a plan of another state:\n%s", r.Log)
	}

	// Exchanged secrets are written where their version is another.
	g.project.Variables = append(g.project.Variables, gitlabci.Variable{Name: "PRESS_PASSWORD", Value: "planted-press-4712", Protected: true})
	g.edit("terraform/staging.tfvars", `"1"`, `"2"`)
	merged, results = g.pipeline("push", 0, 0, 0)
	if got := g.counts(results[2]); got != [3]int{0, 2, 0} {
		t.Errorf("exchanging secrets is %v", got)
	}
	g.play(merged, "apply staging", 0)
	g.pipeline("schedule", 0, 0)
	for name, state := range g.states.held {
		if strings.Contains(string(state), "planted") {
			t.Errorf("the state of %s holds a secret", name)
		}
	}
	if len(g.states.held) != 2 || len(g.states.locks) != 0 {
		t.Errorf("%d states, locked: %v", len(g.states.held), g.states.locks)
	}
}

// The token of a plan may not apply it.
func TestForeignTerraformGitLabToken(t *testing.T) {
	i := start(t)
	reader, _ := i.tokens()
	w := newWorkspace(t)
	w.main("provider \"millwright\" {}\n" + roleConfig("operators", readPlant))
	w.env = append(w.env, "MILLWRIGHT_URL="+i.url, "MILLWRIGHT_TOKEN="+reader)
	if out, code := w.run("plan", "-input=false"); code != 1 || !strings.Contains(out, "may not write") {
		t.Errorf("a plan that checks permissions: exit %d\n%s", code, out)
	}
	w.env = append(w.env, "MILLWRIGHT_CHECK_PERMISSIONS=false")
	w.must("plan", "-input=false", "-out=plan.cache")
	if out, code := w.run("apply", "-input=false", "plan.cache"); code != 1 || !strings.Contains(out, "may not write") {
		t.Errorf("an apply with the token of the plan: exit %d\n%s", code, out)
	}
	w.env = append(w.env, "MILLWRIGHT_CHECK_PERMISSIONS=maybe")
	if out, code := w.run("plan", "-input=false"); code != 1 || !strings.Contains(out, `MILLWRIGHT_CHECK_PERMISSIONS="maybe"`) {
		t.Errorf("a wrong setting: exit %d\n%s", code, out)
	}
}
