// Package gitlabci runs a GitLab CI file without GitLab, as far as that goes: it checks the
// file's structure, decides which jobs a pipeline has, and runs their scripts in a shell, each in a
// clone of its own with the artifacts that it is given. Images are not started: what a
// script calls has to be on the machine. It is for the tests of examples.
package gitlabci

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// File is a GitLab CI file.
type File struct {
	Stages    []string
	Jobs      map[string]Job // without templates, whose names begin with a dot
	variables map[string]string
	workflow  []Rule
}

// Job is one job, with what it extends and the file's defaults.
type Job struct {
	Name          string
	Stage         string            `yaml:"stage"`
	Image         string            `yaml:"image"`
	Script        []string          `yaml:"script"`
	Variables     map[string]string `yaml:"variables"`
	Rules         []Rule            `yaml:"rules"`
	Needs         []string          `yaml:"needs"` // nil: all jobs of earlier stages
	When          string            `yaml:"when"`
	Environment   Environment       `yaml:"environment"`
	ResourceGroup string            `yaml:"resource_group"`
	Interruptible bool              `yaml:"interruptible"`
	Artifacts     Artifacts         `yaml:"artifacts"`
}

// Rule decides whether a job, or a pipeline, is there.
type Rule struct {
	If        string            `yaml:"if"`
	When      string            `yaml:"when"`
	Variables map[string]string `yaml:"variables"`
}

// Environment is where a job deploys to; it decides which variables the job has.
type Environment struct {
	Name   string `yaml:"name"`
	Action string `yaml:"action"`
}

// Artifacts are the files that stay of a job.
type Artifacts struct {
	When     string            `yaml:"when"`
	Access   string            `yaml:"access"`
	ExpireIn string            `yaml:"expire_in"`
	Paths    []string          `yaml:"paths"`
	Reports  map[string]string `yaml:"reports"`
}

// The keywords that are understood; GitLab has more. Another one is an error, so that a test
// never passes over what it does not run.
var (
	globalKeywords = []string{"stages", "workflow", "default", "variables"}
	jobKeywords    = []string{
		"extends", "stage", "image", "script", "variables", "rules", "needs", "when", "environment", "resource_group", "interruptible", "artifacts",
	}
	defaultKeywords = []string{"image", "interruptible", "artifacts"}
	keywordsBelow   = map[string][]string{
		"workflow":    {"rules"},
		"rules":       {"if", "when", "variables"},
		"environment": {"name", "action"},
		"artifacts":   {"when", "access", "expire_in", "paths", "reports"},
		"reports":     {"codequality", "terraform", "junit", "sast"},
	}
	valuesOf = map[string][]string{
		"environment.action": {"start", "prepare", "stop", "verify", "access"},
		"artifacts.when":     {"on_success", "on_failure", "always"},
		"artifacts.access":   {"all", "developer", "maintainer", "none"},
		"rules.when":         {"on_success", "always", "manual", "never"},
	}
)

// Parse reads and checks a file.
func Parse(text []byte) (*File, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("cannot read the CI file: %w", err)
	}
	f := &File{Jobs: map[string]Job{}}
	var workflow struct{ Rules []Rule }
	defaults := map[string]any{}
	for key, target := range map[string]any{"stages": &f.Stages, "variables": &f.variables, "workflow": &workflow, "default": &defaults} {
		if err := decode(tree[key], target); err != nil {
			return nil, fmt.Errorf("cannot read %q: %w", key, err)
		}
	}
	f.workflow = workflow.Rules
	if err := known(defaultKeywords, defaults, "default"); err != nil {
		return nil, err
	}
	if given, ok := tree["workflow"]; ok {
		if err := knownBelow("workflow", given, ""); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if slices.Contains(globalKeywords, name) || strings.HasPrefix(name, ".") {
			continue
		}
		job, err := f.job(name, tree, defaults)
		if err != nil {
			return nil, err
		}
		f.Jobs[name] = job
	}
	return f, f.check()
}

// job is one job with everything that it extends.
func (f *File) job(name string, tree, defaults map[string]any) (Job, error) {
	own, err := extended(tree, name, nil)
	if err != nil {
		return Job{}, err
	}
	if err := known(jobKeywords, own, name); err != nil {
		return Job{}, err
	}
	delete(own, "extends")
	job := Job{Name: name}
	for key, value := range defaults {
		if _, given := own[key]; !given {
			own[key] = value
		}
	}
	if err := decode(own, &job); err != nil {
		return Job{}, fmt.Errorf("cannot read job %q: %w", name, err)
	}
	return job, nil
}

// extended merges a job over what it extends: maps key by key, the rest whole.
func extended(tree map[string]any, name string, open []string) (map[string]any, error) {
	own, ok := tree[name].(map[string]any)
	if !ok || slices.Contains(open, name) {
		return nil, fmt.Errorf("cannot extend %q: there is no such job, or it extends itself", name)
	}
	base, ok := own["extends"].(string)
	if !ok {
		return maps.Clone(own), nil
	}
	merged, err := extended(tree, base, append(open, name))
	if err != nil {
		return nil, err
	}
	return merge(merged, own), nil
}

func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for key, value := range over {
		below, isMap := value.(map[string]any)
		if had, both := out[key].(map[string]any); isMap && both {
			value = merge(had, below)
		}
		out[key] = value
	}
	return out
}

// known refuses a keyword that is not understood, here and below.
func known(keywords []string, tree map[string]any, where string) error {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if !slices.Contains(keywords, key) {
			return fmt.Errorf("cannot use %q in %s: it is no keyword, or not one that is understood here", key, where)
		}
		if err := knownBelow(key, tree[key], where); err != nil {
			return err
		}
	}
	return nil
}

func knownBelow(key string, value any, where string) error {
	keywords, checked := keywordsBelow[key]
	if !checked {
		return nil
	}
	where = strings.TrimPrefix(where+"."+key, ".")
	switch v := value.(type) {
	case map[string]any:
		for name, value := range v {
			if allowed := valuesOf[key+"."+name]; allowed != nil && !slices.Contains(allowed, fmt.Sprint(value)) {
				return fmt.Errorf("cannot use %v as %s.%s: it is one of %v", value, where, name, allowed)
			}
		}
		return known(keywords, v, where)
	case []any:
		for _, item := range v {
			if err := knownBelow(key, item, where); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("cannot use %v as %s", value, where)
}

// check refuses stages and needs that are not there.
func (f *File) check() error {
	for _, name := range slices.Sorted(maps.Keys(f.Jobs)) {
		job := f.Jobs[name]
		stage := slices.Index(f.Stages, job.Stage)
		switch {
		case stage < 0:
			return fmt.Errorf("job %q is in stage %q, which there is not", name, job.Stage)
		case len(job.Script) == 0:
			return fmt.Errorf("job %q has no script", name)
		}
		for _, needed := range job.Needs {
			other, ok := f.Jobs[needed]
			if !ok || slices.Index(f.Stages, other.Stage) > stage {
				return fmt.Errorf("job %q needs %q, which there is not, or which comes later", name, needed)
			}
		}
	}
	return nil
}

// decode turns a tree into a struct; what the struct has no field for has been refused before.
func decode(tree, target any) error {
	text, err := yaml.Marshal(tree)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, target)
}
