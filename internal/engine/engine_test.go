package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/millwright/millwright/internal/image"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// plant is an engine with images of a stand-in for the runtime, and one instance on it.
type plant struct {
	t      testing.TB
	engine *Engine
	given  spec.Instance
	dir    string
}

const testImage = "millwright-test/standin"

// open connects to a Docker engine of the test's own or the system's.
func open(t testing.TB, host string) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Options{Host: host, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// archive writes an image of the stand-in; mode is well, sick or crash.
func archive(t testing.TB, dir, tag, mode, arch string) string {
	t.Helper()
	program := filepath.Join(dir, "standin-"+mode)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -X main.mode="+mode, "-o", program, "./testdata/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = image.Write(&b, image.Options{
		Tag: testImage + ":" + tag, Arch: arch, Program: binary, Roots: []byte("none\n"), Created: time.Unix(int64(len(tag)), 0),
		Labels: map[string]string{"tag": tag}, Entrypoint: render.Program, UserID: render.UserID, Owned: []string{render.DataDir, render.SecretsDir},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, tag+".tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// newPlant declares an instance of its own name and ports, and removes it at the end.
func newPlant(t testing.TB, e *Engine, archive string) *plant {
	t.Helper()
	p := &plant{t: t, engine: e, dir: t.TempDir()}
	p.given = spec.Instance{
		Name: fmt.Sprintf("t%d", time.Now().UnixNano()%1_000_000_000), InstallPath: p.dir, Image: testImage, Version: "1.0.0",
		ImageArchive: archive, Pull: spec.PullNever, WaitTimeout: 60,
		Ports: spec.Ports{spec.PortHTTPS: freePort(t), spec.PortHTTP: "", spec.PortMQTTS: freePort(t), spec.PortMQTT: ""},
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own has ended
		defer cancel()
		pass, err := e.Plan(ctx, spec.Instance{Name: p.given.Name, State: spec.Absent, DeleteVolumes: true, InstallPath: p.dir}, testDefaults())
		if err == nil {
			_, err = e.Apply(ctx, pass, nil)
		}
		if err != nil {
			t.Errorf("cannot remove the instance: %v", err)
		}
	})
	return p
}

func testDefaults() spec.InstanceDefaults {
	return spec.InstanceDefaults{Version: "1.0.0", Timezone: "UTC"}
}

// freePort is one that nobody listens on, below those that outgoing connections get.
func freePort(t testing.TB) spec.Port {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return spec.Port(address)
		}
	}
	t.Fatal("no port is free")
	return ""
}

// plan looks at the instance.
func (p *plant) plan(change ...func(*spec.Instance)) *Pass {
	p.t.Helper()
	given := p.given
	for _, c := range change {
		c(&given)
	}
	pass, err := p.engine.Plan(p.t.Context(), given, testDefaults())
	if err != nil {
		p.t.Fatal(err)
	}
	return pass
}

// apply changes the instance, and makes sure that a second pass has nothing to do.
func (p *plant) apply(change ...func(*spec.Instance)) string {
	p.t.Helper()
	pass := p.plan(change...)
	done, err := p.engine.Apply(p.t.Context(), pass, nil)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, done)
	}
	if pass.Instance.State != spec.Restarted {
		p.empty(change...)
	}
	return p.named(pass.Plan.String())
}

func (p *plant) empty(change ...func(*spec.Instance)) {
	p.t.Helper()
	if again := p.plan(change...); !again.Plan.Empty() {
		p.t.Errorf("a second pass has something to do:\n%s", again.Plan)
	}
}

// named replaces what differs from run to run.
func (p *plant) named(text string) string { return strings.ReplaceAll(text, p.given.Name, "NAME") }

// identities are the containers' ids and start times, by part.
func (p *plant) identities() map[string]string {
	p.t.Helper()
	ids := map[string]string{}
	for _, part := range []string{spec.PartControl, spec.PartBroker, spec.PartMapper} {
		c, err := p.engine.api.ContainerInspect(p.t.Context(), p.container(part))
		if err != nil {
			p.t.Fatal(err)
		}
		ids[part] = c.ID + " " + c.State.StartedAt
	}
	return ids
}

