package main

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEndToEndSecretsStaySecret plants a password and looks for it wherever a person could.
func TestEndToEndSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const planted = "planted-Secret-4711"
	i := newInstance(t)
	i.up()
	file := i.write("s.yml", `description: secrets
metadata: {name: s}
parameters:
  machinePassword: {type: string, format: password}
resources:
  plc:
    type: Cybus::Connection
    properties:
      protocol: Opcua
      connection: {host: 127.0.0.1, port: 1, username: u, password: !ref machinePassword}
`)
	var seen strings.Builder
	for _, args := range [][]string{
		{"plan", file, "--set", "machinePassword=" + planted},
		{"plan", file, "--set", "machinePassword=" + planted, "-o", "json", "--out", filepath.Join(i.dir, "plan.json")},
		{"apply", file, "--set", "machinePassword=" + planted, "--yes", "-v"},
		{"plan", file, "--set", "machinePassword=another"},
		{"get", "services", "s", "-o", "json"},
		{"get", "connections", "-o", "json"},
	} {
		stdout, stderr, code := i.run(args...)
		if code != 0 {
			t.Errorf("%v: exit %d %s", args, code, stderr)
		}
		seen.WriteString(stdout + stderr)
	}
	if out := i.must("plan", file, "--set", "machinePassword=another"); !strings.Contains(out, "sensitive") {
		t.Errorf("a changed password does not show in the plan:\n%s", out)
	}
	if out := i.must("plan", file, "--set", "machinePassword="+planted); !strings.Contains(out, "No changes") {
		t.Errorf("the same password shows in the plan:\n%s", out)
	}
	i.stop()
	if strings.Contains(seen.String(), planted) || strings.Contains(i.log.String(), planted) {
		t.Error("the planted password was printed")
	}
	notInFiles(t, i.dir, planted)
}

func notInFiles(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), text) {
			t.Errorf("%s holds the planted password in clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEndToEndClosedByDefault asks every kind of route without credentials.
func TestEndToEndClosedByDefault(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200,
		"/metrics": 401, "/api/v1/services": 401, "/api/v1/messages?filter=%23": 401, "/api/v1/certificate": 401, "/api/v1/logs": 401,
	} {
		response, err := http.Get("http://" + i.http + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, response.StatusCode, want)
		}
	}
	i.stop()
}
