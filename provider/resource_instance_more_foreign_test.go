package provider_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testcert"
)

// small is an instance alone.
func small(name, ports string, more ...string) string {
	return fmt.Sprintf(`
resource "millwright_instance" %q {
  name         = %q
  install_path = %q
  image        = "millwright/plant:0.1.0"
  pull         = "never"
  ports        = %s
  %s
}
`, name, name, "deployed-"+name, ports, strings.Join(more, "\n  "))
}

// What may become of one instance: refusals, import, stop and start, drift of every kind, secrets.
func TestForeignTerraformInstanceLife(t *testing.T) {
	d := newDock(t)
	ports := freePorts(t)
	const password = "planted-admin-password"
	options := []string{
		fmt.Sprintf("image_archive = %q", d.archive("millwright/plant:0.1.0")), `limits = { broker = { memory = "512M" } }`, `agents = ["north"]`,
		`admin_password_wo = var.admin`, `admin_password_wo_version = "1"`,
	}
	config := "variable \"admin\" {\n  type = string\n  ephemeral = true\n}\n" + small("one", ports, options...)
	d.env = append(d.env, "TF_VAR_admin="+password)

	t.Run("refusals", func(t *testing.T) { refusedInstances(t, another(t, d.host), ports) })
	t.Run("secrets", func(t *testing.T) {
		d.main(config)
		d.env = append(d.env, "TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(d.dir, "trace.log"))
		d.must("plan", "-out=planned", "-input=false")
		d.must("apply", "-input=false", "planned")
		d.settled()
		d.env = d.env[:len(d.env)-2]
		d.nowhere(t, password)
		if _, err := d.client("one").Login(t.Context(), "admin", password); err != nil {
			t.Error(err)
		}
	})
	t.Run("password", func(t *testing.T) {
		d.env = append(d.env, "TF_VAR_admin=another-admin-password")
		d.settled() // only another version has it written
		d.main(strings.Replace(config, `version = "1"`, `version = "2"`, 1))
		d.shows("another password", d.plan(), "1 to change")
		d.apply()
		if _, err := d.client("one").Login(t.Context(), "admin", "another-admin-password"); err != nil {
			t.Error(err)
		}
		by := "a-password-by-somebody-else"
		req := plan.Request{Confirm: "any", Users: []spec.User{{Username: "admin", Password: &by}}}
		if _, err := d.client("one").Apply(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		d.shows("a password that somebody else has changed", d.plan(), `+ admin_password_wo_version = "2"`, "1 to change")
		d.env = d.env[:len(d.env)-1]
		d.main(config)
		d.apply()
		if _, err := d.client("one").Login(t.Context(), "admin", password); err != nil {
			t.Error(err)
		}
	})
	t.Run("certificate", func(t *testing.T) {
		pair := testcert.New(t, time.Now().Add(24*time.Hour))
		d.write("one.pem", string(pair.Certificate))
		env := d.env
		d.env = append(d.env, "TF_VAR_key="+string(pair.Key))
		d.main("variable \"key\" {\n  type = string\n  ephemeral = true\n}\n" + config[:strings.LastIndex(config, "}")] + "  certificate = file(\"one.pem\")\n  private_key_wo = var.key\n}\n")
		d.shows("a certificate", d.plan(), "+ certificate", "container/control")
		d.apply()
		d.env = env
		d.main(config)
		d.settled() // what is not given stays
	})
	t.Run("read", func(*testing.T) {
		d.main(config + "data \"millwright_instance\" \"it\" {\n  name = \"one\"\n}\noutput \"it\" {\n  value = data.millwright_instance.it\n}\n")
		d.shows("the data source", d.apply(), `"agents" = toset([ "north", ])`, `"running" = true`, `"part" = "control"`)
		d.main("data \"millwright_instance\" \"it\" {\n  name = \"nobody\"\n}\n" + config)
		d.refused("one that is not there", `Cannot find instance "nobody"`)
	})
	t.Run("import", func(*testing.T) {
		d.main(config)
		d.must("state", "rm", "millwright_instance.one")
		d.refused("what exists already", `Instance "one" exists already`, `id = "one"`)
		d.must("import", "millwright_instance.one", "one")
		d.settled()
		d.main(strings.ReplaceAll(config, "512M", "500m")) // what an import guessed is settled by the next change
		d.apply()
		d.must("state", "rm", "millwright_instance.one")
		d.main(config + "import {\n  to = millwright_instance.one\n  id = \"" + d.host + "/one\"\n}\n")
		d.apply()
	})
	t.Run("stopped", func(t *testing.T) {
		control := d.id("one-control-1")
		d.main(config[:strings.LastIndex(config, "}")] + "  running = false\n}\n")
		d.shows("a stop", d.plan(), "~ running = true -> false", "disturbs the container")
		d.apply()
		if up := d.docker("ps", "-q"); up != "" {
			t.Errorf("runs: %s", up)
		}
		d.main(strings.ReplaceAll(config, "512M", "448m")[:strings.LastIndex(config, "}")] + "  running = false\n}\n")
		d.apply()
		if up := d.docker("ps", "-q"); up != "" {
			t.Errorf("runs after a change: %s", up)
		}
		d.main(config)
		d.apply()
		if d.id("one-control-1") != control {
			t.Error("control was made anew")
		}
	})
	t.Run("drift", func(*testing.T) { driftOfInstance(d) })
	t.Run("runner", func(t *testing.T) { // another machine, which has the state alone
		d.main(config + "resource \"millwright_role\" \"r\" {\n  context = millwright_instance.one.context\n  name = \"r\"\n  permissions = [" + readPlant + "]\n}\n")
		d.apply()
		if err := os.RemoveAll(filepath.Dir(d.config)); err != nil {
			t.Fatal(err)
		}
		d.settled()
	})
	t.Run("tainted", func(*testing.T) {
		d.main(config)
		d.must("taint", "millwright_instance.one")
		d.shows("what is tainted", d.plan(), "must be replaced")
		d.apply()
		d.must("state", "rm", "millwright_instance.one")
		d.main(config[:strings.LastIndex(config, "}")] + "  adopt = true\n}\n")
		d.shows("what is taken over", d.apply(), "1 added")
		d.main(config)
		d.apply()
	})
	t.Run("gone", func(*testing.T) {
		d.main(config)
		d.apply()
		d.docker("rm", "-f", "one-control-1", "one-broker-1", "one-mapper-1", "one-north-1", "one-record")
		d.docker("network", "rm", "one_default")
		d.shows("all is gone", d.plan(), "will be created")
		d.apply()
	})
	t.Run("engine", func(t *testing.T) {
		env := d.env
		d.env = append(d.env, "DOCKER_HOST=unix:///nowhere/docker.sock")
		d.refused("no engine", "Cannot find a Docker engine", "Install Docker")
		d.main("provider \"millwright\" {\n  on_unreachable = \"keep\"\n}\n" + config)
		if out := d.must("plan", "-detailed-exitcode", "-input=false"); !strings.Contains(out, "does not answer") {
			t.Errorf("no warning:\n%s", out)
		}
		d.env = env
	})
	t.Run("renamed", func(*testing.T) {
		d.main(strings.Replace(config, `name         = "one"`, `name         = "two"`, 1))
		d.shows("another name", d.plan(), "must be replaced")
		d.apply()
	})
	t.Run("destroyed", func(t *testing.T) {
		d.main(strings.Replace(config, `name         = "one"`, "name = \"two\"\n  delete_volumes_on_destroy = true", 1))
		d.apply()
		d.must("destroy", "-auto-approve", "-input=false")
		if left := d.docker("volume", "ls", "-q"); strings.Contains(left, "two_") || !strings.Contains(left, "one_") {
			t.Errorf("volumes: %s", left)
		}
	})
}

// refusedInstances fail their plan, and not the apply.
func refusedInstances(t *testing.T, d *dock, ports string) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ what, ports, more, want string }{
		{"a port that is taken", fmt.Sprintf("{ https = %q, http = \"\", mqtts = \"\" }", taken.Addr()), "", "(https) is taken by"},
		{"a port that is none", `{ https = "70000" }`, "", "ports.https: cannot use port"},
		{"an image that is not there", ports, `version = "0.3.0"`, "different tags"},
		{"half a certificate", ports, `certificate = "x"`, "private_key_wo alone: give both"},
		{"a short password", ports, "admin_password_wo = \"x\"\n admin_password_wo_version = \"1\"", "fewer than 5 characters"},
		{"a password without a version", ports, `admin_password_wo = "longer"`, "belong together"},
		{"limits of nobody", ports, `limits = { north = { cpus = 1 } }`, "the parts of this instance are"},
		{"another engine", ports, `docker_host = "nowhere"`, "unix://PATH"},
	} {
		d.main(small("refused", c.ports, c.more))
		d.refused(c.what, c.want)
	}
}