func (p *plant) container(part string) string { return p.given.Name + "-" + part + "-1" }

// kept fails unless exactly the parts named are other containers, or started anew.
func (p *plant) kept(before map[string]string, changed ...string) {
	p.t.Helper()
	for part, id := range p.identities() {
		isChanged := false
		for _, c := range changed {
			isChanged = isChanged || c == part
		}
		if (id != before[part]) != isChanged {
			p.t.Errorf("%s: changed is %v, want %v", part, id != before[part], isChanged)
		}
	}
}

// has fails unless the text holds each line.
func has(t testing.TB, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l) {
			t.Errorf("%q is not in:\n%s", l, text)
		}
	}
}

func TestForeignInstance(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	well := archive(t, dir, "1.0.0", "well", runtime.GOARCH)
	p := newPlant(t, e, well)

	t.Run("create", func(t *testing.T) {
		p.t = t
		text := p.apply()
		has(t, text, "+ instance/NAME: does not exist yet", "+ instance/NAME/image/"+testImage+":1.0.0: the engine does not have it: it is loaded from",
			"+ instance/NAME/volume/NAME_broker: does not exist yet", "+ instance/NAME/secrets: there are none yet",
			"+ instance/NAME/file/docker-compose.yml: does not exist yet", "+ instance/NAME/container/mapper: does not exist yet")
	})
	t.Run("access", func(t *testing.T) {
		p.t = t
		a, err := e.Access(t.Context(), p.plan().Instance)
		if err != nil || a.Token != "a token" || a.CA != "a certificate\n" || !strings.HasPrefix(a.URL, "https://localhost:") {
			t.Errorf("got %+v, %v", a, err)
		}
		if password, err := e.AdminPassword(t.Context(), p.given.Name); err != nil || len(password) < 40 {
			t.Errorf("got a password of %d characters, %v", len(password), err)
		}
		if _, err := e.Access(t.Context(), spec.Instance{Name: "nobody"}); spec.KindOf(err) != spec.NotFound {
			t.Errorf("got %v", err)
		}
	})
	t.Run("again", func(t *testing.T) {
		p.t = t
		p.empty()
		p.empty(func(i *spec.Instance) { *i = spec.Instance{Name: i.Name, InstallPath: i.InstallPath} }) // the rest is remembered
	})
	t.Run("drift", func(t *testing.T) { p.t = t; testDrift(t, p) })
	t.Run("settings", func(t *testing.T) { p.t = t; testSettings(t, p) })
	t.Run("upgrade", func(t *testing.T) { p.t = t; testUpgrade(t, p, dir) })
	t.Run("states", func(t *testing.T) { p.t = t; testStates(t, p) })
}

func testDrift(t *testing.T, p *plant) {
	api, ctx := p.engine.api, t.Context()
	compose := filepath.Join(p.dir, render.ComposeFile)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		harm    func()
		want    []string
		changed []string
	}{
		{
			"docker stop", func() { must(api.ContainerStop(ctx, p.container("broker"), container.StopOptions{})) },
			[]string{"~ instance/NAME/container/broker: is not running: exited (exit code 0)"},
			[]string{"broker"},
		},
		{
			"docker pause", func() { must(api.ContainerPause(ctx, p.container("mapper"))) },
			[]string{"~ instance/NAME/container/mapper: is not running: paused"},
			nil,
		},
		{
			"docker update", func() {
				_, err := api.ContainerUpdate(ctx, p.container("mapper"), container.UpdateConfig{
					Resources: container.Resources{Memory: 100 << 20, MemorySwap: 100 << 20},
				})
				must(err)
			},
			[]string{"~ instance/NAME/container/mapper: memory changed outside", "memory: 104857600 → 268435456"},
			nil,
		},
		{
			"docker rm -f", func() { must(p.engine.removeContainer(ctx, p.container("control"))) },
			[]string{"+ instance/NAME/container/control: was removed outside"},
			[]string{"control"},
		},
		{
			"docker rename", func() { must(api.ContainerRename(ctx, p.container("mapper"), p.given.Name+"-odd")) },
			[]string{"~ instance/NAME/container/mapper: name changed outside", `name: "NAME-odd" → "NAME-mapper-1"`},
			nil,
		},
		{
			"edited file", func() { must(os.WriteFile(compose, []byte("services: {}\n"), 0o644)) },
			[]string{"~ instance/NAME/file/docker-compose.yml: was edited outside"},
			nil,
		},
		{
			"mode of .env", func() { must(os.Chmod(filepath.Join(p.dir, render.EnvFile), 0o644)) },
			[]string{"~ instance/NAME/file/.env: its mode was changed outside", `mode: "0644" → "0600"`},
			nil,
		},
		{
			"removed volume", func() {
				must(p.engine.removeContainer(ctx, p.container("broker")))
				must(api.VolumeRemove(ctx, p.given.Name+"_broker", false))
			},
			[]string{"+ instance/NAME/volume/NAME_broker: was removed outside", "+ instance/NAME/container/broker: was removed outside"},
			[]string{"broker"},
		},
		{
			"container prune", func() { must(p.engine.removeContainer(ctx, recordName(p.given.Name))) },
			[]string{"~ instance/NAME: the record of what was applied was removed outside"},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			before := p.identities()
			c.harm()
			has(t, p.apply(), c.want...)
			p.kept(before, c.changed...)
		})
	}
	if text, err := os.ReadFile(compose + backupSuffix); err != nil || string(text) != "services: {}\n" {
		t.Errorf("what was edited is not kept: %q, %v", text, err)
	}
}

