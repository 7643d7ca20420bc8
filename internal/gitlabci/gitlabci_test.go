package gitlabci

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
)

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"stages: [a]\nj: {stage: a, script: [x], scripts: [y]}":                               `"scripts" in j`,
		"stages: [a]\nj: {stage: b, script: [x]}":                                             `in stage "b"`,
		"stages: [a]\nj: {stage: a}":                                                          "no script",
		"stages: [a]\nj: {stage: a, script: [x], needs: [k]}":                                 `needs "k"`,
		"stages: [a, b]\nj: {stage: a, script: [x], needs: [k]}\nk: {stage: b, script: [x]}":  "comes later",
		"stages: [a]\nj: {extends: .k, stage: a, script: [x]}":                                `extend ".k"`,
		"stages: [a]\n.k: {extends: .k}\nj: {extends: .k, stage: a, script: [x]}":             "extends itself",
		"stages: [a]\nj: {stage: a, script: [x], artifacts: {report: {}}}":                    `"report" in j.artifacts`,
		"stages: [a]\nj: {stage: a, script: [x], artifacts: {reports: {terrafrom: f}}}":       `"terrafrom"`,
		"stages: [a]\nj: {stage: a, script: [x], environment: {name: e, action: look}}":       "cannot use look as j.environment.action",
		"stages: [a]\nj: {stage: a, script: [x], rules: [{fi: $A}]}":                          `"fi" in j.rules`,
		"stages: [a]\nworkflow: {rule: []}\nj: {stage: a, script: [x]}":                       `"rule" in workflow`,
		"stages: [a]\ndefault: {script: [y]}\nj: {stage: a, script: [x]}":                     `"script" in default`,
		"stages: [a]\nj: {stage: a, script: [x], rules: [{if: $A =~ /x/}]}\n# evaluated late": "",
	} {
		_, err := Parse([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\ngives %v, want %s", text, err, want)
		}
	}
}

func TestConditions(t *testing.T) {
	variables := map[string]string{"A": "a", "B": "a", "C": "c"}
	for text, want := range map[string]bool{
		"$A": true, "$D": false, "$A == $B": true, "$A == $C": false, "$A != $C": true, `$A == "a"`: true, `$A == "b"`: false,
		`$A == "a" && $C`: true, `$A == "a" && $D`: false, `$D != "schedule" && $A == $B`: true,
	} {
		if got, err := condition(text, variables); got != want || err != nil {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	if _, err := condition("$A =~ /x/", variables); err == nil {
		t.Error("a condition that is not understood was taken")
	}
	if got := expand("$A-${C}-$D", variables); got != "a-c-" {
		t.Errorf("got %q", got)
	}
}

const file = `
stages: [first, second]
default: {image: some}
variables: {TEXT: of the file}
.base:
  stage: first
  variables: {OWN: of the base, KEPT: kept}
make:
  extends: .base
  variables: {OWN: of the job}
  rules:
    - {if: $SKIP, when: never}
    - if: $LATE
      variables: {OWN: of the rule}
    - {when: on_success}
  script:
    - echo "$TEXT, $OWN, $KEPT, $SECRET" > made.txt
  artifacts: {paths: [made.txt], reports: {junit: made.txt}}
use:
  stage: second
  needs: [make]
  rules: [{when: manual}]
  script: [cat made.txt, test ! -e other.txt, "false", echo not reached]
  artifacts: {paths: [none.txt]}
other: {stage: first, script: [touch other.txt], artifacts: {paths: [other.txt]}}
fails: {stage: first, script: ["false | true"]}
`

func TestForeignPipeline(t *testing.T) {
	testneed.Program(t, "bash")
	git := testneed.Program(t, "git")
	repo := t.TempDir()
	for _, args := range [][]string{{"init", "--quiet"}, {"-c", "user.name=t", "-c", "user.email=t@example", "commit", "--quiet", "--allow-empty", "-m", "x"}} {
		cmd := exec.CommandContext(t.Context(), git, args...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	f, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	project := &Project{Repository: repo, Path: os.Getenv("PATH"), Variables: []Variable{
		{Name: "SECRET", Value: "for all"}, {Name: "SECRET", Value: "protected", Protected: true}, {Name: "TEXT", Value: "elsewhere", Environment: "e"},
	}}
	for name, c := range map[string]struct {
		protected bool
		given     map[string]string
		jobs      string
		made      string
	}{
		"plain":     {false, nil, "fails, make, other, use", "of the file, of the job, kept, for all\n"},
		"protected": {true, map[string]string{"LATE": "yes"}, "fails, make, other, use", "of the file, of the rule, kept, protected\n"},
		"skipped":   {false, map[string]string{"SKIP": "yes"}, "fails, other, use", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pl, err := project.Start(f, t.TempDir(), c.protected, c.given)
			if err != nil || strings.Join(pl.Jobs(), ", ") != c.jobs {
				t.Fatalf("%v, %v", pl.Jobs(), err)
			}
			results, err := pl.RunAll(t.Context())
			if err != nil || results[0].Exit == 0 {
				t.Fatalf("%v, %v", results, err)
			}
			used, err := pl.Run(t.Context(), "use")
			if c.made == "" {
				if err == nil {
					t.Error("a job ran without what it needs")
				}
				return
			}
			if err != nil || used.Exit == 0 || used.Log != c.made || used.Dir != "" {
				t.Errorf("%+v, %v", used, err)
			}
			if text, err := results[1].Report("junit"); err != nil || string(text) != c.made {
				t.Errorf("%s, %v", text, err)
			}
			if _, err := os.Stat(filepath.Join(results[1].Dir, "made.txt")); err != nil {
				t.Error(err)
			}
		})
	}
}
