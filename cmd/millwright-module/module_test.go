package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/testcert"
	"github.com/millwright/millwright/runtime/gateway"
)

// call runs the program as Ansible does, with arguments on standard input.
func call(t *testing.T, module string, args map[string]any) (result map[string]any, code int) {
	t.Helper()
	given := maps.Clone(args)
	given["_ansible_module_name"] = "millwright.shopfloor." + module
	text, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	code = run(t.Context(), []string{"millwright-module", "/dev/stdin"}, bytes.NewReader(text), &out, &errOut)
	if err := json.Unmarshal(out.Bytes(), &result); err != nil || errOut.Len() > 0 {
		t.Fatalf("%v: %s%s", err, &out, &errOut)
	}
	if (code != 0) != (result["failed"] == true) {
		t.Errorf("exit %d: %s", code, &out)
	}
	return result, code
}

// isolate keeps the settings of who runs the test out of it.
func isolate(t *testing.T) (config string) {
	t.Helper()
	for _, name := range []string{"URL", "TOKEN", "USERNAME", "PASSWORD", "CA_PATH", "CONTEXT"} {
		t.Setenv("MILLWRIGHT_"+name, "")
	}
	config = filepath.Join(t.TempDir(), "config.yaml")
	t.Setenv("MILLWRIGHT_CONFIG", config)
	return config
}

// TestTLS reaches an instance by its certificate authority, as text and as a file, and not
// without it.
func TestTLS(t *testing.T) {
	isolate(t)
	pair := testcert.New(t, time.Now().Add(time.Hour))
	opts := gateway.Options{ListenHTTPS: "127.0.0.1:0"}
	opts.TLSCertificate, opts.TLSKey = pair.Write(t, t.TempDir())
	g, token := startInstance(t, opts)
	for _, c := range []struct {
		name string
		args map[string]any
		fine bool
	}{
		{"no authority", map[string]any{}, false},
		{"as text", map[string]any{"ca_cert": string(pair.Certificate)}, true},
		{"as a file", map[string]any{"ca_path": opts.TLSCertificate}, true},
		{"not verified", map[string]any{"validate_certs": false}, true},
		{"no certificate", map[string]any{"ca_cert": "nothing"}, false},
		{"no file", map[string]any{"ca_path": "/nowhere/ca.pem"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := map[string]any{"api_url": g.Listeners()[0].URL, "api_token": token}
			maps.Copy(args, c.args)
			result, code := call(t, "service_info", args)
			if (code == 0) != c.fine {
				t.Errorf("exit %d: %v", code, result)
			}
			if c.name == "no authority" && !strings.Contains(result["msg"].(string), "ca_path") {
				t.Errorf("it says %v", result["msg"])
			}
		})
	}
}

// TestSettings holds the order: the task, the environment, the context file.
func TestSettings(t *testing.T) {
	config := isolate(t)
	g, token := startInstance(t, gateway.Options{})
	user := map[string]any{"username": "line1", "_ansible_check_mode": true}
	if result, code := call(t, "user", user); code == 0 {
		t.Errorf("without anything: %v", result)
	}
	contexts := "contexts:\n  here: {url: " + g.URL() + ", token: " + token + "}\n"
	if err := os.WriteFile(config, []byte(contexts), 0o600); err != nil {
		t.Fatal(err)
	}
	if result, code := call(t, "user", user); code != 0 || result["changed"] != true {
		t.Errorf("the only context: %v", result)
	}
	t.Setenv("MILLWRIGHT_TOKEN", "wrong")
	if result, code := call(t, "user", user); code == 0 || result["kind"] != "unauthorised" {
		t.Errorf("the environment's token: %v", result)
	}
	user["api_token"] = token
	if result, code := call(t, "user", user); code != 0 {
		t.Errorf("the task's token: %v", result)
	}
	if err := os.WriteFile(config, []byte(contexts+"  there: {url: http://127.0.0.1:9}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if result, code := call(t, "user", user); code == 0 || !strings.Contains(result["msg"].(string), "here, there") {
		t.Errorf("two contexts, none current: %v", result)
	}
	user["context"] = "here"
	if result, code := call(t, "user", user); code != 0 {
		t.Errorf("a named context: %v", result)
	}
}

// TestPasswordLeavesNoSession logs in and out: no token is left behind.
func TestPasswordLeavesNoSession(t *testing.T) {
	isolate(t)
	g, token := startInstance(t, gateway.Options{})
	args := map[string]any{"api_url": g.URL(), "api_username": "admin", "api_password": adminPassword, "username": "line1", "password": "of line 1"}
	for _, changed := range []bool{true, false} {
		if result, code := call(t, "user", args); code != 0 || result["changed"] != changed || result["warnings"] != nil {
			t.Errorf("%v", result)
		}
	}
	c, err := client.New(client.Settings{URL: g.URL(), Token: token}, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.Login(t.Context(), "admin", adminPassword)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.WithToken(session.Token).Tokens().List(t.Context(), nil)
	if err != nil || len(tokens) != 2 { // the test's own and this session's
		t.Errorf("tokens: %+v, %v", tokens, err)
	}
}

// TestArgumentsInAFile runs the program as Ansible's own way does, and without arguments.
func TestArgumentsInAFile(t *testing.T) {
	isolate(t)
	path := filepath.Join(t.TempDir(), "args")
	if err := os.WriteFile(path, []byte(`{"id": "press", "api_url": "http://127.0.0.1:9"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ program, path, want string }{
		{"AnsiballZ_service", path, "cannot run module"},
		{"service", path, "cannot reach"},
		{"service", path + "-gone", "cannot read the module's arguments"},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), []string{c.program, c.path}, nil, &out, &errOut)
		if code != 1 || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s %s: exit %d: %s%s", c.program, c.path, code, &out, &errOut)
		}
	}
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"service"}, nil, &out, &errOut); code != 1 || !strings.Contains(errOut.String(), "Ansible collection") {
		t.Errorf("exit %d: %s", code, &errOut)
	}
}
