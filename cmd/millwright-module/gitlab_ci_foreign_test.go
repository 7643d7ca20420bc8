package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/gitlabci"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// as returns a client of the plant's instance.
func (p *plant) as(settings client.Settings) *client.Client {
	p.t.Helper()
	settings.URL = p.url
	c, err := client.New(settings, "", slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

// tokens makes the accounts that the example's ci.yaml declares, and a token of each.
func (p *plant) tokens() (reader, writer string) {
	p.t.Helper()
	routes := func(op spec.Operation) []spec.Permission {
		var all []spec.Permission
		for _, kind := range []string{"services", "users", "roles"} {
			all = append(all, spec.Permission{Resource: "api/v1/" + kind + "/#", Operation: op, Context: spec.HTTP})
		}
		return all
	}
	password := "of-the-pipelines"
	_, err := p.as(client.Settings{Token: p.token}).Apply(p.t.Context(), plan.Request{Confirm: "any", Users: []spec.User{
		{Username: "ci-plan", Password: &password, Permissions: routes(spec.Read)},
		{Username: "ci-apply", Password: &password, Permissions: append(routes(spec.ReadWrite), spec.Permission{Resource: "#", Operation: spec.ReadWrite, Context: spec.MQTT})},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	var tokens []string
	for _, user := range []string{"ci-plan", "ci-apply"} {
		made, err := p.as(client.Settings{Username: user, Password: password}).CreateToken(p.t.Context(), spec.TokenRequest{Name: "gitlab"})
		if err != nil {
			p.t.Fatal(err)
		}
		tokens = append(tokens, made.Token)
	}
	return tokens[0], tokens[1]
}

// TestForeignGitLabPlaybook runs the jobs of examples/gitlab-ci/ansible.gitlab-ci.yml as GitLab
// would, against real instances.
func TestForeignGitLabPlaybook(t *testing.T) {
	git := testneed.Program(t, "git")
	plants := map[string]*plant{"staging": newPlant(t), "production": newPlant(t)}
	repo := t.TempDir()
	if err := os.CopyFS(repo, os.DirFS(filepath.Join("..", "..", "examples", "gitlab-ci"))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@example", "commit", "--quiet", "-m", "plants"}} {
		cmd := exec.CommandContext(t.Context(), git, append([]string{"-C", repo}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	plants["staging"].command("sh", "-c", `cd "$1" && exec "$2" --offline --nocolor --profile production`, "sh", repo, testneed.Program(t, "ansible-lint"))
	project := &gitlabci.Project{
		Repository: repo, Path: os.Getenv("PATH"), Passed: []string{"ANSIBLE_COLLECTIONS_PATH=" + built.path},
		Variables: []gitlabci.Variable{
			{Name: "LINE1_PASSWORD", Value: "planted-4711", Protected: true},
			{Name: "PRESS_PASSWORD", Value: "planted-4712", Protected: true},
			{Name: "ANSIBLE_FORCE_COLOR", Value: "false"},
		},
	}
	for environment, p := range plants {
		reader, writer := p.tokens()
		project.Variables = append(project.Variables,
			gitlabci.Variable{Name: "MILLWRIGHT_URL", Value: p.url, Environment: environment},
			gitlabci.Variable{Name: "PLAN_TOKEN", Value: reader, Environment: environment},
			gitlabci.Variable{Name: "APPLY_TOKEN", Value: writer, Environment: environment, Protected: true})
	}
	text, err := os.ReadFile(filepath.Join(repo, "ansible.gitlab-ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := gitlabci.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		source  string
		before  func()
		exits   []int  // of the jobs that wait for nobody: production, then staging
		changed string // at each plant, where there are no manual jobs by those
		manual  bool
	}{
		{source: "merge_request_event", exits: []int{0, 0}, changed: "changed=3"},
		{source: "push", exits: []int{0, 0}, changed: "changed=3", manual: true},
		{source: "push", exits: []int{0, 0}, changed: "changed=0", manual: true},
		{source: "schedule", before: func() { plants["staging"].disable("press") }, exits: []int{0, 1}},
	} {
		if step.before != nil {
			step.before()
		}
		given := map[string]string{"CI_PIPELINE_SOURCE": step.source, "CI_DEFAULT_BRANCH": "main"}
		if step.source != "merge_request_event" {
			given["CI_COMMIT_BRANCH"] = "main"
		}
		pl, err := project.Start(file, t.TempDir(), step.source != "merge_request_event", given)
		if err != nil {
			t.Fatal(err)
		}
		results, err := pl.RunAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var exits []int
		for _, r := range results {
			exits = append(exits, r.Exit)
		}
		if step.manual {
			results = nil
			for _, name := range []string{"run staging", "run production"} {
				r, err := pl.Run(t.Context(), name)
				if err != nil || r.Exit != 0 {
					t.Fatalf("%s: %+v, %v", name, r, err)
				}
				results = append(results, r)
			}
		}
		log := ""
		for _, r := range results {
			log += fmt.Sprintf("%s:\n%s", r.Job.Name, r.Log)
		}
		if !slices.Equal(exits, step.exits) || step.changed != "" && strings.Count(log, step.changed) != len(plants) || strings.Contains(log, "planted") {
			t.Fatalf("%s ends with %v\n%s", step.source, exits, log)
		}
	}
}

// disable stops a service behind everybody's back.
func (p *plant) disable(id string) {
	p.t.Helper()
	request := plan.Request{Confirm: "any", Services: []spec.Service{{ID: id, State: spec.Disabled}}}
	if _, err := p.as(client.Settings{Token: p.token}).Apply(p.t.Context(), request); err != nil {
		p.t.Fatal(err)
	}
}
