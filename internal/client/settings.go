package client

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// defaultURL is used where nothing says anything else.
const defaultURL = "https://localhost"

// Settings is how an instance is reached.
type Settings struct {
	URL      string
	Token    string
	Username string // with Password, used to log in where there is no token
	Password string
	CA       []byte // PEM; empty: the system's authorities
	// ServerName is the name that the instance's certificate is for; empty: the URL's host.
	ServerName string
	Context    string // the context that they were taken from; empty: none
	// SkipVerify takes any certificate for the instance's; for tests only.
	SkipVerify bool

	absentConfig string // what MILLWRIGHT_CONFIG names, where that is the reason that there is no context
}

// Given is what one source of settings says; empty fields say nothing.
type Given struct {
	Context  string
	URL      string
	Token    string
	Username string
	Password string
	CAPath   string

	// Unattended is set by what no person sits at: of several contexts it takes none for the
	// one that is meant, the current one neither.
	Unattended bool
}

// environment reads the settings' variables.
func environment(getenv func(string) string) Given {
	return Given{
		Context:  getenv("MILLWRIGHT_CONTEXT"),
		URL:      getenv("MILLWRIGHT_URL"),
		Token:    getenv("MILLWRIGHT_TOKEN"),
		Username: getenv("MILLWRIGHT_USERNAME"),
		Password: getenv("MILLWRIGHT_PASSWORD"),
		CAPath:   getenv("MILLWRIGHT_CA_PATH"),
	}
}

// Resolve finds the settings in the order of explicit options, environment, context file
// and default. A context's token and authority are only used with the context's own URL, so
// that a token never travels to another host. The warnings are for the user to see.
func Resolve(explicit Given, getenv func(string) string) (s Settings, warnings []string, err error) {
	path, err := ContextPath(getenv)
	if err != nil {
		return s, nil, err
	}
	env := environment(getenv)
	contexts, warning, err := LoadContexts(path)
	if err != nil {
		if !selfContained(explicit, env) {
			return s, nil, err
		}
		warning = err.Error() // nothing of it is needed
	}
	if warning != "" {
		warnings = append(warnings, warning)
	}
	if explicit.Context != "" { // more explicit than any variable's URL
		env.URL = ""
	}
	name, context, err := chooseContext(contexts, path, explicit, env)
	if err != nil {
		return s, warnings, err
	}
	s.URL = cmp.Or(explicit.URL, env.URL, context.URL, defaultURL)
	if context.URL != "" && SameURL(s.URL, context.URL) {
		s.Context, s.CA, s.ServerName, s.Token = name, []byte(context.CA), context.ServerName, context.Token
	}
	if explicit.URL == "" && env.URL == "" && context.URL == "" {
		s.absentConfig = absent(getenv("MILLWRIGHT_CONFIG"))
	}
	s.authenticate(explicit, env)
	if path := cmp.Or(explicit.CAPath, env.CAPath); path != "" {
		if s.CA, err = os.ReadFile(path); err != nil {
			return s, warnings, spec.Errorf(spec.Invalid, "cannot read the certificate authority: %w", err).WithHint("%s", authorityHint)
		}
		s.ServerName = "" // who gives an authority has it vouch for the URL
	}
	if inClear(s) {
		warnings = append(warnings, fmt.Sprintf("%s is not encrypted: token and data travel readably", s.URL))
	}
	return s, warnings, nil
}

// selfContained reports whether the sources say where, and as whom, without a context.
func selfContained(explicit, env Given) bool {
	if explicit.Context != "" || explicit.URL == "" && (env.URL == "" || env.Context != "") {
		return false
	}
	return cmp.Or(explicit.Token, explicit.Username, env.Token, env.Username) != ""
}

// absent returns path if it names a file that does not exist.
func absent(path string) string {
	if path == "" {
		return ""
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}

// authenticate takes the first source that says who asks; the context's token stays if none does.
func (s *Settings) authenticate(sources ...Given) {
	for _, g := range sources {
		if g.Token != "" {
			s.Token = g.Token
			return
		}
		if g.Username != "" {
			s.Token, s.Username, s.Password = "", g.Username, g.Password
			return
		}
	}
}

// chooseContext returns the context that is named, else the current one, else the only one.
// A URL that is given needs none, but uses the one that has the same.
func chooseContext(all Contexts, path string, explicit, env Given) (string, Context, error) {
	given := cmp.Or(explicit.URL, env.URL)
	if name := cmp.Or(explicit.Context, env.Context); name != "" {
		c, ok := all.Contexts[name]
		if !ok {
			return "", Context{}, spec.Errorf(spec.Invalid, "cannot find context %q in %q", name, path).
				WithHint("%s", known(all, path))
		}
		return name, c, nil
	}
	names := all.Names()
	if given != "" {
		for _, name := range append([]string{all.Current}, names...) {
			if c := all.Contexts[name]; SameURL(given, c.URL) {
				return name, c, nil
			}
		}
		return "", Context{}, nil
	}
	switch {
	case all.Current != "" && !explicit.Unattended:
		c, ok := all.Contexts[all.Current]
		if !ok {
			return "", Context{}, spec.Errorf(spec.Invalid, "cannot find the current context %q in %q", all.Current, path).
				WithHint("%s", known(all, path))
		}
		return all.Current, c, nil
	case len(names) > 1 && explicit.Unattended:
		return "", Context{}, spec.Errorf(spec.Invalid, "cannot choose among the contexts of %q", path).
			WithHint("%s; name one by the option context, or by MILLWRIGHT_CONTEXT", known(all, path))
	case len(names) > 1:
		return "", Context{}, spec.Errorf(spec.Invalid, "cannot choose among the contexts of %q: none is current", path).
			WithHint("%s; name one by --context", known(all, path))
	case len(names) == 1:
		return names[0], all.Contexts[names[0]], nil
	}
	return "", Context{}, nil
}

func known(all Contexts, path string) string {
	if absent(path) != "" {
		return "that file does not exist: log in with `millwright login`, or look at MILLWRIGHT_CONFIG"
	}
	if len(all.Contexts) == 0 {
		return "it holds none: log in with `millwright login`"
	}
	return "it holds " + strings.Join(all.Names(), ", ")
}

// SameURL reports whether two addresses of instances are one.
func SameURL(a, b string) bool {
	return a != "" && strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// inClear reports whether a secret would leave this machine unencrypted.
func inClear(s Settings) bool {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" || (s.Token == "" && s.Username == "") {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}