func testSettings(t *testing.T, p *plant) {
	before := p.identities()
	p.given.Limits = map[string]spec.Limit{"broker": {Memory: "400m"}}
	has(t, p.apply(), "~ instance/NAME: limits.broker.memory changed", "~ instance/NAME/container/broker: memory changed\n")
	p.kept(before)

	p.given.Env = map[string]string{"PLANT": "hall $1"}
	has(t, p.apply(), "± instance/NAME/container/control: environment.PLANT changed\n", `environment.PLANT: + "hall $1"`)
	p.kept(before, "control", "broker", "mapper")

	before = p.identities()
	password := "a secret of the admin"
	p.given.AdminPassword = &password
	text := p.apply()
	has(t, text, "~ instance/NAME/secrets: admin-password changed", "admin-password: (sensitive, changed)")
	if strings.Contains(text, password) {
		t.Error("the password is shown")
	}
	p.kept(before, "control")
	noSecretShown(t, p, password)
	testAdminPassword(t, p)

	before = p.identities()
	p.given.Agents = []string{"north"}
	has(t, p.apply(), "+ instance/NAME/container/north: does not exist yet", "+ instance/NAME/volume/NAME_north: does not exist yet")
	p.given.Agents = []string{}
	has(t, p.apply(), "- instance/NAME/container/north: is no longer declared")
	p.kept(before)
}

