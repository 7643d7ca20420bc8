package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/commissioning/stack"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

type renderComposeOptions struct {
	file string
	set  []string
	dir  string
}

func newRenderCommand(s *streams) *cobra.Command {
	return group("render", "Print the files that a deployment consists of", newRenderComposeCommand(s))
}

func newRenderComposeCommand(s *streams) *cobra.Command {
	opts := &renderComposeOptions{}
	cmd := &cobra.Command{
		Use:   "compose",
		Short: "Print the docker-compose.yml of an instance, or write it with its .env",
		Long: `Prints the docker-compose.yml that an instance's settings come to; with --dir it writes that
file and the .env that belongs to it. No Docker engine is asked. The settings are those of a
stack file's 'instance:' and of --set, which goes first; the rest are defaults.`,
		Example: "  millwright render compose -f stack.yaml\n  millwright render compose --set ports.https=8443 --set 'agents=[north]' --dir deploy",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runRenderCompose(cmd.Context(), opts, s) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func (o *renderComposeOptions) addFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.file, "file", "f", "", "stack `file`; \"-\": standard input")
	f.StringArrayVar(&o.set, "set", nil, "option `NAME=VALUE` of the instance, the value typed as in YAML; repeatable")
	f.StringVar(&o.dir, "dir", "", "`directory` to write both files to, instead of printing the one")
}

func runRenderCompose(ctx context.Context, opts *renderComposeOptions, s *streams) error {
	given, err := opts.instance(ctx, s)
	if err != nil {
		return err
	}
	if given.InstallPath, err = absolutePath("install_path", given.InstallPath); err != nil {
		return err
	}
	defaults := spec.InstanceDefaults{Version: version, InstallPath: "/opt/millwright", Timezone: s.getenv("TZ")}
	if opts.dir != "" && given.InstallPath == "" {
		if defaults.InstallPath, err = absolutePath("--dir", opts.dir); err != nil {
			return err
		}
	}
	settled, err := given.Over(nil, defaults)
	if err != nil {
		return err
	}
	d, err := render.Deployment(settled)
	if err != nil {
		return err
	}
	if opts.dir == "" {
		_, err := s.out.Write(d.Files[0].Content)
		return err
	}
	if err := os.MkdirAll(opts.dir, 0o755); err != nil {
		return spec.Errorf(spec.Invalid, "cannot make the directory %q: %w", opts.dir, err)
	}
	for _, f := range d.Files {
		path := filepath.Join(opts.dir, f.Name)
		if err := atomicfile.Write(path, f.Content, os.FileMode(f.Mode)); err != nil {
			return spec.Errorf(spec.Unavailable, "cannot write %q: %w", path, err)
		}
		s.note("%s\n", path)
	}
	return nil
}

// instance is that of the stack file, with --set over it.
func (o *renderComposeOptions) instance(ctx context.Context, s *streams) (spec.Instance, error) {
	options := map[string]any{}
	if o.file != "" {
		read := newSources(s)
		text, err := read.file(ctx, o.file)
		if err != nil {
			return spec.Instance{}, err
		}
		declared, found := stack.Parse(o.file, text)
		if err := refuse(found); err != nil {
			return spec.Instance{}, err
		}
		declaredOptions, found := declared.Options(stackSources(ctx, read))
		if err := refuse(found); err != nil {
			return spec.Instance{}, err
		}
		if declaredOptions != nil {
			options = declaredOptions
		}
	}
	given, err := assignments("--set", o.set)
	if err != nil {
		return spec.Instance{}, err
	}
	for _, a := range given {
		if err := assign(options, strings.Split(a.name, "."), typedValue(a.text)); err != nil {
			return spec.Instance{}, err
		}
	}
	return spec.DecodeInstance(options)
}

// absolutePath is the path from the root; none stays none.
func absolutePath(what, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", spec.Errorf(spec.Invalid, "cannot use %s %q: %w", what, path, err)
	}
	return absolute, nil
}

// assign sets "ports.https" within a tree of options.
func assign(tree map[string]any, path []string, value any) error {
	if len(path) == 1 {
		tree[path[0]] = value
		return nil
	}
	child, ok := tree[path[0]].(map[string]any)
	if !ok {
		if tree[path[0]] != nil {
			return spec.Errorf(spec.Invalid, "cannot set %q within %q: that holds no options", strings.Join(path[1:], "."), path[0])
		}
		child = map[string]any{}
		tree[path[0]] = child
	}
	return assign(child, path[1:], value)
}
