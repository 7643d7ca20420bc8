package deployer

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// Outcome is what a pass came to, and how the instance is reached. What is not known, or not
// there, is empty.
type Outcome struct {
	Plan              plan.Plan
	URL               string
	CACert            string // PEM of the instance's own authority
	CAPath            string // a file with it, beside the context file
	Context           string // the context's name
	ComposeFile       string
	EnvFile           string
	AdminPasswordFile string // with a generated password of the first admin
	BackupFile        string // made before an upgrade, or of what a restore replaced; VOLUME:NAME in a volume of the engine
	Containers        []Container

	token string
	given bool // the instance has a certificate of another authority
}

// Settings are how a client reaches exactly this instance. They hold the deployer's token.
func (o Outcome) Settings() client.Settings {
	return client.Settings{URL: o.URL, CA: []byte(o.CACert), ServerName: pki.ControlName, Token: o.token, Context: o.Context}
}

// serverName is the name by which the instance has a certificate of its own authority: the
// host's, unless a certificate was given for that, or the instance does not know its host.
func (o Outcome) serverName() string {
	u, err := url.Parse(o.URL)
	if err == nil && u.Hostname() == "localhost" && !o.given {
		return ""
	}
	return pki.ControlName
}

// Container is one container of the instance.
type Container struct {
	Name    string `json:"name"`
	Part    string `json:"part"`
	ID      string `json:"id"`
	Image   string `json:"image"`
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

// files are those that say how one context's instance is reached.
type files struct {
	context   string
	config    string // the context file
	authority string
	password  string
}

func (d *Deployer) files(context string) (files, error) {
	config, err := client.ContextPath(d.options.Getenv)
	if err != nil {
		return files{}, err
	}
	beside := filepath.Join(filepath.Dir(config), context)
	return files{context: context, config: config, authority: beside + ".ca.crt", password: beside + ".admin-password"}, nil
}

func (f files) keepContext(o *Outcome) error {
	return client.SaveContextIn(f.config, f.context, client.Context{URL: o.URL, CA: o.CACert, Token: o.token, ServerName: o.serverName()})
}

func (f files) keepAuthority(o *Outcome) error {
	o.CAPath = f.authority
	have, err := os.ReadFile(f.authority)
	if err == nil && string(have) == o.CACert {
		return nil
	}
	if err := atomicfile.Write(f.authority, []byte(o.CACert), 0o644); err != nil {
		return spec.Errorf(spec.Invalid, "cannot keep the authority's certificate: %w", err)
	}
	return nil
}

// keepPassword writes a generated password; one that a given password has replaced goes.
func (f files) keepPassword(o *Outcome, generated string, given bool) error {
	if given {
		return removed(f.password)
	}
	if generated != "" {
		if err := atomicfile.Write(f.password, []byte(generated+"\n"), 0o600); err != nil {
			return spec.Errorf(spec.Invalid, "cannot keep the admin's password: %w", err)
		}
	}
	if _, err := os.Stat(f.password); err == nil {
		o.AdminPasswordFile = f.password
	}
	return nil
}

func (f files) remove() error {
	return errors.Join(client.RemoveContextIn(f.config, f.context), removed(f.authority), removed(f.password))
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return spec.Errorf(spec.Invalid, "cannot remove %q: %w", path, err)
	}
	return nil
}
