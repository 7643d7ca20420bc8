package provider_test

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

var exampleRoot = filepath.Join("..", "examples", "terraform")

// mirror is a folder that Terraform installs the provider from, without a registry.
func mirror(t testing.TB) string {
	t.Helper()
	program, err := filepath.Abs(filepath.Join(built.build(t), "terraform-provider-millwright"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	to := filepath.Join(dir, "registry.terraform.io", "millwright", "millwright", "0.9.9", runtime.GOOS+"_"+runtime.GOARCH)
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(program, filepath.Join(to, "terraform-provider-millwright_v0.9.9")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// example is a copy of an example's files that match the patterns, with the provider installed.
// Pages of the registry say nothing of where the provider is from; that is added.
func example(t *testing.T, installed, name string, patterns ...string) *workspace {
	t.Helper()
	w := newWorkspace(t)
	w.configure(fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", installed))
	whole := ""
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(exampleRoot, name, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s in example %s: %v", pattern, name, err)
		}
		for _, file := range files {
			if ext := filepath.Ext(file); ext != ".tf" && ext != ".yml" && ext != ".yaml" {
				continue // what a person left who tried it
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w.write(filepath.Base(file), string(text))
			whole += string(text)
		}
	}
	if !strings.Contains(whole, "required_providers") {
		w.write("versions.tf", requireProvider)
	}
	w.env = append(w.env, "TF_VAR_line1_password=line1-password", "TF_VAR_press_password=press-password", "TF_VAR_token=none", `TF_VAR_tokens={"berlin": "b", "aachen": "a"}`)
	return w
}

// init has the provider installed from the mirror.
func (w *workspace) init() *workspace {
	w.t.Helper()
	w.must("init", "-input=false")
	return w
}

// valid holds that an example that is not applied is valid as it stands.
func (w *workspace) valid() {
	w.t.Helper()
	w.init().must("validate")
}

// both applies an example, and plans it again, which must be empty.
func (w *workspace) both(i *instance) *workspace {
	w.t.Helper()
	w.env = append(w.env, "MILLWRIGHT_URL="+i.url, "MILLWRIGHT_TOKEN="+i.token)
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	return w
}

func (w *workspace) destroy() {
	w.t.Helper()
	w.must("destroy", "-auto-approve", "-input=false")
}

// Every example of the provider's pages applies as it stands, and a second plan is empty.
func TestForeignTerraformExamples(t *testing.T) {
	i, installed := start(t), mirror(t)
	fmtCheck := exec.CommandContext(t.Context(), testneed.Program(t, "terraform"), "fmt", "-recursive", "-check", "-diff", exampleRoot)
	if out, err := fmtCheck.CombinedOutput(); err != nil {
		t.Errorf("terraform fmt: %v\n%s", err, out)
	}
	for _, page := range []string{"provider.tf", "provider_contexts.tf"} {
		w := example(t, installed, "provider", page)
		w.write("authority.pem", "none") // nobody is asked
		w.valid()
	}
	w := example(t, installed, "resources/millwright_instance", "resource*") // deployed by the quickstart's test
	server := httptest.NewTLSServer(nil)
	server.Close()
	w.write("hall2.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	w.valid()
	example(t, installed, "data-sources/millwright_instance", "*").valid()
	example(t, installed, "services", "*").init().both(i).destroy()
	w = example(t, installed, "resources/millwright_service", "resource*", "press.yml").init().both(i)
	w.imports("millwright_service")
	w = example(t, installed, "resources/millwright_role", "resource*").init().both(i)
	w.imports("millwright_role")
	w = example(t, installed, "resources/millwright_user", "resource*").init().both(i)
	w.imports("millwright_user")
	example(t, installed, "ephemeral-resources/millwright_token", "*").init().both(i).destroy()

	press := string(testFile(t, "press.yml"))
	i.by(role("operators", spec.Permission{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}))
	i.by(plan.Request{Services: []spec.Service{{ID: "press", Commissioning: press}}})
	for _, name := range []string{"millwright_service", "millwright_services", "millwright_user", "millwright_role"} {
		example(t, installed, "data-sources/"+name, "*").init().both(i).destroy()
	}
	for name, want := range map[string]string{
		"commissioning": "connection: !ref plc", "parse_commissioning": `"temperature"`, "topic_matches": "true", "validate_commissioning": "A press on OPC UA",
	} {
		out := example(t, installed, "functions/"+name, "*").init().must("apply", "-auto-approve", "-input=false")
		if !strings.Contains(out, want) {
			t.Errorf("function %s:\n%s", name, out)
		}
	}
}

// imports forgets the example's object, and imports it in each way that its page shows; then
// everything is destroyed.
func (w *workspace) imports(kind string) {
	w.t.Helper()
	from := filepath.Join(exampleRoot, "resources", kind)
	address := map[string]string{"millwright_service": "press", "millwright_role": "operators", "millwright_user": "line1"}[kind]
	address = kind + "." + address
	script, err := os.ReadFile(filepath.Join(from, "import.sh"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.must("state", "rm", address)
	cmd := exec.CommandContext(w.t.Context(), testneed.Program(w.t, "bash"), "-euc", string(script))
	cmd.Dir, cmd.Env = w.dir, w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	w.settled()
	w.must("state", "rm", address)
	block, err := os.ReadFile(filepath.Join(from, "import-by-string-id.tf"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("import.tf", string(block))
	if out := w.must("apply", "-auto-approve", "-input=false"); !strings.Contains(out, "1 imported, 0 added, 0 changed, 0 destroyed") {
		w.t.Errorf("import of %s:\n%s", address, out)
	}
	w.settled()
	w.destroy()
}

// The plants of one file get the same, each with its own parameters; one that is offline
// keeps nobody else from it.
func TestForeignTerraformExamplePlants(t *testing.T) {
	installed := mirror(t)
	example(t, installed, "plants", "*").valid()
	a, b := start(t), start(t)
	w := example(t, installed, "plants", "*")
	w.write("plants.yaml", fmt.Sprintf("a: {url: %q, press: 127.0.0.1}\nb: {url: %q, press: 127.0.0.2, interval: 250}\n", a.url, b.url))
	w.env = append(w.env, fmt.Sprintf(`TF_VAR_tokens={"a": %q, "b": %q}`, a.token, b.token))
	w.must("init", "-input=false")
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()
	for i, host := range map[*instance]string{a: "127.0.0.1", b: "127.0.0.2"} {
		if v, err := i.Services().Get(t.Context(), "press"); err != nil || v.Parameters["host"] != host {
			t.Errorf("the press at %s: %+v, %v", host, v.Parameters, err)
		}
	}
	b.end()
	if out, code := w.run("plan", "-detailed-exitcode", "-input=false"); code != 0 || !strings.Contains(out, "does not answer") {
		t.Errorf("a plan without plant b: exit %d\n%s", code, out)
	}
	b.again()
	w.destroy()
}
