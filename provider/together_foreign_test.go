package provider_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
)

// ansible is a folder from which playbooks are run against an instance.
type ansible struct {
	t   *testing.T
	dir string
	env []string
	*instance
}

// newAnsible builds and installs the collection.
func newAnsible(t *testing.T, i *instance) *ansible {
	t.Helper()
	a := &ansible{t: t, dir: t.TempDir(), instance: i}
	collections := filepath.Join(a.dir, "collections")
	a.env = append(os.Environ(), "HOME="+a.dir, "ANSIBLE_HOME="+a.dir, "ANSIBLE_COLLECTIONS_PATH="+collections, "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0")
	a.command("make", "-C", "..", "collection", "COLLECTION_DIR="+filepath.Join(a.dir, "build", "collection"), "COLLECTION_PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
	archives, err := filepath.Glob(filepath.Join(a.dir, "build", "*.tar.gz"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	a.command(testneed.Program(t, "ansible-galaxy"), "collection", "install", archives[0], "-p", collections)
	return a
}

func (a *ansible) command(name string, args ...string) string {
	a.t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(a.t.Context(), name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.env, &out, &out
	if err := cmd.Run(); err != nil {
		a.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

var changedTasks = regexp.MustCompile(`changed=(\d+)`)

// changes runs a playbook of the tasks, and checks how many of them change something.
func (a *ansible) changes(want string, tasks []map[string]any, flags ...string) {
	a.t.Helper()
	playbook, err := json.Marshal([]map[string]any{{
		"hosts": "localhost", "connection": "local", "gather_facts": false, "tasks": tasks,
		"module_defaults": map[string]any{"group/millwright.shopfloor.all": map[string]any{"api_url": a.url, "api_token": a.token}},
	}})
	if err == nil {
		err = os.WriteFile(filepath.Join(a.dir, "play.json"), playbook, 0o600)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	out := a.command(testneed.Program(a.t, "ansible-playbook"), append([]string{"--diff", filepath.Join(a.dir, "play.json")}, flags...)...)
	if got := changedTasks.FindStringSubmatch(out); got == nil || got[1] != want {
		a.t.Fatalf("changed: %v, not %s\n%s", got, want, out)
	}
}

// bothWays is one plant as both tools declare it.
type bothWays struct {
	text, line, topic, password, version string
}

func (b bothWays) tasks() []map[string]any {
	return []map[string]any{
		{"millwright.shopfloor.role": map[string]any{"name": "operators", "permissions": []any{map[string]any{"resource": b.topic, "operation": "read", "context": "mqtt"}}}},
		{"millwright.shopfloor.user": map[string]any{"username": "line1", "password": b.password, "roles": []string{"operators"}}},
		{"millwright.shopfloor.service": map[string]any{"id": "press", "commissioning": b.text, "parameters": map[string]any{"line": b.line}}},
		{"millwright.shopfloor.service": map[string]any{"id": "guarded", "commissioning_file": "guarded.yml", "parameters": map[string]any{"host": "127.0.0.1", "password": b.password}}},
	}
}

func (b bothWays) config() string {
	config := `
resource "millwright_role" "it" {
  name        = "operators"
  permissions = [{ resource = "TOPIC", operation = "read", context = "mqtt" }]
}
resource "millwright_user" "it" {
  username = "line1"
  roles    = [millwright_role.it.name]
  PASSWORD
}
resource "millwright_service" "it" {
  id            = "press"
  commissioning = file("press.yml")
  parameters    = { line = "LINE" }
}
resource "millwright_service" "guarded" {
  id            = "guarded"
  commissioning = file("guarded.yml")
  parameters    = { host = "127.0.0.1" }
  SECRET
}
`
	password, secret := "", ""
	if b.version != "" {
		password = "password_wo = \"" + b.password + "\"\n  password_wo_version = \"" + b.version + "\""
		secret = "parameters_wo = { password = \"" + b.password + "\" }\n  parameters_wo_version = \"" + b.version + "\""
	}
	return strings.NewReplacer("TOPIC", b.topic, "LINE", b.line, "PASSWORD", password, "SECRET", secret).Replace(config)
}

const importsOfBoth = `
import {
  to = millwright_role.it
  id = "operators"
}
import {
  to = millwright_user.it
  id = "line1"
}
import {
  to = millwright_service.it
  id = "press"
}
import {
  to = millwright_service.guarded
  id = "guarded"
}
`

// What Ansible manages is unchanged for Terraform, and the other way round: it is one core.
func TestForeignTerraformAndAnsible(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	a := newAnsible(t, i)
	press, guarded := testFile(t, "press.yml"), testFile(t, "guarded.yml")
	w.write("press.yml", press)
	w.write("guarded.yml", guarded)
	if err := os.WriteFile(filepath.Join(a.dir, "guarded.yml"), []byte("# for Ansible\n"+guarded), 0o600); err != nil {
		t.Fatal(err)
	}
	terraform := func(b bothWays, more, want string) {
		t.Helper()
		w.main(i.provider() + b.config() + more)
		if out := w.must("apply", "-auto-approve", "-input=false"); !strings.Contains(out, want) {
			t.Fatalf("not %s:\n%s", want, out)
		}
		w.settled()
	}
	is := bothWays{text: "# for Ansible\n" + press, line: "two", topic: "plant/#", password: "the-same-password"}

	a.changes("4", is.tasks())
	terraform(is, importsOfBoth, "4 imported, 0 added, 0 changed, 0 destroyed")
	a.changes("0", is.tasks())
	w.settled()

	is.line, is.topic = "three", "plant/press/#" // Terraform changes; Ansible's old playbook would change it back
	was := is
	was.line, was.topic = "two", "plant/#"
	terraform(is, "", "0 added, 2 changed, 0 destroyed")
	a.changes("2", was.tasks(), "--check")
	a.changes("0", is.tasks())
	w.settled()

	a.changes("2", was.tasks()) // Ansible changes; so does Terraform's old configuration
	if out, code := w.run("plan", "-detailed-exitcode", "-input=false"); code != 2 || !strings.Contains(out, "0 to add, 2 to change, 0 to destroy") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	w.main(i.provider() + was.config())
	w.settled()

	was.version = "1" // Terraform labels the secrets; they are the same for Ansible, and stay labelled
	terraform(was, "", "0 added, 2 changed, 0 destroyed")
	a.changes("0", was.tasks())
	w.settled()
	was.password = "another-password" // Ansible writes others; that shows
	a.changes("2", was.tasks())
	if out, code := w.run("plan", "-detailed-exitcode", "-input=false"); code != 2 || !strings.Contains(out, "0 to add, 2 to change, 0 to destroy") {
		t.Fatalf("exit %d\n%s", code, out)
	}

	w.main(i.provider())
	w.must("apply", "-auto-approve", "-input=false")
	if err := i.empty(t.Context()); err != nil {
		t.Error(err)
	}
	is.version = "1"
	terraform(is, "", "4 added, 0 changed, 0 destroyed") // the other way round: Terraform makes it
	a.changes("0", is.tasks())
	w.settled()
}
