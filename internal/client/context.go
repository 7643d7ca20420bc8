package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
)

// Context is one instance as the context file knows it. The token is made for it alone; a
// password is never kept.
type Context struct {
	URL   string `yaml:"url"`
	CA    string `yaml:"ca,omitempty"` // PEM; empty: the system's authorities
	Token string `yaml:"token,omitempty"`
	// ServerName is the name that the instance's certificate is for; empty: the URL's host.
	ServerName string `yaml:"server_name,omitempty"`

	// More holds what another version wrote.
	More map[string]any `yaml:",inline"`
}

// Contexts is the content of the context file.
type Contexts struct {
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]Context `yaml:"contexts"`

	More map[string]any `yaml:",inline"`
}

// Names returns the contexts' names, sorted.
func (c Contexts) Names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

// ContextPath returns where the context file is: $MILLWRIGHT_CONFIG, else
// $XDG_CONFIG_HOME/millwright/config.yaml, else ~/.config/millwright/config.yaml.
func ContextPath(getenv func(string) string) (string, error) {
	if path := getenv("MILLWRIGHT_CONFIG"); path != "" {
		return path, nil
	}
	base := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) { // the standard has relative ones ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", spec.Errorf(spec.Invalid, "cannot find the context file: %w", err).
				WithHint("name it by MILLWRIGHT_CONFIG")
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "millwright", "config.yaml"), nil
}

// LoadContexts reads the context file; one that does not exist is empty. The warning is
// not empty where others than the owner can read it.
func LoadContexts(path string) (c Contexts, warning string, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, "", nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return c, "", spec.Errorf(spec.Forbidden, "cannot read the context file %q: only its owner may", path).
			WithHint("run as its owner (in a playbook: become: true), or name another file by MILLWRIGHT_CONFIG")
	}
	if err != nil {
		return c, "", spec.Errorf(spec.Invalid, "cannot read the context file %q: %w", path, err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		return c, "", spec.Errorf(spec.Invalid, "cannot read the context file %q: it is no file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		warning = fmt.Sprintf("the context file %q holds tokens and others can read it: chmod 600 %s", path, path)
	}
	d := yaml.NewDecoder(file)
	if err := d.Decode(&c); err != nil {
		return Contexts{}, warning, spec.Errorf(spec.Invalid, "cannot read the context file %q: %s", path, oneLine(err)).
			WithHint("mend it, or move it away and log in again")
	}
	return c, warning, nil
}

// SaveContext adds or replaces one context in the context file of this process's
// environment; see SaveContextIn.
func SaveContext(name string, context Context) error {
	path, err := ContextPath(os.Getenv)
	if err != nil {
		return err
	}
	return SaveContextIn(path, name, context)
}

// SaveContextIn adds or replaces one context in the context file, which it makes where it is
// missing, readable for its owner alone. The context becomes the current one if there is none.
// The others stay. A file that says so already is left as it is.
func SaveContextIn(path, name string, context Context) error {
	if err := spec.CheckName("context", name); err != nil {
		return err
	}
	if _, err := parseURL(context.URL); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return notWritten(path, err)
	}
	return change(path, func(all *Contexts) bool {
		have, ok := all.Contexts[name]
		context.More = have.More
		_, current := all.Contexts[all.Current]
		if ok && current && reflect.DeepEqual(have, context) {
			return false
		}
		if all.Contexts == nil {
			all.Contexts = map[string]Context{}
		}
		all.Contexts[name] = context
		if !current {
			all.Current = name
		}
		return true
	})
}

// RemoveContextIn takes one context out of the context file. One that is not there, as a file
// that is not, is no error. If it was the current one, none is afterwards.
func RemoveContextIn(path, name string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return change(path, func(all *Contexts) bool {
		if _, ok := all.Contexts[name]; !ok {
			return false
		}
		delete(all.Contexts, name)
		if all.Current == name {
			all.Current = ""
		}
		return true
	})
}

// change edits the context file under its lock; edit reports whether there is something to write.
func change(path string, edit func(*Contexts) bool) error {
	lock, err := lockedfile.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return notWritten(path, err)
	}
	defer lock.Close() //nolint:errcheck // it holds nothing; closing unlocks it
	all, open, err := LoadContexts(path)
	if err != nil {
		return err
	}
	if !edit(&all) && open == "" {
		return nil
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		return notWritten(path, err)
	}
	if err := atomicfile.Write(path, text, 0o600); err != nil {
		return notWritten(path, err)
	}
	return nil
}

func notWritten(path string, err error) error {
	return spec.Errorf(spec.Invalid, "cannot write the context file %q: %w", path, err).
		WithHint("name another file by MILLWRIGHT_CONFIG")
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
