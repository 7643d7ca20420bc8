package engine

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// Port http that somebody else has stays closed, with a warning and without a plan that never
// becomes empty; once it is free the plan opens it.
func TestForeignPortHTTP(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	p.given.Ports[spec.PortHTTP] = spec.Port(port)
	const warned = "(http) is taken by process "

	has(t, p.plan().Plan.String(), "warning: port ", warned, "it stays closed")
	p.apply()
	published(t, p, port, false)
	if again := p.plan(); !again.Plan.Empty() || !strings.Contains(again.Plan.String(), warned) {
		t.Errorf("a second pass:\n%s", again.Plan)
	}
	before := p.identities()
	taken.Close()
	has(t, p.apply(), `± instance/NAME/container/control: port http is free now: command and ports["8081"] changed`, "~ instance/NAME/file/docker-compose.yml: its settings changed")
	p.kept(before, "control")
	published(t, p, port, true)

	// Ours, it is no stranger's; not ours, it is given up.
	before = p.identities()
	if err := e.api.ContainerStop(t.Context(), p.container("control"), container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if taken, err = net.Listen("tcp", port); err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	has(t, p.apply(), "± instance/NAME/container/control: port http is not to be had any more: command", "is not running", "~ instance/NAME/file/docker-compose.yml: its settings changed", warned)
	p.kept(before, "control")
	published(t, p, port, false)
	taken.Close()
	p.apply()

	closed := func(i *spec.Instance) { i.Ports[spec.PortHTTPS] = "" }
	has(t, p.plan(closed).Plan.String(), "warning: ports.http stays closed: it redirects to https, and ports.https is closed")
	p.apply(closed)
	published(t, p, port, false)
}

// published tells whether the compose file publishes the port, as the container does.
func published(t *testing.T, p *plant, port string, want bool) {
	t.Helper()
	c, err := p.engine.api.ContainerInspect(t.Context(), p.container("control"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, render.ComposeFile))
	if err != nil {
		t.Fatal(err)
	}
	_, number, _ := strings.Cut(port, ":")
	if got := len(c.HostConfig.PortBindings["8081/tcp"]) == 1; got != want {
		t.Errorf("the container publishes it: %v, want %v", got, want)
	}
	if got := strings.Contains(string(text), `published: "`+number+`"`); got != want {
		t.Errorf("the compose file publishes it: %v, want %v", got, want)
	}
}

// What an engine without root's rights, or one that is confined, cannot do.
func TestConfinedEngines(t *testing.T) {
	settled, err := (spec.Instance{Ports: spec.Ports{spec.PortMQTT: "1883", spec.PortMQTTS: "127.0.0.1:700"}}).Over(nil, spec.InstanceDefaults{Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	rootless := system.Info{SecurityOptions: []string{"name=seccomp,profile=default", "name=rootless", "name=cgroupns"}}
	e := &Engine{host: "tcp://192.0.2.1:2376"} // whose host's settings cannot be seen
	p := &Pass{Instance: settled, info: rootless, actual: &observation{}}
	found := e.leaveClosed(t.Context(), p)
	if len(found) != 1 || found[0].Severity != spec.SeverityWarning || !strings.Contains(found[0].Message, "port 80 (http) is one that a rootless engine cannot open") {
		t.Errorf("got %+v", found)
	}
	if p.desired, err = e.deployment(p, settled, p.closed); err != nil {
		t.Fatal(err)
	}
	found = e.rootlessPorts(p)
	if len(found) != 2 || !strings.Contains(found[0].Message, "port 443") || !strings.Contains(found[1].Message, "port 700") ||
		found[0].Severity != spec.SeverityError || !strings.Contains(found[0].Hint, "from 1024 on") {
		t.Errorf("got %+v", found)
	}
	p.info = system.Info{DockerRootDir: "/var/snap/docker/common/var-lib-docker", SecurityOptions: []string{"name=seccomp,profile=default"}}
	if found = e.rootlessPorts(p); len(found) != 0 {
		t.Errorf("an engine of root's: got %+v", found)
	}
	if found = fromSnap(p); len(found) != 1 || found[0].Severity != spec.SeverityWarning || !strings.Contains(found[0].Message, "snap") {
		t.Errorf("got %+v", found)
	}
	p.info.DockerRootDir = "/var/lib/docker"
	if found = fromSnap(p); len(found) != 0 {
		t.Errorf("got %+v", found)
	}
}