// driftOfInstance changes an instance behind Terraform's back.
func driftOfInstance(d *dock) {
	for _, c := range []struct {
		what, want string
		do         func()
	}{
		{"docker stop", "container/north: is not running: exited", func() { d.docker("stop", "one-north-1") }},
		{"docker rm", "container/broker: was removed outside", func() { d.docker("rm", "-f", "one-broker-1") }},
		{"docker update", "container/mapper: memory", func() { d.docker("update", "--memory", "300m", "--memory-swap", "300m", "one-mapper-1") }},
		{"an edited file", "file/.env: was edited outside", func() { d.write("deployed-one/.env", "EDITED=1\n") }},
	} {
		c.do()
		d.shows(c.what, d.plan(), "will be updated in-place", "1 to change", c.want)
	}
	d.shows("-refresh-only", d.must("apply", "-refresh-only", "-auto-approve", "-input=false"), "Objects have changed outside of Terraform", "container/north")
	d.shows("after -refresh-only", d.plan("-refresh=false"), "1 to change", "container/north")
	d.apply()
}

// nowhere looks for a secret in the state, the plan, the log and the containers.
func (d *dock) nowhere(t *testing.T, secret string) {
	t.Helper()
	shown, err := os.ReadFile(filepath.Join(d.dir, "trace.log"))
	if err != nil || len(shown) == 0 {
		t.Errorf("no log: %v", err)
	}
	state, err := os.ReadFile(filepath.Join(d.dir, "terraform.tfstate"))
	if err != nil {
		t.Error(err)
	}
	inspected := d.docker(append([]string{"inspect"}, strings.Fields(d.docker("ps", "-aq"))...)...)
	for what, text := range map[string]string{
		"log": string(shown), "state": string(state), "plan": d.must("show", "-json", "planned"), "docker inspect": inspected,
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s holds the secret", what)
		}
	}
}

