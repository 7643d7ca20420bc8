package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/testneed"
)

// bothWays runs a test on the controller and over SSH.
func bothWays(t *testing.T, test func(t *testing.T, p *plant, ssh bool)) {
	for _, way := range []string{"local", "ssh"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t)
			if way == "ssh" {
				p.overSSH()
			}
			test(t, p, way == "ssh")
		})
	}
}

// TestForeignMatrix holds each module to: create, again, --check says the same as apply,
// drift, adopt, delete, delete again.
func TestForeignMatrix(t *testing.T) {
	bothWays(t, func(t *testing.T, p *plant, _ bool) {
		for _, kind := range []string{"role", "user", "service"} {
			outcomes := p.must("matrix_" + kind + ".yml")
			t.Logf("%s: %d results, %d changes", kind, len(outcomes), changed(outcomes))
		}
	})
}

// TestForeignFeatures uses module_defaults, loop, async, delegate_to, vault, environment.
func TestForeignFeatures(t *testing.T) {
	bothWays(t, func(t *testing.T, p *plant, ssh bool) {
		p.write("vault-password", "of-the-vault\n")
		text, err := os.ReadFile(filepath.Join(p.dir, "press.yml"))
		if err != nil {
			t.Fatal(err)
		}
		p.write("vaulted.yml", string(text))
		p.command("ansible-vault", "encrypt", "--vault-password-file", "vault-password", "vaulted.yml")
		p.must("features.yml", "--vault-password-file", "vault-password")
		kept, err := filepath.Glob(filepath.Join(p.dir, ".ansible", "millwright", "*"))
		if err != nil || ssh && len(kept) != 1 || !ssh && len(kept) != 0 {
			t.Errorf("kept on the target: %v, %v", kept, err)
		}
	})
}

// TestForeignBecome runs tasks as another user, through sudo and su.
func TestForeignBecome(t *testing.T) {
	testneed.Root(t)
	testneed.Program(t, "sudo")
	bothWays(t, func(t *testing.T, p *plant, _ bool) {
		dir := t.TempDir()
		p.command("chmod", "711", filepath.Dir(dir)) // the test's folder is closed to other users
		p.command("chown", "nobody", dir)
		p.variables = map[string]string{"nobody_dir": dir}
		p.must("become.yml")
	})
}

// TestForeignNoexec keeps the program where none may be run.
func TestForeignNoexec(t *testing.T) {
	dir := testneed.Tmpfs(t, 32<<20)
	p := newPlant(t)
	p.overSSH()
	p.command("mount", "-o", "remount,noexec", dir)
	p.variables = map[string]string{"noexec_dir": dir}
	p.must("noexec.yml")
}

// TestForeignCache finds the program on the target in a folder that others can write to: it
// is not trusted, but sent again.
func TestForeignCache(t *testing.T) {
	p := newPlant(t)
	p.overSSH()
	p.must("info.yml")
	dir := filepath.Join(p.dir, ".ansible", "millwright")
	kept, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	if err := os.WriteFile(kept[0], []byte("#!/bin/sh\necho another program\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range [][]string{{"chmod", "777", dir}, {"rm", "-r", dir}} {
		p.command(spoil[0], spoil[1:]...)
		p.must("info.yml")
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v: %v, %v", spoil, info, err)
		}
	}
	if os.Getuid() == 0 {
		p.command("chown", "nobody", kept[0])
		p.must("info.yml")
	}
}

// TestForeignCacheOfOthers names a folder for the program that holds other things: they stay, and
// so does who may read them.
func TestForeignCacheOfOthers(t *testing.T) {
	p := newPlant(t)
	p.overSSH()
	dir := t.TempDir()
	old := time.Now().Add(-24 * time.Hour)
	names := []string{".profile", "a", "b", "c", "d", "sub/.env"}
	for _, name := range names {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600), os.Chtimes(file, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	p.command("chmod", "755", dir)
	_, printed, err := p.run("info.yml", "-e", "millwright_cache_dir="+dir)
	if err != nil || !strings.Contains(printed, "holds other files") {
		t.Errorf("%v; nothing is said of the folder:\n%s", err, printed)
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the folder is now %v, %v", info, err)
	}
}

// TestForeignSecrets looks for secrets in all that is printed, and on the target's disk.
func TestForeignSecrets(t *testing.T) {
	bothWays(t, func(t *testing.T, p *plant, ssh bool) {
		secrets := map[string]string{"secret_user": "Us3r's \"secret\" {{x}}"[:14], "secret_machine": "m4chine$secret"}
		p.variables = secrets
		p.env = append(p.env, "ANSIBLE_STDOUT_CALLBACK=default")
		for _, mode := range []string{"--diff", "--check"} {
			_, printed, err := p.run("secrets.yml", mode, "--diff", "-vvvv")
			for _, secret := range append(slices.Sorted(maps.Values(secrets)), p.token, p.password) {
				if at := strings.Index(printed, secret); at >= 0 {
					t.Errorf("%s: a secret is printed: ...%s...", mode, printed[max(0, at-300):at+len(secret)])
				}
			}
			if err == nil && mode == "--diff" && !strings.Contains(printed, "(sensitive, changed)") || strings.Count(printed, "TASK [") != 10 {
				t.Errorf("%s: not all was done: %v\n%s", mode, err, printed)
			}
		}
		if _, err := os.Stat(filepath.Join(p.dir, "tmp")); ssh && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("arguments were written to the target's disk: %v", err)
		}
	})
}

// TestForeignTimes prints what a task that changes nothing takes, beside ansible.builtin.uri.
func TestForeignTimes(t *testing.T) {
	for _, way := range []string{"local", "ssh"} { // one after the other
		t.Run(way, func(t *testing.T) {
			p := newPlant(t)
			if way == "ssh" {
				p.overSSH()
			}
			seconds := map[string][]float64{}
			for _, o := range p.must("times.yml") {
				seconds[o.Task] = append(seconds[o.Task], o.Seconds)
			}
			for _, task := range []string{"A service that is as it should be", "One GET"} {
				slices.Sort(seconds[task])
				t.Logf("%s: %s: %.0f ms (median of %d)", way, task, 1000*seconds[task][len(seconds[task])/2], len(seconds[task]))
			}
		})
	}
}

// command runs a program in the plant's folder.
func (p *plant) command(name string, args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), name, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
