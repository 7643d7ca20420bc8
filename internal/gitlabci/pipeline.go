package gitlabci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Variable is one of the project's CI/CD variables.
type Variable struct {
	Name, Value string
	Environment string // only jobs of this environment have it; empty: all
	Protected   bool   // only pipelines of protected branches have it
}

// Project is where pipelines run.
type Project struct {
	Repository string // a git repository, of whose HEAD each job gets a clone
	Variables  []Variable
	Path       string   // PATH of the scripts
	Passed     []string // further variables of the machine that scripts get, NAME=VALUE
}

// Pipeline is a run of a file's jobs.
type Pipeline struct {
	file      *File
	project   *Project
	dir       string
	protected bool
	given     map[string]string // what GitLab itself and whoever started it say
	jobs      map[string]Rule
	results   map[string]*Result
}

// Result is what a job left.
type Result struct {
	Job  Job
	Log  string
	Exit int
	Dir  string // of its artifacts; empty if none stay
}

// Start makes the pipeline of a file, in a folder of its own, with what GitLab says of it
// (CI_PIPELINE_SOURCE and so on) and who started it. Nothing runs yet.
func (p *Project) Start(f *File, dir string, protected bool, given map[string]string) (*Pipeline, error) {
	pl := &Pipeline{file: f, project: p, dir: dir, protected: protected, given: given, jobs: map[string]Rule{}, results: map[string]*Result{}}
	if _, ok, err := decide(f.workflow, given); err != nil || !ok {
		return pl, err
	}
	for name, job := range f.Jobs {
		rule, ok, err := decide(job.Rules, pl.variables(job, Rule{}))
		if err != nil {
			return nil, fmt.Errorf("job %q: %w", name, err)
		}
		if ok {
			pl.jobs[name] = rule
		}
	}
	return pl, nil
}

// Jobs are the names of the pipeline's jobs, stage by stage.
func (pl *Pipeline) Jobs() []string {
	names := slices.Sorted(maps.Keys(pl.jobs))
	slices.SortStableFunc(names, func(a, b string) int {
		return slices.Index(pl.file.Stages, pl.file.Jobs[a].Stage) - slices.Index(pl.file.Stages, pl.file.Jobs[b].Stage)
	})
	return names
}

// Manual reports whether a job waits for a person.
func (pl *Pipeline) Manual(name string) bool {
	return pl.jobs[name].When == "manual" || pl.file.Jobs[name].When == "manual"
}

// RunAll runs the jobs that wait for nobody, in order; after a stage in which one failed
// nothing more is run. The results are in the order in which they ran.
func (pl *Pipeline) RunAll(ctx context.Context) ([]*Result, error) {
	var results []*Result
	failed := ""
	for _, name := range pl.Jobs() {
		stage := pl.file.Jobs[name].Stage
		if failed != "" && failed != stage {
			break
		}
		if pl.Manual(name) {
			continue
		}
		r, err := pl.Run(ctx, name)
		if err != nil {
			return results, err
		}
		results = append(results, r)
		if r.Exit != 0 {
			failed = stage
		}
	}
	return results, nil
}

// Run runs one job, such as a manual one. The error is what kept it from being run; how it
// ended is in the result.
func (pl *Pipeline) Run(ctx context.Context, name string) (*Result, error) {
	rule, ok := pl.jobs[name]
	if !ok {
		return nil, fmt.Errorf("cannot run job %q: the pipeline has none of this name", name)
	}
	job := pl.file.Jobs[name]
	clone := filepath.Join(pl.dir, strings.ReplaceAll(name, " ", "-"))
	git := exec.CommandContext(ctx, "git", "clone", "--quiet", pl.project.Repository, clone)
	if out, err := git.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot clone: %w\n%s", err, out)
	}
	if err := pl.bring(job, clone); err != nil {
		return nil, err
	}
	r := &Result{Job: job}
	if err := pl.shell(ctx, r, rule, clone); err != nil {
		return nil, err
	}
	pl.results[name] = r
	return r, pl.keep(r, clone)
}

// bring copies the artifacts that the job is given into its clone: those of the jobs that it
// needs, or of all before it.
func (pl *Pipeline) bring(job Job, clone string) error {
	for _, name := range slices.Sorted(maps.Keys(pl.file.Jobs)) {
		before := slices.Index(pl.file.Stages, pl.file.Jobs[name].Stage) < slices.Index(pl.file.Stages, job.Stage)
		r := pl.results[name]
		switch {
		case job.Needs != nil && !slices.Contains(job.Needs, name), job.Needs == nil && !before:
			continue
		case r == nil && job.Needs != nil:
			return fmt.Errorf("cannot run job %q: it needs %q, which has not run", job.Name, name)
		case r == nil:
			continue
		case r.Exit != 0:
			return fmt.Errorf("cannot run job %q: %q before it failed", job.Name, name)
		}
		for _, path := range r.Job.Artifacts.Paths {
			if err := copyFile(filepath.Join(r.Dir, path), filepath.Join(clone, path)); err != nil {
				return err
			}
		}
	}
	return nil
}

// shell runs the script as GitLab's runner does in bash: line by line, ended by the first that fails.
func (pl *Pipeline) shell(ctx context.Context, r *Result, rule Rule, clone string) error {
	script := "set -eo pipefail\n" + strings.Join(r.Job.Script, "\n") + "\nexit 0\n"
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = clone
	cmd.Env = append([]string{"PATH=" + pl.project.Path, "HOME=" + clone, "LANG=C.UTF-8", "CI=true"}, pl.project.Passed...)
	for name, value := range pl.variables(r.Job, rule) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	r.Log = string(out)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("cannot run the script of job %q: %w", r.Job.Name, err)
	}
	r.Exit = cmd.ProcessState.ExitCode()
	return nil
}

// variables of a job: its file's, over them the job's and the rule's, over them the project's,
// over them those of the pipeline, which is GitLab's order.
func (pl *Pipeline) variables(job Job, rule Rule) map[string]string {
	all := map[string]string{}
	for _, from := range []map[string]string{pl.file.variables, job.Variables, rule.Variables} {
		maps.Copy(all, from)
	}
	for _, v := range pl.project.Variables {
		if (v.Environment == "" || v.Environment == job.Environment.Name) && (!v.Protected || pl.protected) {
			all[v.Name] = v.Value
		}
	}
	maps.Copy(all, pl.given)
	expanded := map[string]string{}
	for name, value := range all {
		expanded[name] = expand(value, all)
	}
	return expanded
}

// keep copies the job's artifacts out of its clone. One that is missing is an error, as it is
// for a report that GitLab looks for.
func (pl *Pipeline) keep(r *Result, clone string) error {
	a := r.Job.Artifacts
	if when := a.When; r.Exit != 0 && when != "always" && when != "on_failure" {
		return nil
	}
	r.Dir = filepath.Join(pl.dir, "artifacts", strings.ReplaceAll(r.Job.Name, " ", "-"))
	for _, path := range append(slices.Collect(maps.Values(a.Reports)), a.Paths...) {
		if err := copyFile(filepath.Join(clone, path), filepath.Join(r.Dir, path)); err != nil {
			return fmt.Errorf("job %q: %w", r.Job.Name, err)
		}
	}
	return nil
}

// Report reads one of the job's report artifacts: "codequality", "terraform".
func (r *Result) Report(kind string) ([]byte, error) {
	name, ok := r.Job.Artifacts.Reports[kind]
	if !ok || r.Dir == "" {
		return nil, fmt.Errorf("job %q has no report %q", r.Job.Name, kind)
	}
	return os.ReadFile(filepath.Join(r.Dir, name))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
