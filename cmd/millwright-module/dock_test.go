package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/image"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/testneed"
)

// runtimeProgram is what images hold, built once for all tests.
type runtimeProgram struct {
	once   sync.Once
	binary []byte
	err    error
}

var program runtimeProgram

func (p *runtimeProgram) build(dir string) {
	path := filepath.Join(dir, "millwright-runtime")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "timetzdata", "-ldflags", "-s -w", "-o", path, filepath.Join("..", "millwright-runtime"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.err = fmt.Errorf("cannot build the runtime: %w\n%s", err, out)
		return
	}
	p.binary, p.err = os.ReadFile(path)
}

// archive writes an image of the runtime to the plant's folder.
func (p *plant) archive(name string, change ...func(*image.Options)) string {
	p.t.Helper()
	program.once.Do(func() { program.build(buildRoot) })
	if program.err != nil {
		p.t.Fatal(program.err)
	}
	o := image.Options{
		Tag: name, Arch: runtime.GOARCH, Program: program.binary, Roots: []byte("none\n"), Created: time.Unix(0, 0),
		Labels: map[string]string{"name": name}, Entrypoint: render.Program, UserID: render.UserID, Owned: []string{render.DataDir, render.SecretsDir},
	}
	for _, c := range change {
		c(&o)
	}
	path := filepath.Join(p.dir, strings.NewReplacer("/", "_", ":", "_").Replace(name)+".tar")
	file, err := os.Create(path)
	if err == nil {
		err = joined(image.Write(file, o), file.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return path
}

// load gives the engine the images of an archive.
func load(t *testing.T, host, archive string) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Host: host, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.LoadImage(t.Context(), archive); joined(err, e.Close()) != nil {
		t.Fatal(err)
	}
}

// newDock is a folder from which playbooks are run against a Docker engine.
func newDock(t *testing.T, host string) *plant {
	t.Helper()
	p := newController(t)
	p.docker = host
	p.options = map[string]any{"docker_host": host, "install_path": filepath.Join(p.dir, "deployed"), "pull": "never"}
	return p
}

// ports are free ones of this machine.
func ports(t *testing.T, names ...string) map[string]any {
	t.Helper()
	found := map[string]any{"http": nil}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		found[name] = l.Addr().String()
	}
	return found
}

// with are the plant's options of an instance, and more.
func (p *plant) with(more map[string]any) map[string]any {
	all := maps.Clone(p.options)
	maps.Copy(all, more)
	return all
}

// refused runs a playbook that has that many results which are each one of a loop.
func (p *plant) refused(playbook string, n int, flags ...string) []outcome {
	p.t.Helper()
	outcomes, printed, _ := p.run(playbook, flags...) // the results say it
	items := slices.DeleteFunc(outcomes, func(o outcome) bool { return !strings.HasPrefix(o.Status, "item-") })
	if len(items) != n {
		p.t.Fatalf("there are %d results, not %d:\n%s", len(items), n, printed)
	}
	return items
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dockerCommand runs the engine's own program.
func (p *plant) dockerCommand(args ...string) string {
	p.t.Helper()
	return p.command(testneed.Program(p.t, "docker"), append([]string{"-H", p.docker}, args...)...)
}
