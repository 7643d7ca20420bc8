package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/image"
	"github.com/millwright/millwright/internal/testneed"
)

// TestForeignInstance deploys instances on an engine of the test's own.
func TestForeignInstance(t *testing.T) {
	t.Parallel()
	testneed.Program(t, "docker")
	host := testneed.OwnDocker(t)
	first := newDock(t, host)
	for _, version := range []string{"0.1.0", "0.2.0"} {
		load(t, host, first.archive("millwright/millwright:"+version))
	}
	t.Run("on it", func(t *testing.T) {
		for _, way := range []string{"local", "ssh"} {
			t.Run("matrix "+way, func(t *testing.T) {
				t.Parallel()
				testMatrix(t, newDock(t, host), way)
			})
		}
		for name, test := range map[string]func(*testing.T, *plant){
			"refusals": testRefusals, "ways": testWays, "planned": testPlanned, "secrets": testSecrets, "reference": testReference,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, newDock(t, host))
			})
		}
	})
}

// testMatrix holds the module to: create, again, --check says the same as apply, drift, delete,
// delete again. There is nothing to adopt: an instance has no owner.
func testMatrix(t *testing.T, p *plant, way string) {
	cases := "all"
	if way == "ssh" {
		p.overSSH()
		cases = "limits, docker rm, stop, start" // the others differ by what the engine does alone
	}
	found := ports(t, "https", "mqtts", "mqtt")
	p.variables = map[string]string{"more_port": found["mqtt"].(string), "cases": cases}
	delete(found, "mqtt")
	image := "millwright/" + way + ":0.1.0"
	p.options = p.with(map[string]any{
		"name": "matrix-" + way, "image": image, "image_archive": p.archive(image), "ports": found,
	})
	outcomes := p.must("matrix_instance.yml")
	t.Logf("%d results, %d changes", len(outcomes), changed(outcomes))
}

// refusal is a task that is refused, with what its message says.
type refusal struct {
	Name string         `json:"name"`
	Args map[string]any `json:"args"`
	Want string         `json:"want"`
}

// testRefusals asks for what cannot be: check mode says the same as without, nothing is done,
// and the message says what to do.
func testRefusals(t *testing.T, p *plant) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const name = "millwright/refusals"
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	archive := p.archive(name + ":0.1.0")
	whole, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	p.write("broken.tar", string(whole[:len(whole)/2]))
	p.options = p.with(map[string]any{"name": "refusals", "image": name, "image_archive": archive, "ports": ports(t, "https", "mqtts")})
	cases := []refusal{
		{"no engine", map[string]any{"docker_host": "unix:///nowhere/docker.sock"}, "hint: install Docker"},
		{"no address", map[string]any{"docker_host": "nowhere"}, "unix://PATH"},
		{"port taken", map[string]any{"ports": map[string]any{"https": taken.Addr().String(), "http": nil, "mqtts": nil}}, "hint: stop that, or choose another one: ports.https"},
		{"broken archive", map[string]any{"image_archive": "broken.tar"}, "hint: it is a file as `millwright image save`"},
		{"no archive", map[string]any{"image_archive": "nowhere.tar"}, "Searched in"},
		{"no archive on the target", map[string]any{"image_archive": "/nowhere.tar", "remote_src": true}, "no such file"},
		{"no archive at all", map[string]any{"image_archive": nil}, "hint: give image_archive"},
		{"another architecture", map[string]any{"image_archive": p.archive(name+"/other:0.1.0", func(o *image.Options) { o.Arch = other }), "image": name + "/other"}, "is for linux/" + other},
		{"another version's archive", map[string]any{"version": "0.3.0"}, "holds " + name + ":0.1.0, not " + name + ":0.3.0"},
		{"containers of services", map[string]any{"allow_containers": true}, "hint: leave allow_containers out"},
		{"unknown option", map[string]any{"prots": map[string]any{}}, "Unsupported parameters for (millwright.shopfloor.instance) module: prots"},
		{"unknown port", map[string]any{"ports": map[string]any{"ftp": 21}}, "ports.ftp"},
		{"no port", map[string]any{"ports": map[string]any{"https": 70000}}, "ports.https"},
		{"unknown state", map[string]any{"state": "up"}, "value of state must be one of: started, stopped, restarted, absent, got: up"},
		{"nothing to stop", map[string]any{"state": "stopped"}, "there is none on this engine"},
		{"half a certificate", map[string]any{"certificate": "x"}, "give both"},
		{"limits of nobody", map[string]any{"limits": map[string]any{"north": map[string]any{"cpus": 1}}}, "the parts of this instance are"},
		{"limits that are none", map[string]any{"limits": map[string]any{"broker": map[string]any{"disk": 1}}}, "limits.broker.disk"},
	}
	p.write("cases.json", encoded(t, map[string]any{"cases": cases}))
	for _, o := range p.refused("refusals.yml", 2*len(cases), "-e", "@cases.json") {
		at, _ := o.Result["case"].(map[string]any)
		msg, _ := o.Result["msg"].(string)
		want, _ := at["want"].(string)
		if o.Status != "item-failed" || want == "" || !strings.Contains(msg, want) || o.Result["changed"] != false {
			t.Errorf("%s: %v: %s: %s", o.Task, at["name"], o.Status, msg)
		}
	}
	if left := p.dockerCommand("ps", "-aq", "--filter", "name=refusals") + p.dockerCommand("volume", "ls", "-q", "--filter", "name=refusals"); left != "" {
		t.Errorf("something was done: %s", left)
	}
}

// testWays deploys from tasks that run in the background and as other users.
func testWays(t *testing.T, p *plant) {
	testneed.Root(t)
	testneed.Program(t, "sudo")
	p.overSSH()
	const name = "millwright/ways"
	p.options = p.with(map[string]any{"name": "ways", "image": name, "image_archive": p.archive(name + ":0.1.0"), "ports": ports(t, "https", "mqtts")})
	dir := t.TempDir()
	p.command("chmod", "711", filepath.Dir(dir), filepath.Dir(p.docker[len("unix://"):]))
	p.command("chown", "nobody", dir)
	p.variables = map[string]string{"nobody_dir": dir}
	p.must("ways.yml")
}
