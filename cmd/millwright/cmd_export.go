package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/commissioning/stack"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type exportOptions struct {
	out    string
	stack  string
	force  bool
	output outputOption
}

func newExportCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &exportOptions{}
	cmd := &cobra.Command{
		Use:   "export --out DIR",
		Short: "Write what an instance holds as a stack file and commissioning files",
		Long: `Writes the instance's roles, users and services as a stack.yaml, and the services' commissioning
files below services/. A plan of that stack.yaml on the same instance is empty; on another one it
makes the same again. What a service's own file declares is in that file alone.

No secret is written: passwords, sensitive parameters, and commissioning files in which a secret
stands stay on the instance, and are named. Equal instances give equal files.`,
		Example: "  millwright export --out plant\n  millwright plan plant/stack.yaml",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runExport(cmd.Context(), opts, global, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *exportOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "`directory` to write to")
	f.StringVar(&o.stack, "stack", "", "`name` of the stack (default: of the one that declares what is there)")
	f.BoolVar(&o.force, "force", false, "replace files that are there already")
	o.output.addFlag(f, "text", "json", "yaml")
}

func (o *exportOptions) check() error {
	if err := o.output.check(); err != nil {
		return err
	}
	if o.out == "" {
		return spec.Errorf(spec.Invalid, "cannot export without a directory").WithHint("name it by --out")
	}
	if o.stack != "" {
		return spec.CheckName("stack", o.stack)
	}
	return nil
}

func runExport(ctx context.Context, opts *exportOptions, global *globalOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	held, err := holdingsOf(ctx, c)
	if err != nil {
		return err
	}
	x, err := held.export(opts.stack)
	if err != nil {
		return err
	}
	if err := x.verify(ctx, c); err != nil {
		return err
	}
	if err := x.write(opts.out, opts.force); err != nil {
		return err
	}
	return opts.output.print(s.out, x.report(), x.print)
}

// holdingsOf reads everything that an export is made of.
func holdingsOf(ctx context.Context, c *client.Client) (holdings, error) {
	var h holdings
	var err error
	if h.roles, err = c.Roles().List(ctx, nil); err != nil {
		return h, err
	}
	if h.users, err = c.Users().List(ctx, nil); err != nil {
		return h, err
	}
	listed, err := c.Services().List(ctx, nil)
	if err != nil {
		return h, err
	}
	for _, v := range listed { // lists are without the files
		whole, err := c.Services().Get(ctx, v.ID)
		if err != nil {
			return h, err
		}
		h.services = append(h.services, whole)
	}
	return h, nil
}

// verify refuses an export whose plan would not be empty. The instance may have been changed
// while it was read.
func (x *exported) verify(ctx context.Context, c *client.Client) error {
	content := map[string][]byte{}
	for _, f := range x.files {
		content[filepath.FromSlash(f.name)] = f.content
	}
	declared, found := stack.Parse(stackFile, content[stackFile])
	if err := refuse(found); err != nil {
		return err
	}
	users, services, found := declared.Load(stack.Sources{
		Env:  func(string) (string, bool) { return "", false },
		File: func(path string) ([]byte, error) { return content[path], nil },
	})
	if err := refuse(found); err != nil {
		return err
	}
	p, err := c.Plan(ctx, plan.Request{Owner: declared.Owner(), Roles: declared.Roles, Users: users, Services: services})
	if err == nil && !p.Empty() {
		err = spec.Errorf(spec.Conflict, "%s differs", p.Steps[0].Address)
	}
	if spec.KindOf(err) == spec.Conflict {
		return spec.Errorf(spec.Conflict, "cannot export: the instance was changed while it was read: %w", err).
			WithHint("export again when nobody applies")
	}
	return err
}

// write writes all files, or refuses to replace any.
func (x *exported) write(dir string, force bool) error {
	for _, f := range x.files {
		if force {
			break
		}
		if err := mustNotExist(filepath.Join(dir, filepath.FromSlash(f.name))); err != nil {
			return spec.Errorf(spec.KindOf(err), "%w", err).WithHint("--force replaces what is there; other files are left alone")
		}
	}
	for _, f := range x.files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return spec.Errorf(spec.Invalid, "cannot make the directory %q: %w", filepath.Dir(path), errors.Unwrap(err))
		}
		if err := atomicfile.Write(path, f.content, 0o644); err != nil {
			return spec.Errorf(spec.Invalid, "cannot write %q: %w", path, err)
		}
	}
	return nil
}

// exportReport is what `export -o json` prints.
type exportReport struct {
	Stack    string    `json:"stack"`
	Files    []string  `json:"files"`
	Roles    int       `json:"roles"`
	Users    int       `json:"users"`
	Services int       `json:"services"`
	LeftOut  []leftOut `json:"left_out"`
}

func (x *exported) report() exportReport {
	r := exportReport{
		Stack: x.stack, Roles: x.counts.roles, Users: x.counts.users, Services: x.counts.services,
		LeftOut: append([]leftOut{}, x.leftOut...),
	}
	for _, f := range x.files {
		r.Files = append(r.Files, f.name)
	}
	return r
}

func (x *exported) print(w io.Writer) error {
	var b strings.Builder
	for _, f := range x.files {
		b.WriteString(f.name + "\n")
	}
	for _, l := range x.leftOut {
		fmt.Fprintf(&b, "%s: the %s holds a secret and is not written\n", l.Address, l.What)
	}
	fmt.Fprintf(&b, "Exported: %s, %s, %s.\n", count(x.counts.roles, "role"), count(x.counts.users, "user"), count(x.counts.services, "service"))
	_, err := io.WriteString(w, b.String())
	return err
}
