package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// globalOptions are the flags of every command.
type globalOptions struct {
	context   string
	url       string
	token     string
	caPath    string
	verbose   bool
	logFormat string
	noColor   bool
}

func (g *globalOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&g.context, "context", "", "`name` of a context in the context file")
	f.StringVar(&g.url, "url", "", "`address` of the instance")
	f.StringVar(&g.token, "token", "", "`token` to log in with; the variable keeps it out of the process list")
	f.StringVar(&g.caPath, "ca-path", "", "`file` with the certificate authority of the instance, PEM")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "log more")
	f.StringVar(&g.logFormat, "log-format", "text", "form of log lines, text or json")
	f.BoolVar(&g.noColor, "no-color", false, "no colours")
}

func (g *globalOptions) check() error { return oneOf("--log-format", g.logFormat, "text", "json") }

// connect returns a client for the instance that flags, environment and context file name.
func (g *globalOptions) connect(s *streams) (*client.Client, error) {
	given := client.Given{Context: g.context, URL: g.url, Token: g.token, CAPath: g.caPath}
	settings, warnings, err := client.Resolve(given, s.getenv)
	if err != nil {
		return nil, err
	}
	log := s.logger(g, levelWarn)
	for _, w := range warnings {
		log.Warn(w)
	}
	return client.New(settings, version, log)
}

// connectionFlags are read from the environment by package client, which knows that an
// explicit --context outweighs MILLWRIGHT_URL.
var connectionFlags = []string{"context", "url", "token", "ca-path"}

// machineFlag marks a flag about a machine, whose name would otherwise give it a variable
// that is meant for the instance: the one's password must not be sent to the other.
const machineFlag = "machine"

// variable names the environment variable of a flag.
func variable(f *pflag.Flag) string {
	name := strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	if _, ok := f.Annotations[machineFlag]; ok {
		return "MILLWRIGHT_MACHINE_" + name
	}
	return "MILLWRIGHT_" + name
}

// readEnvironment sets each flag that was not given from its variable. A list takes one
// value a line.
func readEnvironment(cmd *cobra.Command, getenv func(string) string) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value := getenv(variable(f))
		if f.Changed || value == "" || f.Name == "help" || slices.Contains(connectionFlags, f.Name) {
			return
		}
		values := []string{value}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.Split(strings.TrimRight(value, "\n"), "\n")
		}
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, v); err != nil && failed == nil {
				failed = spec.Errorf(spec.Invalid, "cannot use %s=%q: %s", variable(f), v, cause(err))
			}
		}
	})
	return failed
}

// cause drops pflag's own words.
func cause(err error) string {
	_, reason, found := strings.Cut(err.Error(), " flag: ")
	if !found {
		return err.Error()
	}
	return reason
}

// flagError turns pflag's error into one line with a hint.
func flagError(cmd *cobra.Command, err error) error {
	e := spec.Errorf(spec.Invalid, "cannot run %q: %s", cmd.CommandPath(), err)
	text := err.Error()
	name, unknown := strings.CutPrefix(text, "unknown flag: --")
	if !unknown {
		return e.WithHint("run `%s --help`", cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near, ok := nearest(name, names); ok {
		return e.WithHint("did you mean --%s?", near)
	}
	return e.WithHint("run `%s --help` to see what there is", cmd.CommandPath())
}

// oneOf refuses a flag's value that is not among the allowed ones.
func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	e := spec.Errorf(spec.Invalid, "cannot use %s %q: it is %s", flag, value, strings.Join(allowed, ", "))
	if near, ok := nearest(value, allowed); ok {
		return e.WithHint("did you mean %q?", near)
	}
	return e
}

// inRange refuses a number that makes no sense.
func inRange[N int | int64 | float64](flag string, value, least, most N) error {
	if value >= least && value <= most {
		return nil
	}
	return spec.Errorf(spec.Invalid, "cannot use %s %v: it is from %v to %v", flag, value, least, most)
}

// durationInRange refuses a negative duration and one that makes no sense.
func durationInRange(flag string, d, most time.Duration) error {
	if d >= 0 && d <= most {
		return nil
	}
	return spec.Errorf(spec.Invalid, "cannot use %s %s: it is from 0s to %s", flag, d, most)
}
