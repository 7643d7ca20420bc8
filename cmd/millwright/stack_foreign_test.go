package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/testneed"
)

const (
	plantedAdmin = "planted-admin-4711"
	plantedUser  = "planted-line-4712"
)

// stackPlant is a copy of examples/stack on an engine of its own, with the real image.
type stackPlant struct {
	*instance
	docker string // the program
	host   string
}

// runtimeImage writes the real image of this program's version, as `make image` does.
func runtimeImage(t *testing.T, dir string) string {
	t.Helper()
	program, file := filepath.Join(dir, "runtime"), filepath.Join(dir, "image.tar.gz")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags", "timetzdata", "-ldflags", "-s -w -X main.version="+version,
		"-o", program, "../millwright-runtime")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", "../millwright-image", "--program", program,
		"--arch", runtime.GOARCH, "--version", version, "--revision", "0123456", "--out", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// newStackPlant copies the example, with ports and an image of this test.
func newStackPlant(t *testing.T) *stackPlant {
	t.Helper()
	p := &stackPlant{docker: testneed.Program(t, "docker"), host: testneed.OwnDocker(t), instance: newInstance(t)}
	if err := os.CopyFS(p.dir, os.DirFS(filepath.Join(docsRoot, "examples", "stack"))); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"DOCKER_HOST=" + p.host, "PLANT_A_ADMIN_PASSWORD=" + plantedAdmin, "LINE1_PASSWORD=" + plantedUser}
	p.edit("plant-a.yaml", "ports: {https: 443, http: 80, mqtts: 8883}",
		"ports: {https: "+p.http+", http: null, mqtts: "+p.mqtt+"}\n  pull: never\n  image_archive: "+runtimeImage(t, t.TempDir()))
	return p
}

// edit replaces text of a file, once.
func (p *stackPlant) edit(name, old, replacement string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	text := p.read(path)
	if !strings.Contains(text, old) {
		p.t.Fatalf("%q is not in %s", old, name)
	}
	p.write(name, strings.Replace(text, old, replacement, 1))
}

