package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
)

// examples copies the examples into the plant's folder, and gives it a context file as
// `millwright up` writes it: the tasks say nothing of the instance.
func (p *plant) examples() {
	p.t.Helper()
	if err := os.CopyFS(filepath.Join(p.dir, "examples"), os.DirFS(filepath.Join("..", "..", "examples", "ansible"))); err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(p.dir, ".config", "millwright"), 0o700); err != nil {
		p.t.Fatal(err)
	}
	p.write(filepath.Join(".config", "millwright", "config.yaml"),
		fmt.Sprintf("current: local\ncontexts:\n  local: {url: %q, token: %q}\n", p.url, p.token))
}

// TestForeignExamples runs each playbook of the examples: once, again, and in check mode.
func TestForeignExamples(t *testing.T) {
	p := newPlant(t)
	p.examples()
	p.variables = map[string]string{"vault_line1_password": "of-line-1"}
	for _, c := range []struct {
		playbook string
		changes  int
	}{
		{"install-service.yaml", 1},
		{"plant.yaml", 3},
		{"faster.yaml", 1},
	} {
		playbook := filepath.Join("examples", c.playbook)
		if n := changed(p.must(playbook, "--check", "--diff")); n != c.changes {
			t.Errorf("%s --check: changed=%d, want %d", c.playbook, n, c.changes)
		}
		if n := changed(p.must(playbook)); n != c.changes {
			t.Errorf("%s: changed=%d, want %d", c.playbook, n, c.changes)
		}
		if n := changed(p.must(playbook)); n != 0 {
			t.Errorf("%s, again: changed=%d", c.playbook, n)
		}
	}
	press := p.named(p.must(filepath.Join("examples", "faster.yaml")), "The press").Result
	if press["changed"] != false {
		t.Errorf("the press: %v", press)
	}
}

// TestForeignFleet applies one playbook to two instances.
func TestForeignFleet(t *testing.T) {
	p, other := newPlant(t), newPlant(t)
	p.examples()
	hosts := fmt.Sprintf("[plants]\nbremen gateway_url=%s\nlyon gateway_url=%s\n", p.url, other.url)
	p.write("examples/fleet/here", hosts)
	p.write("examples/fleet/group_vars/plants/vault.yml", fmt.Sprintf("vault_gateway_tokens: {bremen: %q, lyon: %q}\n", p.token, other.token))
	p.write("vault-password", "of-the-vault\n")
	p.command("ansible-vault", "encrypt", "--vault-password-file", "vault-password", "examples/fleet/group_vars/plants/vault.yml")
	fleet := []string{"-i", "examples/fleet/inventory.yml", "-i", "examples/fleet/here", "--limit", "bremen,lyon", "--vault-password-file", "vault-password"}
	for _, want := range []int{4, 0} {
		if n := changed(p.must("examples/fleet/site.yaml", fleet...)); n != want {
			t.Errorf("changed=%d, want %d", n, want)
		}
	}
}

// TestForeignSanity holds the collection to ansible-doc, validate-modules and ansible-lint.
func TestForeignSanity(t *testing.T) {
	p := newPlant(t)
	p.command("ansible-galaxy", "collection", "verify", "--offline", "millwright.shopfloor")
	if listed := p.command("ansible-galaxy", "collection", "list"); !strings.Contains(listed, "millwright.shopfloor") {
		t.Errorf("listed: %s", listed)
	}
	p.command("ansible-galaxy", "collection", "install", "--force", built.archive, "-p", filepath.Join(p.dir, "forced"))
	list := p.command("ansible-doc", "-l", "millwright.shopfloor")
	root := filepath.Join(built.path, "ansible_collections", "millwright", "shopfloor")
	modules, err := filepath.Glob(filepath.Join(root, "plugins", "modules", "*.py"))
	if err != nil || len(modules) == 0 || strings.Count(list, "\n") != len(modules) {
		t.Errorf("ansible-doc lists %q; modules: %v, %v", list, modules, err)
	}
	python := testneed.Python(t, "voluptuous")
	where := strings.TrimSpace(p.command(python, "-c", "import os, ansible_test; print(os.path.dirname(ansible_test.__file__))"))
	validator := filepath.Join(where, "_util", "controller", "sanity", "validate-modules")
	p.env = append(p.env, "PYTHONPATH="+validator)
	for _, module := range modules {
		name := strings.TrimSuffix(filepath.Base(module), ".py")
		if page := p.command("ansible-doc", "millwright.shopfloor."+name); !strings.Contains(page, "EXAMPLES:") || !strings.Contains(page, "api_url") && !strings.Contains(page, "docker_host") {
			t.Errorf("%s: %s", name, page)
		}
		p.command("sh", "-c", `cd "$1" && exec "$2" "$3"/validate.py --collection ansible_collections/millwright/shopfloor --collection-version 0.1.0 "$4"`,
			"sh", built.path, python, validator, filepath.Join("ansible_collections", "millwright", "shopfloor", "plugins", "modules", name+".py"))
	}
	lint := testneed.Program(t, "ansible-lint")
	p.examples()
	for _, dir := range []string{root, filepath.Join(p.dir, "examples")} {
		p.command("sh", "-c", `cd "$1" && exec "$2" --offline --nocolor --profile production`, "sh", dir, lint)
	}
}

// TestForeignSources builds from the sources, which is refused, and runs the plugins without
// their programs, which says what to do.
func TestForeignSources(t *testing.T) {
	p := newPlant(t)
	for _, dir := range []string{"", "ansible_collections/millwright/shopfloor"} {
		build := exec.CommandContext(t.Context(), "ansible-galaxy", "collection", "build", "--output-path", p.dir, filepath.Join("..", "..", dir))
		build.Env = p.env
		if out, err := build.CombinedOutput(); err == nil || !strings.Contains(string(out), "mandatory keys: version") {
			t.Errorf("build of %q: %v\n%s", dir, err, out)
		}
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "ANSIBLE_COLLECTIONS_PATH="+root)
	_, printed, err := p.run("noexec.yml", "-e", "noexec_dir=/nowhere", "-e", "ansible_connection=local")
	if err == nil || !strings.Contains(printed, "installed from its sources") || !strings.Contains(printed, "make collection") {
		t.Errorf("%v\n%s", err, printed)
	}
}

// TestForeignDockerRole runs the role where the engine is installed: it changes nothing.
func TestForeignDockerRole(t *testing.T) {
	testneed.Root(t)
	testneed.Program(t, "apt-get")
	testneed.Program(t, "dockerd")
	p := newPlant(t)
	outcomes := p.must("docker.yml")
	if n := changed(outcomes); n != 0 || len(outcomes) < 4 {
		t.Errorf("changed=%d of %d", n, len(outcomes))
	}
}
