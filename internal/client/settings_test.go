package client

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

const plants = `current: a
contexts:
  a: {url: "https://a", token: token-a, ca: ca-a}
  b: {url: "https://b/", token: token-b}
`

func TestResolve(t *testing.T) {
	ca := write(t, "from-file")
	for name, test := range map[string]struct {
		file     string
		explicit Given
		env      map[string]string
		want     Settings
	}{
		"nothing":               {"", Given{}, nil, Settings{URL: "https://localhost"}},
		"current":               {plants, Given{}, nil, Settings{URL: "https://a", Token: "token-a", CA: []byte("ca-a"), Context: "a"}},
		"named":                 {plants, Given{Context: "b"}, nil, Settings{URL: "https://b/", Token: "token-b", Context: "b"}},
		"named by variable":     {plants, Given{}, map[string]string{"MILLWRIGHT_CONTEXT": "b"}, Settings{URL: "https://b/", Token: "token-b", Context: "b"}},
		"name beats variables":  {plants, Given{Context: "b"}, map[string]string{"MILLWRIGHT_URL": "https://c"}, Settings{URL: "https://b/", Token: "token-b", Context: "b"}},
		"other host, no token":  {plants, Given{URL: "https://c"}, nil, Settings{URL: "https://c"}},
		"known host":            {plants, Given{URL: "https://b"}, nil, Settings{URL: "https://b", Token: "token-b", Context: "b"}},
		"variable host":         {plants, Given{}, map[string]string{"MILLWRIGHT_URL": "https://c", "MILLWRIGHT_TOKEN": "t"}, Settings{URL: "https://c", Token: "t"}},
		"option beats variable": {plants, Given{URL: "https://d", Token: "o"}, map[string]string{"MILLWRIGHT_URL": "https://c", "MILLWRIGHT_TOKEN": "t"}, Settings{URL: "https://d", Token: "o"}},
		"user beats context":    {plants, Given{}, map[string]string{"MILLWRIGHT_USERNAME": "u", "MILLWRIGHT_PASSWORD": "p"}, Settings{URL: "https://a", Username: "u", Password: "p", CA: []byte("ca-a"), Context: "a"}},
		"token beats user":      {plants, Given{Token: "o"}, map[string]string{"MILLWRIGHT_USERNAME": "u", "MILLWRIGHT_PASSWORD": "p"}, Settings{URL: "https://a", Token: "o", CA: []byte("ca-a"), Context: "a"}},
		"authority":             {plants, Given{CAPath: ca}, nil, Settings{URL: "https://a", Token: "token-a", CA: []byte("from-file"), Context: "a"}},
		"only one, unattended":  {"current: y\ncontexts: {x: {url: \"https://x\", token: t}}", Given{Unattended: true}, nil, Settings{URL: "https://x", Token: "t", Context: "x"}},
		"file of no use":        {"current: [", Given{URL: "https://c", Token: "o"}, nil, Settings{URL: "https://c", Token: "o"}},
		"only one":              {"contexts: {x: {url: \"https://x\", token: t}}", Given{}, nil, Settings{URL: "https://x", Token: "t", Context: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"MILLWRIGHT_CONFIG": filepath.Join(t.TempDir(), "absent")}
			if test.file != "" {
				env["MILLWRIGHT_CONFIG"] = write(t, test.file)
			}
			for k, v := range test.env {
				env[k] = v
			}
			got, warnings, err := Resolve(test.explicit, func(k string) string { return env[k] })
			if wanted := name == "file of no use"; err != nil || len(warnings) != 0 && !wanted {
				t.Fatal(err, warnings)
			}
			if got.URL != test.want.URL || got.Token != test.want.Token || got.Username != test.want.Username ||
				got.Password != test.want.Password || string(got.CA) != string(test.want.CA) || got.Context != test.want.Context {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		file     string
		explicit Given
		want     string
	}{
		"unknown":             {plants, Given{Context: "c"}, `cannot find context "c"`},
		"unknown current":     {"current: x\ncontexts: {}", Given{}, `cannot find the current context "x"`},
		"several":             {strings.Replace(plants, "current: a\n", "", 1), Given{}, "cannot choose among the contexts"},
		"several, unattended": {plants, Given{Unattended: true}, "cannot choose among the contexts"},
		"no YAML":             {"current: [", Given{}, "cannot read the context file"},
		"no authority":        {plants, Given{CAPath: "/does/not/exist"}, "cannot read the certificate authority"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.file)
			_, _, err := Resolve(test.explicit, func(k string) string { return map[string]string{"MILLWRIGHT_CONFIG": path}[k] })
			if spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	path := write(t, "contexts: {x: {url: \"http://192.0.2.1\", token: t}}")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Resolve(Given{}, func(k string) string { return map[string]string{"MILLWRIGHT_CONFIG": path}[k] })
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(warnings, "\n")
	if !strings.Contains(all, "not encrypted") || (runtime.GOOS != "windows" && !strings.Contains(all, "chmod 600")) {
		t.Errorf("warnings are %q", warnings)
	}
}

func TestContextPath(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	for _, test := range []struct{ config, xdg, want string }{
		{"/c.yaml", "/x", "/c.yaml"},
		{"", home, filepath.Join(home, "millwright", "config.yaml")},
		{"", "relative", filepath.Join(home, ".config", "millwright", "config.yaml")},
	} {
		got, err := ContextPath(func(k string) string {
			return map[string]string{"MILLWRIGHT_CONFIG": test.config, "XDG_CONFIG_HOME": test.xdg}[k]
		})
		if err != nil || got != test.want {
			t.Errorf("path is %q, %v; want %q", got, err, test.want)
		}
	}
}

func TestSaveContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.yaml")
	t.Setenv("MILLWRIGHT_CONFIG", path)
	for _, name := range []string{"a", "b"} {
		if err := SaveContext(name, Context{URL: "https://" + name, Token: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	all, warning, err := LoadContexts(path)
	if err != nil || warning != "" || all.Current != "a" || strings.Join(all.Names(), "") != "ab" {
		t.Errorf("got %+v, %q, %v", all, warning, err)
	}
	for _, file := range []string{path, path + ".lock"} {
		info, err := os.Stat(file)
		if err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if err := SaveContext("bad name", Context{URL: "https://a"}); spec.KindOf(err) != spec.Invalid {
		t.Errorf("bad name: %v", err)
	}
	if err := SaveContext("c", Context{URL: "nowhere"}); spec.KindOf(err) != spec.Invalid {
		t.Errorf("bad URL: %v", err)
	}
}

func TestRemoveContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := RemoveContextIn(path, "a"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := SaveContextIn(path, name, Context{URL: "https://" + name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveContextIn(path, "a"); err != nil {
		t.Fatal(err)
	}
	all, _, err := LoadContexts(path)
	if err != nil || all.Current != "" || strings.Join(all.Names(), "") != "b" {
		t.Errorf("got %+v, %v", all, err)
	}
}

// What another version wrote, and what another process writes meanwhile, stays.
func TestSaveContextKeeps(t *testing.T) {
	path := write(t, "current: x\nfuture: 1\ncontexts:\n  x: {url: \"https://x\", later: [1, 2]}\n")
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "x"} {
		wg.Go(func() {
			if err := SaveContextIn(path, name, Context{URL: "https://y"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, _, err := LoadContexts(path)
	if err != nil || strings.Join(all.Names(), "") != "abcdx" || all.Current != "x" {
		t.Errorf("got %+v, %v", all, err)
	}
	if all.More["future"] != 1 || all.Contexts["x"].More["later"] == nil || all.Contexts["x"].URL != "https://y" {
		t.Errorf("got %+v", all)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