// exits runs a command that has to end with the code, shows no secret, and prints all texts.
func (p *stackPlant) exits(code int, args []string, texts ...string) string {
	p.t.Helper()
	stdout, stderr, got := p.run(args...)
	both := stdout + stderr
	if got != code {
		p.t.Fatalf("millwright %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, both)
	}
	for _, text := range texts {
		if !strings.Contains(both, text) {
			p.t.Errorf("millwright %s: %q is not in\n%s", strings.Join(args, " "), text, both)
		}
	}
	if strings.Contains(both, plantedAdmin) || strings.Contains(both, plantedUser) {
		p.t.Errorf("millwright %s shows a password:\n%s", strings.Join(args, " "), both)
	}
	return both
}

// containers are ids and start times, by name.
func (p *stackPlant) containers() map[string]string {
	p.t.Helper()
	started := map[string]string{}
	for _, part := range []string{"control", "broker", "mapper"} {
		started[part] = p.inspect("{{.Id}} {{.State.StartedAt}}", "plant-a-"+part+"-1")
	}
	return started
}

func (p *stackPlant) inspect(format, name string) string {
	p.t.Helper()
	out, err := exec.CommandContext(p.t.Context(), p.docker, "-H", p.host, "inspect", "--format", format, name).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// untouched fails unless the containers are those, running since then.
func (p *stackPlant) untouched(before map[string]string) {
	p.t.Helper()
	for part, now := range p.containers() {
		if now != before[part] {
			p.t.Errorf("%s is another container, or was started again", part)
		}
	}
}

// unchanged wants a pass that has nothing to do, and prints how long it takes.
func (p *stackPlant) unchanged() {
	p.t.Helper()
	before := p.containers()
	p.exits(0, []string{"plan", "plant-a.yaml", "--detailed-exitcode"}, "No changes.")
	began := time.Now()
	p.exits(0, []string{"apply", "plant-a.yaml"}, "No changes.") // it does not even ask
	p.t.Logf("an apply that changes nothing took %d ms", time.Since(began).Milliseconds())
	p.untouched(before)
}

// TestForeignStackInstance takes examples/stack through its life, on a real engine with the
// real image: one file is an instance, a role, a user and a service.
func TestForeignStackInstance(t *testing.T) {
	t.Parallel()
	p := newStackPlant(t)
	for _, step := range []struct {
		name string
		test func(*stackPlant)
	}{
		{"new", testStackNew},
		{"small changes", testStackSmallChanges},
		{"ports", testStackPorts},
		{"logs", testStackLogs},
		{"stopped", testStackStopped},
		{"destroyed", testStackDestroyed},
	} {
		if !t.Run(step.name, func(t *testing.T) { p.t = t; step.test(p) }) {
			t.Fatal("what follows needs this")
		}
	}
}

// A reviewed plan against nothing is applied exactly, once.
func testStackNew(p *stackPlant) {
	p.exits(2, []string{"plan", "plant-a.yaml", "--detailed-exitcode", "--out", "plan.json", "--max-disturbance", "none"},
		"+ instance/plant-a: does not exist yet", "+ instance/plant-a/container/mapper", "+ role/operators", "password: (sensitive, changed)",
		"+ service/press/endpoint/pressure", "planned against an empty one", "Plan: 19 to add, 0 to change, 0 to delete.")
	if text := p.read(filepath.Join(p.dir, "plan.json")); strings.Contains(text, plantedAdmin) || strings.Contains(text, plantedUser) {
		p.t.Error("the plan file holds a password")
	}
	p.exits(0, []string{"plan", "plant-a.yaml", "-o", "gitlab"}, `{"create":19,"update":0,"delete":0}`)
	p.exits(0, []string{"apply", "--plan", "plan.json", "--yes"}, "Applied: 19 added, 0 changed, 0 deleted.", `(context "plant-a")`)
	p.unchanged()
	p.exits(1, []string{"apply", "--plan", "plan.json", "--yes"}, "no longer what it was made for", "No changes.")
	p.exits(0, []string{"get", "services"}, "press")
	p.exits(0, []string{"logs", "--instance", "plant-a", "--part", "broker", "-n", "1", "--timeout", "30s"}, "broker  | ")
}

// An endpoint, and a bound of memory: one step each, and no container is started again.
func testStackSmallChanges(p *stackPlant) {
	before := p.containers()
	p.edit("press.yml", "address: 2, dataType: uint16BE, interval: 1000", "address: 2, dataType: uint16BE, interval: 500")
	p.exits(4, []string{"plan", "plant-a.yaml", "--max-disturbance", "none"}, "~ service/press/endpoint/pressure", "Plan: 0 to add, 1 to change, 0 to delete.")
	p.exits(0, []string{"apply", "plant-a.yaml", "--yes"}, "~ service/press/endpoint/pressure: done", "Applied: 0 added, 1 changed, 0 deleted.")

	p.edit("plant-a.yaml", "memory: 512m", "memory: 400m")
	out, _, _ := p.run("apply", "plant-a.yaml", "--yes", "-o", "json", "--max-disturbance", "none")
	var done plan.Plan
	if err := json.Unmarshal([]byte(out), &done); err != nil || !done.Applied {
		p.t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range done.Steps {
		if s.Result != plan.Done || s.Disturbs != plan.DisturbsNone || !strings.HasPrefix(s.Address, "instance/plant-a") {
			p.t.Errorf("got %+v", s)
		}
	}
	if got := p.inspect("{{.HostConfig.Memory}}", "plant-a-broker-1"); got != "419430400" {
		p.t.Errorf("the broker has %s bytes", got)
	}
	p.untouched(before)
	p.unchanged()
}

// A port that is taken is said before, and another one is changed to while the instance is
// reached where it still is.
func testStackPorts(p *stackPlant) {
	p.write("other.yaml", "stack: other\ninstance: {name: other, install_path: other, ports: {https: "+p.http+", http: null, mqtts: null}}\n")
	p.exits(0, []string{"plan", "other.yaml"}, "error: ", "+ instance/other/container/control")
	p.exits(1, []string{"apply", "other.yaml", "--yes"}, "cannot apply this plan: ")
	p.exits(3, []string{"plan", "plant-a.yaml", "--url", "https://elsewhere.example"}, "cannot use --url")

	p.write("wrong.yaml", "stack: other\ninstance:\n  prots: {https: 443}\n  limits: {broker: {memory: 1m}}\n")
	p.exits(3, []string{"apply", "wrong.yaml", "--yes"}, `wrong.yaml:3:3: error: unknown property "instance.prots" (did you mean "ports"?)`, "wrong.yaml:4:29: error: cannot limit broker to 1m")
	p.exits(3, []string{"validate", "wrong.yaml"}, "wrong.yaml:3:3: error")

	other := freePort(p.t)
	p.edit("plant-a.yaml", "https: "+p.http, "https: "+other)
	p.edit("plant-a.yaml", "{host: 10.0.0.7}", "{host: 10.0.0.8}")
	p.exits(0, []string{"plan", "plant-a.yaml"}, "/container/control: ports", "~ service/press/connection/plc")
	p.exits(0, []string{"apply", "plant-a.yaml", "--yes"}, "± instance/plant-a/container/control: done", "~ service/press/connection/plc: done")
	p.unchanged()
}

// The log of a part goes on where its container is started again.
func testStackLogs(p *stackPlant) {
	p.exits(1, []string{"logs", "--instance", "plant-a", "--part", "brokr"}, "those of instance \"plant-a\" are control, broker, mapper")
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	cmd := p.command(ctx, "logs", "--instance", "plant-a", "--part", "broker")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	lines := bufio.NewScanner(out)
	until := func(text string) {
		p.t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "broker  | ") && strings.Contains(lines.Text(), text) {
				return
			}
		}
		p.t.Fatalf("the log ended before %q", text)
	}
	until("INFO  running")
	if out, err := exec.CommandContext(ctx, p.docker, "-H", p.host, "restart", "plant-a-broker-1").CombinedOutput(); err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
	until("INFO  stopped")
	until("INFO  running")
}

// What an instance holds that does not run is not known: it is planned anew when it runs, and
// --yes is not said to more than was shown.
func testStackStopped(p *stackPlant) {
	p.edit("plant-a.yaml", "  name: plant-a\n", "  name: plant-a\n  state: stopped\n")
	p.exits(0, []string{"apply", "plant-a.yaml", "--yes"}, "roles, users and services are not planned: it is to be stopped", "container/mapper: done")
	p.exits(0, []string{"plan", "plant-a.yaml", "--detailed-exitcode"}, "No changes.")
	p.edit("plant-a.yaml", "  state: stopped\n", "")

	p.edit("press.yml", "interval: 500", "interval: 250")
	p.exits(0, []string{"plan", "plant-a.yaml"}, "~ instance/plant-a/container/control: is not running", "it does not run, and keeps what it held",
		"+ service/press: whether it is there already is known when the instance runs")
	p.exits(4, []string{"apply", "plant-a.yaml", "--yes"}, "The instance holds something already. On it, the plan is:",
		"~ instance/plant-a/container/control: done", "service/press/endpoint/pressure disturbs the endpoint, which --yes was not said to", "~ service/press/endpoint/pressure: skipped")
	p.exits(0, []string{"apply", "plant-a.yaml", "--yes"}, "Applied: 0 added, 1 changed, 0 deleted.")
	p.unchanged()
}

// Without the volumes' deletion an instance comes back as it was.
func testStackDestroyed(p *stackPlant) {
	p.exits(3, []string{"destroy", "plant-a.yaml"}, "- instance/plant-a: state absent was asked for", "its volumes stay", "add --yes")
	p.exits(0, []string{"destroy", "plant-a.yaml", "--yes"}, "- instance/plant-a/container/broker: done")
	p.exits(0, []string{"destroy", "plant-a.yaml", "--yes"}, "No changes.")
	p.exits(0, []string{"apply", "plant-a.yaml", "--yes"}, "it does not run, and keeps what it held", "+ instance/plant-a/container/broker: done", "Applied: 8 added")
	p.unchanged()

	p.exits(0, []string{"destroy", "plant-a.yaml", "--yes", "--delete-volumes", "-o", "json"}, "what it holds is lost", `"applied": true`)
	p.exits(3, []string{"destroy", "press.yml", "--delete-volumes", "--yes"}, "cannot use --delete-volumes")
	p.exits(0, []string{"plan", "plant-a.yaml"}, "it is not there yet", "Plan: 18 to add")
	if left, err := os.ReadDir(filepath.Join(p.dir, "deploy")); err != nil || len(left) > 0 {
		p.t.Errorf("left behind: %v, %v", left, err)
	}
}
