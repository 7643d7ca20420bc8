package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/gitlabci"
	"github.com/millwright/millwright/internal/testneed"
)

// gitlab is a project of the example, with an instance for each of its environments.
type gitlab struct {
	t       *testing.T
	repo    string
	project *gitlabci.Project
	plants  map[string]*instance
	tokens  map[string]string // "staging PLAN_TOKEN"
}

const (
	plantedLine  = "planted-line-4711"
	plantedPress = "planted-press-4711"
)

// newGitLab makes a repository of the example, and sets up an instance for each environment, as
// the example's README says, with the project's variables.
func newGitLab(t *testing.T, environments ...string) *gitlab {
	t.Helper()
	testneed.Program(t, "git")
	testneed.Program(t, "bash")
	g := &gitlab{t: t, repo: t.TempDir(), plants: map[string]*instance{}, tokens: map[string]string{}}
	if err := os.CopyFS(g.repo, os.DirFS(filepath.Join(docsRoot, "examples", "gitlab-ci"))); err != nil {
		t.Fatal(err)
	}
	g.git("init", "--quiet", "--initial-branch", "main")
	g.edit("plants/staging.yaml", "10.0.1.7", "127.0.0.1") // where nothing listens, but nobody is asked either
	g.edit("plants/production.yaml", "10.1.1.7", "127.0.0.2")
	g.project = &gitlabci.Project{Repository: g.repo, Path: os.Getenv("PATH"), Variables: []gitlabci.Variable{
		{Name: "LINE1_PASSWORD", Value: plantedLine, Protected: true},
		{Name: "PRESS_PASSWORD", Value: plantedPress, Protected: true},
	}}
	for _, environment := range environments {
		i := newInstance(t)
		i.up()
		g.plants[environment] = i
		for user, token := range g.setUp(i) {
			name := map[string]string{"ci-plan": "PLAN_TOKEN", "ci-apply": "APPLY_TOKEN"}[user]
			g.tokens[environment+" "+name] = token
			g.project.Variables = append(g.project.Variables, gitlabci.Variable{Name: name, Value: token, Environment: environment, Protected: user == "ci-apply"})
		}
		g.project.Variables = append(g.project.Variables, gitlabci.Variable{Name: "MILLWRIGHT_URL", Value: "http://" + i.http, Environment: environment})
	}
	return g
}

