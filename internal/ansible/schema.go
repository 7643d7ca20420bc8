package ansible

import (
	"context"
	"maps"
)

// Type of an option's or return value, in Ansible's words.
type Type string

// The types. A path is text in which ~ and environment variables are expanded.
const (
	Str  Type = "str"
	Bool Type = "bool"
	Int  Type = "int"
	Real Type = "float"
	Path Type = "path"
	List Type = "list"
	Dict Type = "dict"
)

// Option is one argument of a module.
type Option struct {
	Name     string
	Type     Type
	Elements Type     // of a list
	Options  []Option // of a dict, or of the dicts in a list; none: any keys
	Each     *Option  // of a dict with any keys: what each value is; nil: anything
	Default  any      // nil: none
	Choices  []string
	Aliases  []string
	Required bool
	// Nullable marks an option for which null is a value, not a way to leave it out.
	Nullable bool
	// NoLog marks a secret: it is masked wherever it turns up in the result.
	NoLog bool
	// Hidden is shown in the invocation by its size alone: it may hold secrets that are
	// not known to be ones.
	Hidden bool
	Doc    []string // sentences, in Ansible's markup
}

// RequiredIf demands further options where one has a value.
type RequiredIf struct {
	Option string
	Value  any
	Needs  []string
}

// Return is one value that a module returns.
type Return struct {
	Name     string
	Type     Type
	Elements Type
	Returned string // when
	Doc      string
	Sample   any // nil: none
}

// Module is one module: what it accepts, what its page says, and what it does.
type Module struct {
	Name        string
	Short       string
	Description []string
	Options     []Option
	// Connection adds the options that say which instance is meant, and how to log in there. A
	// module without them ignores them, for they may come from the defaults of a group.
	Connection        bool
	MutuallyExclusive [][]string
	RequiredIf        []RequiredIf
	Notes             []string
	SeeAlso           []string // names of modules of this collection
	Examples          string   // YAML
	Returns           []Return
	ReadOnly          bool // it changes nothing: an _info module

	run func(ctx context.Context, t *task) error
}

// Modules lists the modules, in the order of their names.
func Modules() []*Module {
	return []*Module{instanceModule(), instanceInfoModule(), roleModule(), serviceModule(), serviceInfoModule(), userModule()}
}

// moduleNamed finds a module by its name or by a qualified one.
func moduleNamed(name string) (*Module, bool) {
	for _, m := range Modules() {
		if m.Name == lastPart(name) {
			return m, true
		}
	}
	return nil, false
}

// options are the module's own and those that it shares.
func (m *Module) options() []Option {
	if !m.Connection {
		return m.Options
	}
	shared := connectionOptions()
	if !m.ReadOnly {
		shared = append(shared, changeOptions()...)
	}
	return append(append([]Option{}, m.Options...), shared...)
}

// accepted is what is given without the options of a connection that the module does not have.
func (m *Module) accepted(given map[string]any) map[string]any {
	if m.Connection {
		return given
	}
	own := map[string]bool{}
	for _, o := range m.Options {
		own[o.Name] = true
	}
	rest := maps.Clone(given)
	for _, o := range append(connectionOptions(), changeOptions()...) {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			if !own[name] {
				delete(rest, name)
			}
		}
	}
	return rest
}

// exclusive are the groups of options of which one may be given.
func (m *Module) exclusive() [][]string {
	if !m.Connection {
		return m.MutuallyExclusive
	}
	return append(append([][]string{}, m.MutuallyExclusive...), []string{"ca_cert", "ca_path"})
}
