package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/testcert"
)

// testPlanned runs tasks after one that would bring up their instance, in check mode: what they
// say is what happens; or, where the instance holds data, that nobody can say.
func testPlanned(t *testing.T, p *plant) {
	p.overSSH()
	p.inventory += "elsewhere ansible_connection=local\n"
	p.options = p.with(map[string]any{"name": "planned", "ports": ports(t, "https", "mqtts")})
	checked := p.must("planned.yml", "--check", "--diff")
	if n := changed(checked); n != 4 {
		t.Errorf("changed=%d in check mode", n)
	}
	applied := p.must("planned.yml", "--diff")
	for i, o := range applied {
		if got, want := encoded(t, summary(checked[i])), encoded(t, summary(o)); got != want {
			t.Errorf("%s: check mode says\n%s\nand it is\n%s", o.Task, got, want)
		}
	}
	for _, flags := range [][]string{{"--check"}, {}} {
		if n := changed(p.must("planned.yml", flags...)); n != 0 {
			t.Errorf("again, %v: changed=%d", flags, n)
		}
	}
	p.dockerCommand("stop", "planned-control-1", "planned-broker-1", "planned-mapper-1")
	p.unplannable(1)
	p.dockerCommand("rm", "-f", "planned-control-1", "planned-broker-1", "planned-mapper-1")
	p.unplannable(1)
	if o := p.one("planned.yml", "failed", "--check", "--skip-tags", "instance"); o.Result["kind"] != "unavailable" {
		t.Errorf("without a task that would start it: %v", o.Result)
	}
	delegated := p.must("planned.yml", "--check", "--tags", "delegated")
	services := slices.DeleteFunc(slices.Clone(delegated), func(o outcome) bool { return o.Task != "Services" || o.Status != "item" })
	if len(services) != 2 || services[0].Result["changed"] != true || services[1].Result["changed"] != true {
		t.Errorf("delegated: %v", services)
	}
	if o := p.named(delegated, "Here there is none"); o.Status != "ignored" || !strings.Contains(fmt.Sprint(o.Result["msg"]), `cannot find context "one"`) {
		t.Errorf("%s: %v", o.Status, o.Result)
	}
	if left := p.dockerCommand("volume", "ls", "-q", "--filter", "name=one") + p.dockerCommand("volume", "ls", "-q", "--filter", "name=two"); left != "" {
		t.Errorf("check mode has made %s", left)
	}
}

// summary is what check mode and a run have in common.
func summary(o outcome) map[string]any {
	steps := []any{}
	if p, ok := o.Result["plan"].(map[string]any); ok {
		for _, s := range p["steps"].([]any) {
			step := s.(map[string]any)
			steps = append(steps, []any{step["symbol"], step["address"], step["cause"], step["changes"]})
		}
	}
	return map[string]any{"changed": o.Result["changed"], "diff": o.Result["diff"], "steps": steps, "url": o.Result["url"], "context": o.Result["context"]}
}

// unplannable expects that of the tasks only the first is planned.
func (p *plant) unplannable(changes int) {
	p.t.Helper()
	outcomes := p.must("planned.yml", "--check")
	if n := changed(outcomes); n != changes {
		p.t.Errorf("changed=%d", n)
	}
	for _, o := range outcomes[1:] {
		if !strings.Contains(fmt.Sprint(o.Result["warnings"]), `an earlier task would start instance "planned"`) {
			p.t.Errorf("%s: %v", o.Task, o.Result)
		}
	}
}

// one runs a playbook that ends at its first task with that status.
func (p *plant) one(playbook, status string, flags ...string) outcome {
	p.t.Helper()
	outcomes, printed, _ := p.run(playbook, flags...) // the result says it
	if len(outcomes) != 1 || outcomes[0].Status != status {
		p.t.Fatalf("%s: %s", playbook, printed)
	}
	return outcomes[0]
}

// testSecrets looks for secrets in all that is printed, in what the engine shows, and in the
// files of the deployment.
func testSecrets(t *testing.T, p *plant) {
	pair, other := testcert.New(t, time.Now().Add(time.Hour)), testcert.New(t, time.Now().Add(time.Hour))
	p.options = p.with(map[string]any{"name": "secrets", "ports": ports(t, "https", "mqtts")})
	secret := map[string]any{
		"admin_password": "adm1ns-own$ecret", "license": "l1cense-secret", "certificate": string(pair.Certificate), "private_key": string(pair.Key),
		"registry": map[string]any{"username": "u", "password": "r3gistry-secret"},
	}
	p.write("secret.json", encoded(t, map[string]any{"secret": secret, "other_certificate": string(other.Certificate)}))
	p.env = append(p.env, "ANSIBLE_STDOUT_CALLBACK=default")
	planted := []string{"adm1ns-own$ecret", "l1cense-secret", "r3gistry-secret"}
	for line := range strings.Lines(string(pair.Key)) {
		if !strings.HasPrefix(line, "-----") {
			planted = append(planted, strings.TrimSpace(line))
		}
	}
	shown := ""
	for _, part := range []struct {
		flags []string
		tasks int
	}{
		{[]string{"--tags", "create", "--check"}, 1},
		{[]string{"--tags", "create"}, 1},
		{[]string{"--tags", "change", "--check"}, 8},
		{[]string{"--tags", "change"}, 8},
	} {
		_, printed, err := p.run("secrets_instance.yml", append(part.flags, "-e", "@secret.json", "--diff", "-vvvv")...)
		if n := strings.Count(printed, "TASK ["); err != nil || n != part.tasks {
			t.Fatalf("%v: %d tasks, %v\n%s", part.flags, n, err, printed)
		}
		if part.tasks > 1 && (strings.Count(printed, "(sensitive, changed)") < 2 || strings.Count(printed, "...ignoring") != 4) {
			t.Errorf("%v: not all was done:\n%s", part.flags, printed)
		}
		shown += printed
		planted = append(planted, p.made()...)
	}
	containers := strings.Fields(p.dockerCommand("ps", "-aq", "--filter", "label=io.millwright.instance=secrets"))
	if len(containers) != 4 {
		t.Errorf("there are %d containers", len(containers))
	}
	shown += p.dockerCommand(append([]string{"inspect"}, containers...)...)
	for _, name := range []string{"docker-compose.yml", ".env"} {
		text, err := os.ReadFile(filepath.Join(p.dir, "deployed", name))
		if err != nil {
			t.Fatal(err)
		}
		shown += string(text)
	}
	if len(planted) < 7 {
		t.Errorf("there are %d secrets to look for", len(planted))
	}
	for _, s := range planted {
		if at := strings.Index(shown, s); at >= 0 {
			t.Errorf("a secret is shown: ...%s...", shown[max(0, at-300):at+len(s)])
		}
	}
}