// setUp runs the block of the README that an administrator runs, and returns the tokens that
// it prints, by user.
func (g *gitlab) setUp(i *instance) map[string]string {
	g.t.Helper()
	readme, err := os.ReadFile(filepath.Join(g.repo, "README.md"))
	if err != nil {
		g.t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- once -->\n```sh\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		g.t.Fatal("the README has no block to run once")
	}
	cmd := exec.CommandContext(g.t.Context(), "bash", "-euo", "pipefail", "-c", string(block[1]))
	cmd.Dir = g.repo
	cmd.Env = append(withoutSettings(os.Environ()), "MILLWRIGHT_CONFIG="+filepath.Join(i.dir, "config.yaml"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	tokens := regexp.MustCompile(`(?m)^(ci-\w+) (mw_\S+)$`).FindAllStringSubmatch(string(out), -1)
	if err != nil || len(tokens) != 2 {
		g.t.Fatalf("setting up: %v\n%s%s", err, out, stderr.String())
	}
	return map[string]string{tokens[0][1]: tokens[0][2], tokens[1][1]: tokens[1][2]}
}

func (g *gitlab) git(args ...string) {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example", "-C", g.repo}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (g *gitlab) commit() {
	g.t.Helper()
	g.git("add", "-A")
	g.git("commit", "--quiet", "--message", "change")
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
	g.commit()
}

// start begins a pipeline: of a merge request, of the default branch, or on a schedule.
func (g *gitlab) start(source string, more ...string) *gitlabci.Pipeline {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.repo, ".gitlab-ci.yml"))
	if err != nil {
		g.t.Fatal(err)
	}
	f, err := gitlabci.Parse(text)
	if err != nil {
		g.t.Fatal(err)
	}
	given := map[string]string{"CI_PIPELINE_SOURCE": source, "CI_DEFAULT_BRANCH": "main", "CI_REGISTRY_IMAGE": "registry.example/plant"}
	if source != "merge_request_event" {
		given["CI_COMMIT_BRANCH"] = "main"
	}
	for _, name := range more {
		given[name] = "yes"
	}
	pl, err := g.project.Start(f, g.t.TempDir(), source != "merge_request_event", given)
	if err != nil {
		g.t.Fatal(err)
	}
	return pl
}

// all runs what waits for nobody and holds the exit code of each job.
func (g *gitlab) all(pl *gitlabci.Pipeline, want ...int) []*gitlabci.Result {
	g.t.Helper()
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
	if !slices.Equal(got, want) {
		g.t.Fatalf("the jobs end with %v, want %v\n%s", got, want, log)
	}
	return results
}

// play runs a job that waits for a person.
func (g *gitlab) play(pl *gitlabci.Pipeline, name string, want int) *gitlabci.Result {
	g.t.Helper()
	r, err := pl.Run(g.t.Context(), name)
	if err != nil {
		g.t.Fatal(err)
	}
	if r.Exit != want {
		g.t.Fatalf("%s ends with %d, want %d\n%s", name, r.Exit, want, r.Log)
	}
	return r
}

// report decodes the report that GitLab shows in a merge request.
func (g *gitlab) report(r *gitlabci.Result) map[string]int {
	g.t.Helper()
	text, err := r.Report("terraform")
	if err != nil {
		g.t.Fatal(err)
	}
	var counts map[string]int
	if err := json.Unmarshal(text, &counts); err != nil || !slices.Equal(slices.Sorted(maps.Keys(counts)), []string{"create", "delete", "update"}) {
		g.t.Fatalf("the report is %s: %v", text, err)
	}
	return counts
}

// TestForeignGitLabPipelines runs the jobs of examples/gitlab-ci as GitLab would, against real
// instances.
func TestForeignGitLabPipelines(t *testing.T) {
	t.Parallel()
	g := newGitLab(t, "staging", "production")

	// A merge request plans with a token that may read, and without the secrets.
	request := g.start("merge_request_event")
	if got := strings.Join(request.Jobs(), ", "); got != "validate, plan production, plan staging" {
		t.Errorf("a merge request has the jobs %s", got)
	}
	results := g.all(request, 0, 0, 0)
	if got := g.report(results[1]); got["create"] == 0 || got["update"]+got["delete"] != 0 {
		t.Errorf("the first plan: %v", got)
	}
	notInFiles(t, results[1].Dir, plantedPress)
	g.mayNotApply(results[2])

	// After the merge exactly that is applied, and the next pipeline changes nothing.
	for _, want := range []string{"Applied: ", "No changes."} {
		merged := g.start("push")
		results = g.all(merged, 0, 0, 0)
		for _, environment := range []string{"staging", "production"} {
			r := g.play(merged, "apply "+environment, 0)
			if !strings.Contains(r.Log, want) || strings.Contains(r.Log, "planted") {
				t.Errorf("apply %s:\n%s", environment, r.Log)
			}
		}
	}
	if got := g.report(results[1]); got["create"]+got["update"]+got["delete"] != 0 {
		t.Errorf("the plan of what is applied: %v", got)
	}
	for environment, host := range map[string]string{"staging": "127.0.0.1", "production": "127.0.0.2"} {
		if got := g.plants[environment].service("press").Parameters["host"]; got != host {
			t.Errorf("%s has the host %v", environment, got)
		}
	}
	for _, i := range g.plants {
		i.stop()
	}
}

// mayNotApply holds that the token which planned cannot apply.
func (g *gitlab) mayNotApply(planned *gitlabci.Result) {
	g.t.Helper()
	staging := g.plants["staging"]
	token := g.tokens["staging PLAN_TOKEN"]
	cmd := staging.command(g.t.Context(), "apply", "--plan", filepath.Join(planned.Dir, "plan.json"), "--yes")
	cmd.Dir = g.repo
	cmd.Env = append(cmd.Env, "MILLWRIGHT_URL=http://"+staging.http, "MILLWRIGHT_TOKEN="+token,
		"LINE1_PASSWORD=(only on protected branches)", "PRESS_PASSWORD=(only on protected branches)")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), `user "ci-plan" may not write`) {
		g.t.Errorf("applying with the token of the plan: %v\n%s", err, out)
	}
	body := `{"confirm": "any", "roles": [{"name": "x", "permissions": []}]}`
	request, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, "http://"+staging.http+"/api/v1/apply", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		g.t.Errorf("POST /api/v1/apply answers %s", response.Status)
	}
}

// byHand applies an edited stack to staging, as a person would from a laptop.
func (g *gitlab) byHand(old, replacement string) {
	g.t.Helper()
	laptop := filepath.Join(g.t.TempDir(), "clone")
	g.git("clone", "--quiet", g.repo, laptop)
	path := filepath.Join(laptop, "plants", "staging.yaml")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(text, []byte(old), []byte(replacement), 1), 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := g.plants["staging"].command(g.t.Context(), "apply", path, "--yes")
	cmd.Env = append(cmd.Env, "LINE1_PASSWORD="+plantedLine, "PRESS_PASSWORD="+plantedPress)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), replacement[len("interval: "):]) {
		g.t.Fatalf("by hand: %v\n%s", err, out)
	}
}

// TestForeignGitLabStateMoves changes a plant behind GitLab's back, between a plan and its
// apply and at any time.
func TestForeignGitLabStateMoves(t *testing.T) {
	t.Parallel()
	g := newGitLab(t, "staging", "production")
	merged := g.start("push")
	g.all(merged, 0, 0, 0)
	g.play(merged, "apply staging", 0)
	g.play(merged, "apply production", 0)
	g.all(g.start("schedule"), 0, 0)

	// A person sets another interval at the plant: the nightly job tells.
	g.byHand("interval: 500", "interval: 100")
	for _, r := range g.all(g.start("schedule"), 0, 2) {
		if drifted := strings.Contains(r.Log, "parameters.interval: 100 → 500"); drifted != (r.Job.Name == "drift staging") {
			t.Errorf("%s:\n%s", r.Job.Name, r.Log)
		}
	}

	// It is planned to be mended; before that is applied, the state moves again.
	g.edit("services/press.yml", "value > 200", "value > 210")
	merged = g.start("push")
	g.all(merged, 0, 0, 0)
	g.byHand("interval: 500", "interval: 200")
	if r := g.play(merged, "apply staging", 1); !strings.Contains(r.Log, "the state moved") {
		t.Errorf("a plan of another state:\n%s", r.Log)
	}
	if _, err := merged.Run(t.Context(), "apply production"); err == nil || !strings.Contains(err.Error(), `"apply staging" before it failed`) {
		t.Errorf("production after a failure at staging: %v", err)
	}
	merged = g.start("push")
	g.all(merged, 0, 0, 0)
	g.play(merged, "apply staging", 0)
	g.play(merged, "apply production", 0)
	g.all(g.start("schedule"), 0, 0)

	// A secret that is exchanged shows only to a token that may write it.
	g.project.Variables = append(g.project.Variables, gitlabci.Variable{Name: "PRESS_PASSWORD", Value: "planted-press-4712", Protected: true})
	merged = g.start("push")
	g.all(merged, 0, 0, 0)
	if r := g.play(merged, "apply staging", 2); !strings.Contains(r.Log, "(sensitive, changed)") || strings.Contains(r.Log, "planted") {
		t.Errorf("an exchanged secret:\n%s", r.Log)
	}
	merged = g.start("push", "COMPARE_SECRETS")
	if results := g.all(merged, 0, 0, 0); g.report(results[1])["update"] == 0 {
		t.Errorf("a plan that compares secrets:\n%s", results[1].Log)
	}
	g.play(merged, "apply staging", 0)
	g.play(merged, "apply production", 0)
	for _, i := range g.plants {
		i.stop()
	}
}

// TestForeignGitLabMistakes holds the Code Quality report to GitLab's schema.
func TestForeignGitLabMistakes(t *testing.T) {
	t.Parallel()
	g := newGitLab(t)
	g.edit("services/press.yml", "host: !ref host", "host: !ref hots")
	g.edit("plants/staging.yaml", "operation: read", "operation: reed")
	results := g.all(g.start("merge_request_event"), 3)
	text, err := results[0].Report("codequality")
	if err != nil {
		t.Fatal(err)
	}
	type issue struct {
		Description string `json:"description"`
		CheckName   string `json:"check_name"`
		Fingerprint string `json:"fingerprint"`
		Severity    string `json:"severity"`
		Location    struct {
			Path  string `json:"path"`
			Lines struct {
				Begin int `json:"begin"`
			} `json:"lines"`
		} `json:"location"`
	}
	var issues []issue
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&issues); err != nil || len(issues) == 0 {
		t.Fatalf("%v\n%s", err, text)
	}
	found, fingerprints := map[string]bool{}, map[string]bool{}
	for _, i := range issues {
		if !slices.Contains([]string{"info", "minor", "major", "critical", "blocker"}, i.Severity) || i.Description == "" || i.CheckName == "" || i.Location.Lines.Begin < 1 || fingerprints[i.Fingerprint] {
			t.Errorf("not as GitLab has it: %+v", i)
		}
		if _, err := os.Stat(filepath.Join(g.repo, i.Location.Path)); err != nil || filepath.IsAbs(i.Location.Path) {
			t.Errorf("GitLab does not find the place: %+v, %v", i, err)
		}
		fingerprints[i.Fingerprint], found[i.Location.Path] = true, true
	}
	if !found["services/press.yml"] || !found["plants/staging.yaml"] {
		t.Errorf("the report is %s", text)
	}
}
