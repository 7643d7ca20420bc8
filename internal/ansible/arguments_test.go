package ansible

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestArguments runs each case of testdata/arguments: a module's name and arguments, and
// what they come to, or the message that refuses them.
func TestArguments(t *testing.T) {
	t.Setenv("HOME", "/home/you")
	t.Setenv("PLANT", "bremen")
	files, err := filepath.Glob(filepath.Join("testdata", "arguments", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			module, ok := moduleNamed(strings.TrimSpace(string(archive.Comment)))
			if !ok {
				t.Fatalf("there is no module %q", archive.Comment)
			}
			given, err := decodeObject(archive.Files[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			got := checked(t, module, given)
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "result", Data: got})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if len(archive.Files) != 2 || !bytes.Equal(archive.Files[1].Data, got) {
				t.Errorf("got:\n%s", got)
			}
		})
	}
}

// checked renders what arguments come to, without those that merely have their default.
func checked(t *testing.T, module *Module, given map[string]any) []byte {
	t.Helper()
	args, warnings, err := module.check(given)
	var b bytes.Buffer
	for _, w := range warnings {
		b.WriteString("warning: " + w + "\n")
	}
	if err != nil {
		b.WriteString("error: " + err.Error() + "\n")
		return b.Bytes()
	}
	for _, o := range module.options() {
		if o.Default != nil && args[o.Name] == o.Default {
			delete(args, o.Name)
		}
	}
	text, err := json.MarshalIndent(args, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(append(text, '\n'))
	return b.Bytes()
}

// TestRunAlwaysAnswers gives Run what no task gives: one JSON object with "failed" comes of
// everything, and no secret.
func TestRunAlwaysAnswers(t *testing.T) {
	t.Setenv("MILLWRIGHT_CONFIG", filepath.Join(t.TempDir(), "none"))
	for name, text := range map[string]string{
		"nothing":            "",
		"no object":          "[1]",
		"not UTF-8":          "{\"\xff\": 1}",
		"no module":          `{}`,
		"another module":     `{"_ansible_module_name": "millwright.shopfloor.nothing"}`,
		"no id":              `{"_ansible_module_name": "service"}`,
		"bad file":           `{"_ansible_module_name": "service", "id": "a", "_ansible_millwright_files": {"commissioning_file": {"text": "%"}}}`,
		"secret as a number": `{"_ansible_module_name": "user", "username": "tops3cret", "password": "tops3cret", "api_url": "http://tops3cret"}`,
		"bad url":            `{"_ansible_module_name": "user", "username": "u", "api_token": "tops3cret", "api_url": "tops3cret://x"}`,
		"no time":            `{"_ansible_module_name": "user", "username": "u", "timeout": -1}`,
		"endless":            `{"_ansible_module_name": "service", "id": "u", "wait_timeout": 9223372036854775807}`,
		"bad environment":    `{"_ansible_module_name": "user", "username": "u", "_ansible_millwright_environment": {"A=B": "x"}}`,
		"bad ca":             `{"_ansible_module_name": "user", "username": "u", "ca_cert": "tops3cret", "api_password": "tops3cret"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := Run(context.Background(), Call{Arguments: []byte(text), Getenv: func(string) string { return "" }, Setenv: refuse}, &out)
			var result map[string]any
			if err := json.Unmarshal(out.Bytes(), &result); err != nil || strings.Count(out.String(), "\n") != 1 {
				t.Fatalf("%v: %s", err, &out)
			}
			if code != 1 || result["failed"] != true || result["msg"] == "" || strings.Contains(out.String(), "tops3cret") {
				t.Errorf("exit %d: %s", code, &out)
			}
		})
	}
}

func refuse(name, _ string) error { return fmt.Errorf("%q is no name", name) }

// TestRunPanics makes a module panic: that is a failure like others.
func TestRunPanics(t *testing.T) {
	task := &task{call: Call{Arguments: []byte(`{"_ansible_module_name": "role", "state": "absent", "name": "x", "api_token": "tops3cret"}`), Getenv: func(string) string {
		panic("with tops3cret in it")
	}}}
	var out bytes.Buffer
	if code := Run(context.Background(), task.call, &out); code != 1 || !strings.Contains(out.String(), `"failed":true`) || strings.Contains(out.String(), "tops3cret") {
		t.Errorf("exit %d: %s", code, &out)
	}
}
