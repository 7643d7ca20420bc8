package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper/opcua"
)

// longestName leaves room in a service's id.
const longestName = 100

type browseOptions struct {
	target  string
	root    string
	depth   int
	limit   int
	out     string
	id      string
	login   machineLogin
	timeout time.Duration
	output  outputOption
}

func newBrowseCommand(s *streams) *cobra.Command {
	opts := &browseOptions{}
	cmd := &cobra.Command{
		Use:   "browse opc.tcp://HOST:PORT",
		Short: "Write a commissioning file for what an OPC UA server holds",
		Long: `Walks the address space of an OPC UA server, from this computer and without changing anything on
it, and writes a commissioning file with an endpoint for each variable that it found below the
root. Look through it, keep what is needed, and apply it. The service's id is that of --id, else
the name of --out without its extension, else one made from the server's address and the root.

-o text shows the nodes as a tree instead, -o json everything that is known of them.`,
		Example: "  millwright browse opc.tcp://10.0.0.7:4840 --root 'ns=2;s=Press' --out press.yml",
		Args:    exactly("opc.tcp://HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.target = args[0]
			return runBrowse(cmd.Context(), opts, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *browseOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.root, "root", "", "`node` below which to look, such as ns=2;s=Press (default: Objects)")
	f.IntVar(&o.depth, "depth", 20, "how many levels below the root")
	f.IntVar(&o.limit, "limit", 10_000, "how many nodes at most")
	f.StringVar(&o.out, "out", "", "`file` to write (default: standard output); one that exists is not overwritten")
	f.StringVar(&o.id, "id", "", "`name` of the service, in lower case (default: made from --out, else from the server and the root)")
	o.login.addFlags(f)
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait")
	o.output.addFlag(f, "file", "text", "json", "yaml")
}

func (o *browseOptions) check() error {
	return errors.Join(o.output.check(), durationInRange("--timeout", o.timeout, time.Hour),
		inRange("--depth", o.depth, 1, 1000), inRange("--limit", o.limit, 1, 1_000_000), o.checkID(), mustNotExist(o.out))
}

// checkID refuses an id that the file's metadata.name could not stand for.
func (o *browseOptions) checkID() error {
	if o.id == "" || serviceName(o.id) == o.id {
		return nil
	}
	err := spec.Errorf(spec.Invalid, "cannot name a service %q: use lower-case letters, digits, \"_\" and \".\"", o.id)
	if name := serviceName(o.id); name != "" {
		return err.WithHint("--id %s", name)
	}
	return err
}

// serviceID is the file's: as asked for, after the file's name, or after the server's.
func (o *browseOptions) serviceID(found opcua.Browsed) string {
	base := filepath.Base(o.out)
	return cmp.Or(o.id, serviceName(strings.TrimSuffix(base, filepath.Ext(base))), found.DefaultID())
}

// serviceName keeps what the id of a service can hold; "" if there is nothing.
func serviceName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, strings.ToLower(text))
	name = strings.TrimLeft(name, "_.")
	return name[:min(len(name), longestName)]
}

func runBrowse(ctx context.Context, opts *browseOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	machine, err := parseMachine(opts.target)
	if err != nil {
		return err
	}
	if machine.Scheme != schemeOPCUA {
		return spec.Errorf(spec.Invalid, "cannot browse %q: a Modbus device does not say what it holds", opts.target).
			WithHint("see what lies at an address with `millwright probe %s --address 0`", opts.target)
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	credentials, err := opts.login.credentials(ctx, s)
	if err != nil {
		return err
	}
	found, err := opcua.Browse(ctx, machine.String(), opts.root, opcua.BrowseOptions{
		Login: credentials, Depth: opts.depth, Most: opts.limit,
	})
	if err != nil {
		return err
	}
	if found.Truncated {
		s.note("there is more below the root than %s or %d levels: raise --limit or --depth, or choose a --root further down\n",
			count(opts.limit, "node"), opts.depth)
	}
	return opts.write(s, found)
}

func (o *browseOptions) write(s *streams, found opcua.Browsed) error {
	if o.output.format != "file" {
		return o.output.print(s.out, found, found.WriteText)
	}
	id := o.serviceID(found)
	if o.out == "" {
		_, err := io.WriteString(s.out, found.CommissioningFile(id))
		return err
	}
	if err := atomicfile.Write(o.out, []byte(found.CommissioningFile(id)), 0o644); err != nil {
		return spec.Errorf(spec.Invalid, "cannot write %q: %w", o.out, err)
	}
	s.note("wrote %s, of service %q: look through it, then `millwright plan %s`\n", o.out, id, o.out)
	return nil
}