// Several instances on one engine and what is declared on each come from one for_each; the engine
// itself may be known only in the apply.
func TestForeignTerraformInstances(t *testing.T) {
	d := newDock(t)
	d.write("press.yml", testFile(t, "press.yml"))
	d.env = append(d.env, "DOCKER_HOST=")
	d.main(fmt.Sprintf(`
resource "terraform_data" "engine" {
  input = %q
}
provider "millwright" {
  docker_host = terraform_data.engine.output
}
locals {
  plants = { berlin = %s, aachen = %s }
}
resource "millwright_instance" "plant" {
  for_each     = local.plants
  name         = each.key
  install_path = "deployed/${each.key}"
  image        = "millwright/plant:0.1.0"
  ports        = each.value
}
resource "millwright_role" "operators" {
  for_each    = millwright_instance.plant
  context     = each.value.context
  name        = "operators"
  permissions = [%s]
}
resource "millwright_service" "press" {
  for_each      = millwright_instance.plant
  context       = each.value.context
  id            = "press"
  commissioning = file("press.yml")
}
`, d.host, freePorts(t), freePorts(t), readPlant))
	d.shows("the plan", d.plan(), "7 to add")
	d.shows("the apply", d.apply(), "7 added", "A password was made for the user admin")
	d.write("main.tf", strings.Replace(d.read("main.tf"), "input = ", "triggers_replace = 1\n  input = ", 1))
	if out := d.plan(); !strings.Contains(out, "1 to add, 2 to change, 1 to destroy") || strings.Contains(out, "millwright_role.operators[\"berlin\"] must be replaced") {
		t.Errorf("an engine that is not known yet:\n%s", out)
	}
	d.apply()
	for _, plant := range []string{"berlin", "aachen"} {
		if _, err := d.client(plant).Services().Get(t.Context(), "press"); err != nil {
			t.Error(err)
		}
	}
	d.must("destroy", "-auto-approve", "-input=false")
	if left := d.docker("ps", "-aq"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
}

// An instance that does not come up is tainted or not there at all; the next apply finishes.
func TestForeignTerraformInstanceBroken(t *testing.T) {
	d := newDock(t)
	d.load(d.archiveOf("millwright/broken:0.1.0", []byte("no program")))
	config := small("one", freePorts(t))
	d.main(strings.Replace(config, "millwright/plant", "millwright/broken", 1))
	if out, code := d.run("apply", "-auto-approve", "-input=false"); code != 1 || !strings.Contains(out, `Cannot create instance "one"`) {
		t.Errorf("exit %d\n%s", code, out)
	}
	d.main(config)
	d.shows("the next plan", d.plan(), "1 to add")
	d.apply()
	d.main(strings.Replace(config, "millwright/plant", "millwright/broken", 1))
	if out, code := d.run("apply", "-auto-approve", "-input=false"); code != 1 || !strings.Contains(out, `Cannot change instance "one"`) {
		t.Errorf("exit %d\n%s", code, out)
	}
	d.main(config)
	d.apply()
}
