package engine

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	"golang.org/x/crypto/bcrypt"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

const (
	registryUser     = "plant"
	registryPassword = "the-registry's-password"
)

// imageRegistry is a Docker registry that lets one user in. It can be ended before the test is.
type imageRegistry struct {
	address string
	end     func()
}

func newRegistry(t *testing.T) imageRegistry {
	t.Helper()
	program := testneed.Program(t, "docker-registry")
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, config := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "config.yml")
	r := imageRegistry{address: string(freePort(t))}
	write(t, users, []byte(registryUser+":"+string(hash)+"\n"))
	write(t, config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
auth: {htpasswd: {realm: plant, path: %q}}
`, filepath.Join(dir, "data"), r.address, users))
	var log bytes.Buffer
	cmd := exec.Command(program, "serve", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	r.end = func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // of the signal
		if t.Failed() {
			t.Log(log.String())
		}
	}
	t.Cleanup(r.end)
	until(t, "the registry answers", func() error {
		response, err := http.Get("http://" + r.address + "/v2/")
		if err == nil {
			err = response.Body.Close()
		}
		return err
	})
	return r
}

// push puts an image of the stand-in into the registry, under a tag of its own there, and takes
// it from the engine.
func (r imageRegistry) push(t *testing.T, e *Engine, archive, tag, there string) {
	t.Helper()
	if _, err := e.LoadImage(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	reference := r.address + "/plant/standin:" + there
	if err := e.api.ImageTag(t.Context(), testImage+":"+tag, reference); err != nil {
		t.Fatal(err)
	}
	auth, err := login(&spec.Registry{Server: r.address, Username: registryUser, Password: registryPassword})
	if err != nil {
		t.Fatal(err)
	}
	progress, err := e.api.ImagePush(t.Context(), reference, image.PushOptions{RegistryAuth: auth})
	if err == nil {
		err = progressError(progress)
		progress.Close()
	}
	if err != nil {
		t.Fatalf("cannot push: %v", err)
	}
	for _, name := range []string{reference, testImage + ":" + tag} {
		if _, err := e.api.ImageRemove(t.Context(), name, image.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// Images come from a registry that asks who it is: when they are missing, always or never.
func TestForeignRegistry(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	first, second := archive(t, dir, "1.0.0", "well", runtime.GOARCH), archive(t, dir, "1.0.1", "well", runtime.GOARCH)
	r.push(t, e, first, "1.0.0", "1.0.0")
	reference := r.address + "/plant/standin:1.0.0"

	p := newPlant(t, e, "")
	p.given.Image, p.given.Pull = "plant/standin", ""
	p.given.Registry = &spec.Registry{Server: r.address, Username: registryUser, Password: registryPassword}
	with := func(pull spec.PullPolicy) func(*spec.Instance) {
		return func(i *spec.Instance) { i.Pull = pull }
	}
	hidden := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if strings.Contains(text, registryPassword) {
				t.Errorf("the password is shown:\n%s", text)
			}
		}
	}
	same := func(pull spec.PullPolicy) { // but for the policy itself
		t.Helper()
		text := p.plan(with(pull)).Plan.String()
		if strings.Contains(text, "/image/") || strings.Contains(text, "/container/") || strings.Contains(text, "error:") {
			t.Errorf("pull: %s changes something:\n%s", pull, text)
		}
	}
	refused := func(want string, change ...func(*spec.Instance)) {
		t.Helper()
		pass := p.plan(change...)
		_, err := e.Apply(t.Context(), pass, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
			return
		}
		hidden(pass.Plan.String(), err.Error())
	}

	refused("and pull is never", with(spec.PullNever))
	refused("the registry wants to know who asks", func(i *spec.Instance) { i.Registry = &spec.Registry{Server: r.address} })
	refused("cannot pull image "+reference+": the registry refuses user \""+registryUser+"\"", func(i *spec.Instance) {
		i.Registry = &spec.Registry{Server: r.address, Username: registryUser, Password: "another one"}
	})
	refused("plant/standin:9.9.9: the registry has no such image", func(i *spec.Instance) { i.Version = "9.9.9" })
	if after := p.plan().actual; after.Exists() || len(after.Volumes) > 0 {
		t.Errorf("something was done: %+v", after)
	}

	text := p.apply()
	has(t, text, "+ instance/NAME/image/"+reference+": the engine does not have it: it is pulled")
	hidden(text)
	p.hides(t, registryPassword)
	before := p.identities()
	same(spec.PullNever)
	same(spec.PullAlways) // it is the registry's

	mine := p.plan().desired.Image.ID
	r.push(t, e, second, "1.0.1", "1.0.0") // under the name of the one before
	if err := e.api.ImageTag(t.Context(), mine, reference); err != nil {
		t.Fatal(err)
	}
	same(spec.PullMissing)
	always := p.plan(with(spec.PullAlways))
	has(t, p.named(always.Plan.String()), "~ instance/NAME/image/"+reference+": the registry has another one", "± instance/NAME/container/broker: is not made from the image that its tag names now")
	p.kept(before)
	p.apply(with(spec.PullAlways))
	p.kept(before, "control", "broker", "mapper")

	before = p.identities()
	r.end()
	same(spec.PullMissing)
	refused("cannot ask the registry for "+reference, with(spec.PullAlways))
	refused("cannot pull image "+r.address+"/plant/standin:1.0.2: ", func(i *spec.Instance) { i.Version = "1.0.2" })
	p.kept(before)
}

// hides fails where docker inspect or the files show the secret.
func (p *plant) hides(t *testing.T, secret string) {
	t.Helper()
	pass := p.plan()
	var shown []string
	for _, f := range pass.actual.Files {
		shown = append(shown, string(f.Content))
	}
	for _, name := range []string{p.container("control"), p.container("broker"), p.container("mapper"), recordName(p.given.Name)} {
		_, raw, err := p.engine.api.ContainerInspectWithRaw(t.Context(), name, false)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(raw))
	}
	for _, text := range shown {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is shown:\n%s", text)
		}
	}
}
