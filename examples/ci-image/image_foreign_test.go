// Package ciimage holds the test of the image for CI jobs.
package ciimage

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/runtime/gateway"
)

const root = "../.."

// build makes the files of a release for this machine, and the image of them, on a base that has
// the packages already: a test pulls nothing.
func build(t *testing.T, base string, docker func(args ...string) string) {
	t.Helper()
	dir := t.TempDir()
	arch := runtime.GOARCH
	for _, args := range [][]string{
		{"go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=0.1.0", "-o", filepath.Join(dir, "millwright_0.1.0_linux_"+arch), "./cmd/millwright"},
		{"make", "collection", "VERSION=0.1.0", "COLLECTION_DIR=" + filepath.Join(dir, "collection"), "COLLECTION_PLATFORMS=linux/" + arch},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	docker("import", base, "local/debian")
	docker("build", "--network", "none", "-f", "Dockerfile", "--build-arg", "BASE=local/debian", "--build-arg", "ARCH="+arch, "-t", "local/ci", dir)
}

// startInstance runs an instance until the test ends.
func startInstance(t *testing.T) (url, token string) {
	t.Helper()
	g, err := gateway.New(t.Context(), gateway.Options{
		DataDir: filepath.Join(t.TempDir(), "data"), ListenHTTP: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Control().Bootstrap(t.Context(), "the-admins-own-password"); err != nil {
		t.Fatal(err)
	}
	issued, err := g.Control().IssueToken(t.Context(), "admin", "tests", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the instance ended with %v", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g.URL(), issued.Token
}

// TestForeignImage builds the image, and runs in it what the jobs of examples/gitlab-ci run.
func TestForeignImage(t *testing.T) {
	base := testneed.CIBase(t)
	testneed.Program(t, "ansible-galaxy")
	program := testneed.Program(t, "docker")
	engine := testneed.OwnDocker(t)
	docker := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+engine, "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("docker %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	build(t, base, docker)
	url, token := startInstance(t)
	job := func(script string) string {
		t.Helper()
		return docker("run", "--rm", "--network", "host", "-e", "MILLWRIGHT_URL="+url, "-e", "MILLWRIGHT_TOKEN="+token,
			"-e", "LINE1_PASSWORD=planted-4711", "-e", "PRESS_PASSWORD=planted-4712",
			"-v", abs(t, "../gitlab-ci")+":/builds:ro", "-w", "/builds", "local/ci", "bash", "-eo", "pipefail", "-c", script)
	}
	for script, want := range map[string]string{
		"id -u; git --version; ssh -V; millwright version":               "1000\ngit version",
		"millwright validate .":                                          " 0 errors, 0 warnings",
		"millwright plan plants/staging.yaml --out /tmp/plan.json":       "to add",
		"ansible-playbook -i inventory.yml -l staging --check site.yaml": "changed=3",
		"ansible-doc millwright.shopfloor.service":                       "commissioning_file",
	} {
		if out := job(script); !strings.Contains(out, want) {
			t.Errorf("%s prints\n%s", script, out)
		}
	}
	if history := docker("history", "--no-trunc", "local/ci"); strings.Contains(history, "planted") {
		t.Errorf("the image holds a secret:\n%s", history)
	}
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