// made are the secrets that a deployment makes itself: the token of the context, and a password.
func (p *plant) made() []string {
	p.t.Helper()
	dir := filepath.Join(p.dir, ".config", "millwright")
	contexts, _, err := client.LoadContexts(filepath.Join(dir, "config.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	var secrets []string
	for _, c := range contexts.Contexts {
		secrets = append(secrets, c.Token)
	}
	if password, err := os.ReadFile(filepath.Join(dir, "secrets.admin-password")); err == nil {
		secrets = append(secrets, strings.TrimSpace(string(password)))
	}
	return secrets
}

// testReference runs the reference playbooks as they stand, but for the ports where others
// have those.
func testReference(t *testing.T, p *plant) {
	p.examples()
	dir := filepath.Join(p.dir, "examples")
	if err := os.Remove(filepath.Join(p.dir, ".config", "millwright", "config.yaml")); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "DOCKER_HOST="+p.docker)
	if !free(t, "443", "80", "8883") {
		p.otherPorts(dir)
	}
	before := names(t, dir)
	run := func(playbook string, want int, flags ...string) []outcome {
		t.Helper()
		outcomes := p.must(filepath.Join("examples", playbook), flags...)
		if n := changed(outcomes); n != want {
			t.Errorf("%s %v: changed=%d, want %d: %v", playbook, flags, n, want, outcomes)
		}
		return outcomes
	}
	run("playbook.yaml", 2, "--check", "--diff")
	run("playbook.yaml", 2)
	if got, want := names(t, dir), append(before, "docker-compose.yml", ".env"); !equalSets(got, want) {
		t.Errorf("beside the playbook there are %v, before %v", got, before)
	}
	p.shows("example_service")
	run("playbook.yaml", 0)
	run("playbook.yaml", 0, "--check", "--diff")
	checked := run("upgrade.yaml", 1, "--check", "--diff")
	applied := run("upgrade.yaml", 1, "--diff")
	for i, o := range applied {
		if got, want := encoded(t, summary(checked[i])), encoded(t, summary(o)); got != want {
			t.Errorf("%s: check mode says\n%s\nand it is\n%s", o.Task, got, want)
		}
	}
	upgraded := p.named(applied, "Upgrade Millwright, one container at a time").Result
	if plan := upgraded["plan"].(map[string]any); plan["disturbs"] != "container" || upgraded["backup_file"] == nil {
		t.Errorf("it disturbs %v, and the backup is %v", plan["disturbs"], upgraded["backup_file"])
	}
	run("upgrade.yaml", 0)
	p.shows("example_service")
	run("stop.yaml", 1, "--check")
	run("stop.yaml", 1)
	run("stop.yaml", 0)
}

// shows asks the instance that the context file names for a service, and for its page.
func (p *plant) shows(service string) {
	p.t.Helper()
	contexts, _, err := client.LoadContexts(filepath.Join(p.dir, ".config", "millwright", "config.yaml"))
	c, ok := contexts.Contexts[contexts.Current]
	if err != nil || !ok {
		p.t.Fatalf("%v: %v", contexts.Names(), err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.CA))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	for _, path := range []string{"/api/v1/services/" + service, "/"} {
		request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, c.URL+path, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+c.Token)
		response, err := transport.RoundTrip(request)
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		var view struct{ State string }
		if path != "/" {
			err = joined(err, json.Unmarshal(text, &view))
		}
		if err = joined(err, response.Body.Close()); err != nil || response.StatusCode >= http.StatusBadRequest || path != "/" && !strings.HasPrefix(view.State, "enabl") {
			p.t.Errorf("%s: %v, %s\n%s", path, err, response.Status, text)
		}
	}
}

// otherPorts has the examples' instances listen elsewhere.
func (p *plant) otherPorts(dir string) {
	p.t.Helper()
	found := encoded(p.t, ports(p.t, "https", "mqtts"))
	for _, name := range []string{"playbook.yaml", "upgrade.yaml", "stop.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			p.t.Fatal(err)
		}
		p.write(filepath.Join("examples", name), strings.Replace(string(text), "install_path: ./\n", "install_path: ./\n        ports: "+found+"\n", 1))
	}
}

func free(t *testing.T, numbers ...string) bool {
	t.Helper()
	for _, n := range numbers {
		l, err := net.Listen("tcp", ":"+n)
		if err != nil {
			t.Logf("port %s is another's: %v", n, err)
			return false
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return true
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func equalSets(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