// testAdminPassword: somebody changed the admin's password in the instance. A pass that is not
// given one lets it be; one that is given it sets it again.
func testAdminPassword(t *testing.T, p *plant) {
	before := p.identities()
	content, err := secretsArchive([]plan.Secret{{Name: adminAppliedFile, Content: []byte("\n")}})
	if err == nil {
		err = p.engine.api.CopyToContainer(t.Context(), p.container("control"), render.DataDir, content, container.CopyToContainerOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.empty(func(i *spec.Instance) { i.AdminPassword = nil })
	has(t, p.apply(), "~ instance/NAME/secrets: admin-password is not the admin's any more", "admin-password: (sensitive, changed)")
	p.kept(before, "control")
}

// noSecretShown looks for the password, and for every other secret, in all that docker inspect
// and the files show.
func noSecretShown(t *testing.T, p *plant, password string) {
	t.Helper()
	pass := p.plan()
	secrets, err := p.engine.readSecrets(t.Context(), pass.actual.recordID)
	if err != nil {
		t.Fatal(err)
	}
	known := false
	for _, s := range secrets {
		known = known || s.Name == render.SecretAdminPassword && string(s.Content) == password
	}
	if !known || len(secrets) != 4 {
		t.Errorf("there are %d secrets; the password is among them: %v", len(secrets), known)
	}
	shown := []string{}
	for _, name := range []string{p.container("control"), p.container("broker"), p.container("mapper"), recordName(p.given.Name)} {
		_, raw, err := p.engine.api.ContainerInspectWithRaw(t.Context(), name, false)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(raw))
	}
	for _, f := range pass.desired.Files {
		shown = append(shown, string(f.Content))
	}
	for _, text := range shown {
		for _, s := range secrets {
			if strings.Contains(text, string(s.Content)) {
				t.Errorf("the secret %s is shown", s.Name)
			}
		}
	}
}

func testUpgrade(t *testing.T, p *plant, dir string) {
	before := p.identities()
	p.given.Version, p.given.ImageArchive = "2.0.0", archive(t, dir, "2.0.0", "sick", runtime.GOARCH)
	pass := p.plan(func(i *spec.Instance) { i.WaitTimeout = 3 })
	has(t, p.named(pass.Plan.String()), "~ instance/NAME: version changed", "± instance/NAME/container/control: image changed")
	done, err := p.engine.Apply(t.Context(), pass, nil)
	if err == nil {
		t.Fatal("a sick image was taken")
	}
	has(t, p.named(err.Error()), "cannot bring up container NAME-control-1: it is not healthy after 3s; its last lines:\n  line 11 of a sick one", "line 30 of a sick one",
		"the previous container NAME-control-1 was put back")
	has(t, p.named(done.String()), "/container/control: image changed [failed]", "/container/broker: image changed [skipped]")
	if text, err := os.ReadFile(filepath.Join(p.dir, render.ComposeFile)); err != nil || strings.Contains(string(text), "2.0.0") {
		t.Errorf("the compose file says what does not run: %v", err)
	}
	p.kept(map[string]string{"control": "put back, so started again", "broker": before["broker"], "mapper": before["mapper"]}, "control")

	p.given.ImageArchive = archive(t, dir, "2.0.1", "crash", runtime.GOARCH)
	p.given.Version = "2.0.1"
	if _, err = p.engine.Apply(t.Context(), p.plan(), nil); err == nil {
		t.Fatal("a crashing image was taken")
	}
	has(t, err.Error(), "exit code 7", "line 30 of a crash one", "was put back")

	p.given.Version, p.given.ImageArchive = "2.1.0", archive(t, dir, "2.1.0", "well", runtime.GOARCH)
	p.apply()
	p.kept(before, "control", "broker", "mapper")

	older := p.plan(func(i *spec.Instance) { i.Version = "1.0.0" })
	has(t, older.Plan.String(), "error: cannot go from version 2.1.0 back to 1.0.0 (allow_downgrade")
	if _, err := p.engine.Apply(t.Context(), older, nil); spec.KindOf(err) != spec.Conflict {
		t.Errorf("a downgrade is not refused: %v", err)
	}
	p.kept(p.identities())
}

func testStates(t *testing.T, p *plant) {
	stopped := func(i *spec.Instance) { i.State = spec.Stopped }
	has(t, p.apply(stopped), "~ instance/NAME/container/mapper: state stopped was asked for", "running: true → false")
	has(t, p.apply(), "~ instance/NAME/container/broker: is not running: exited")
	before := p.identities()
	has(t, p.apply(func(i *spec.Instance) { i.State = spec.Restarted }), "~ instance/NAME/container/control: state restarted was asked for")
	p.kept(before, "control", "broker", "mapper")

	absent := func(i *spec.Instance) { i.State = spec.Absent }
	text := p.apply(absent)
	has(t, text, "- instance/NAME: state absent was asked for", "- instance/NAME/file/.env")
	if strings.Contains(text, "/volume/") {
		t.Errorf("volumes are deleted:\n%s", text)
	}
	if _, err := p.engine.Plan(t.Context(), spec.Instance{Name: p.given.Name, State: spec.Stopped}, testDefaults()); spec.KindOf(err) != spec.NotFound {
		t.Errorf("an instance that is not there was stopped: %v", err)
	}
	p.apply()
	has(t, p.apply(absent, func(i *spec.Instance) { i.DeleteVolumes = true }), "- instance/NAME/volume/NAME_broker: delete_volumes was asked for")
	if left := p.plan(absent).actual; len(left.Volumes)+len(left.Containers) > 0 || left.Network != nil {
		t.Errorf("left behind: %+v", left)
	}
}
