package deployer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/client"
)

func filesIn(t *testing.T, dir string) files {
	t.Helper()
	d := Deployer{options: Options{Getenv: func(name string) string {
		return map[string]string{"MILLWRIGHT_CONFIG": filepath.Join(dir, "config.yaml")}[name]
	}}}
	f, err := d.files("press")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f files) keepAll(t *testing.T, o *Outcome, generated string, given bool) {
	t.Helper()
	if err := errors.Join(f.keepContext(o), f.keepAuthority(o), f.keepPassword(o, generated, given)); err != nil {
		t.Fatal(err)
	}
}

func TestKeepAndRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	f := filesIn(t, dir)
	o := Outcome{URL: "https://localhost", CACert: "authority", Context: "press", token: "secret-token"}
	f.keepAll(t, &o, "secret-password", false)
	all, warning, err := client.LoadContexts(f.config)
	if c := all.Contexts["press"]; err != nil || warning != "" || all.Current != "press" || c.Token != "secret-token" || c.CA != "authority" {
		t.Errorf("the context file holds %+v, %q, %v", all, warning, err)
	}
	for path, want := range map[string]string{o.CAPath: "authority", o.AdminPasswordFile: "secret-password\n"} {
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s holds %q, %v; want %q", path, text, err, want)
		}
	}
	info, err := os.Stat(o.AdminPasswordFile)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file has mode %v, %v", info.Mode(), err)
	}
	if err := f.remove(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), "press") {
			t.Errorf("%s is left", entry.Name())
		}
	}
	if err := f.remove(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// A second pass writes nothing and still names the password that the first one kept; a given
// password makes the kept one void.
func TestKeepAgain(t *testing.T) {
	f := filesIn(t, t.TempDir())
	o := Outcome{URL: "https://localhost", CACert: "authority", Context: "press", token: "t"}
	f.keepAll(t, &o, "generated", false)
	before := map[string]fs.FileInfo{}
	for _, path := range []string{f.config, f.authority, f.password} {
		before[path], _ = os.Stat(path) // a file that is missing fails below
	}
	o.AdminPasswordFile = ""
	f.keepAll(t, &o, "", false)
	if o.AdminPasswordFile != f.password {
		t.Errorf("the password's file is %q", o.AdminPasswordFile)
	}
	for path, was := range before {
		if now, err := os.Stat(path); err != nil || was == nil || !os.SameFile(was, now) || !now.ModTime().Equal(was.ModTime()) {
			t.Errorf("%s was written again (%v)", path, err)
		}
	}
	o.AdminPasswordFile = ""
	f.keepAll(t, &o, "", true)
	if _, err := os.Stat(f.password); !errors.Is(err, fs.ErrNotExist) || o.AdminPasswordFile != "" {
		t.Errorf("the kept password is still there: %v, %q", err, o.AdminPasswordFile)
	}
}
