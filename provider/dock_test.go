package provider_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/client"
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

var runtimeBuilt runtimeProgram

func (p *runtimeProgram) build(t testing.TB) []byte {
	t.Helper()
	p.once.Do(func() {
		path := filepath.Join(os.Getenv("MILLWRIGHT_CONFIG"), "..", "millwright-runtime")
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "timetzdata", "-ldflags", "-s -w", "-o", path, "../cmd/millwright-runtime")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("%w\n%s", err, out)
			return
		}
		p.binary, p.err = os.ReadFile(path)
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.binary
}

// dock is a workspace beside a Docker engine of its own.
type dock struct {
	*workspace
	host   string
	config string // the context file
}

// newDock starts an engine that has the images millwright/plant:0.1.0 and 0.2.0.
func newDock(t *testing.T) *dock {
	t.Helper()
	testneed.Program(t, "docker")
	d := another(t, testneed.OwnDocker(t))
	for _, version := range []string{"0.1.0", "0.2.0"} {
		d.load(d.archive("millwright/plant:" + version))
	}
	return d
}

// another is a further workspace beside an engine.
func another(t *testing.T, host string) *dock {
	t.Helper()
	d := &dock{workspace: newWorkspace(t), host: host}
	d.config = filepath.Join(d.dir, "millwright", "config.yaml")
	d.env = append(d.env, "MILLWRIGHT_CONFIG="+d.config, "DOCKER_HOST="+d.host)
	return d
}

// archive writes an image of the runtime.
func (d *dock) archive(name string) string {
	d.t.Helper()
	return d.archiveOf(name, runtimeBuilt.build(d.t))
}

func (d *dock) archiveOf(name string, program []byte) string {
	d.t.Helper()
	path := filepath.Join(d.dir, strings.NewReplacer("/", "_", ":", "_").Replace(name)+".tar")
	file, err := os.Create(path)
	if err == nil {
		err = errors.Join(image.Write(file, image.Options{
			Tag: name, Arch: runtime.GOARCH, Program: program, Roots: []byte("none\n"), Created: time.Unix(0, 0),
			Labels: map[string]string{"name": name}, Entrypoint: render.Program, UserID: render.UserID, Owned: []string{render.DataDir, render.SecretsDir},
		}), file.Close())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return path
}

// load gives the engine the image of an archive.
func (d *dock) load(archive string) {
	d.t.Helper()
	e, err := engine.Open(d.t.Context(), engine.Options{Host: d.host, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := e.LoadImage(d.t.Context(), archive); errors.Join(err, e.Close()) != nil {
		d.t.Fatal(err)
	}
}

// read returns what a file of the workspace holds.
func (d *dock) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// docker runs the engine's own program.
func (d *dock) docker(args ...string) string {
	d.t.Helper()
	out, err := exec.CommandContext(d.t.Context(), testneed.Program(d.t, "docker"), append([]string{"-H", d.host}, args...)...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// id is the id of a container.
func (d *dock) id(container string) string { return d.docker("inspect", "-f", "{{.Id}}", container) }

// client reaches an instance as its context says.
func (d *dock) client(context string) *client.Client {
	d.t.Helper()
	s, _, err := client.Resolve(client.Given{Context: context}, func(name string) string { return map[string]string{"MILLWRIGHT_CONFIG": d.config}[name] })
	if err != nil {
		d.t.Fatal(err)
	}
	c, err := client.New(s, "", slog.New(slog.DiscardHandler))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(c.Close)
	return c
}

// apply applies, and checks that a plan is empty afterwards.
func (d *dock) apply() string {
	d.t.Helper()
	out := d.must("apply", "-auto-approve", "-input=false")
	d.settled()
	return out
}

// plan plans a change.
func (d *dock) plan(args ...string) string {
	d.t.Helper()
	out, code := d.run(append([]string{"plan", "-detailed-exitcode", "-input=false"}, args...)...)
	if code != 2 {
		d.t.Fatalf("plan: exit %d\n%s", code, out)
	}
	return out
}

// shows checks what Terraform printed.
func (d *dock) shows(what, out string, wants ...string) {
	d.t.Helper()
	for _, want := range wants {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			d.t.Errorf("%s does not show %q:\n%s", what, want, out)
		}
	}
}

// refused plans what cannot be.
func (d *dock) refused(what string, wants ...string) {
	d.t.Helper()
	out, code := d.run("plan", "-input=false")
	if code != 1 {
		d.t.Errorf("%s: exit %d\n%s", what, code, out)
	}
	d.shows(what, out, wants...)
}

// freePorts are the ports of an instance at which nobody listens.
func freePorts(t *testing.T) string {
	t.Helper()
	found := make([]string, 2)
	for i := range found {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		found[i] = l.Addr().String()
	}
	return fmt.Sprintf("{ https = %q, http = \"\", mqtts = %q }", found[0], found[1])
}
