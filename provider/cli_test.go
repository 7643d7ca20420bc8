package provider_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
)

// program builds the provider once for all tests.
type program struct {
	once sync.Once
	dir  string
	err  error
}

var built program

func (p *program) build(t testing.TB) string {
	t.Helper()
	p.once.Do(func() {
		p.dir = filepath.Join(os.Getenv("MILLWRIGHT_CONFIG"), "..", "bin")
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", filepath.Join(p.dir, "terraform-provider-millwright"),
			"-ldflags", "-X main.version=0.9.9", "../cmd/terraform-provider-millwright").CombinedOutput()
		if err != nil {
			p.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.dir
}

// workspace is a folder in which the real Terraform runs with the real provider program.
type workspace struct {
	t         testing.TB
	dir       string
	terraform string
	env       []string
}

// newWorkspace uses the program through dev_overrides.
func newWorkspace(t testing.TB) *workspace {
	t.Helper()
	w := &workspace{t: t, dir: t.TempDir(), terraform: testneed.Program(t, "terraform")}
	w.configure(fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"millwright/millwright\" = %q\n  }\n  direct {}\n}\n", built.build(t)))
	return w
}

// configure writes the configuration of the command line.
func (w *workspace) configure(text string) {
	w.t.Helper()
	rc := w.write("terraform.rc", "disable_checkpoint = true\n"+text)
	w.env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "HOME="+w.dir)
}

func (w *workspace) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

const requireProvider = "terraform {\n  required_providers {\n    millwright = { source = \"millwright/millwright\" }\n  }\n}\n"

// main writes the configuration.
func (w *workspace) main(text string) { w.write("main.tf", requireProvider+text) }

// run runs Terraform and returns what it printed and its exit code.
func (w *workspace) run(args ...string) (output string, code int) {
	w.t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), w.terraform, append(args, "-no-color")...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs Terraform where it has to succeed.
func (w *workspace) must(args ...string) string {
	w.t.Helper()
	out, code := w.run(args...)
	if code != 0 {
		w.t.Fatalf("terraform %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// settled checks that a plan is empty.
func (w *workspace) settled() {
	w.t.Helper()
	if out, code := w.run("plan", "-detailed-exitcode", "-input=false"); code != 0 {
		w.t.Fatalf("plan: exit %d\n%s", code, out)
	}
}
