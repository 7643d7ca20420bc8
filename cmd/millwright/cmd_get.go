package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

type getOptions struct {
	kind    string
	id      string // empty: all of the kind
	service string // narrow lists of resources; empty: all
	state   string
	output  outputOption
}

// What `get` shows beside the kinds that are lists.
const (
	certificateKind = "certificate"
	authorityKind   = "authority"
)

func newGetCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &getOptions{}
	cmd := &cobra.Command{
		Use:   "get KIND [ID]",
		Short: "Show what there is and how it stands",
		Long: `Shows all objects of a kind, or one of them: services, users, roles, agents, connections,
endpoints, mappings, tokens; or the instance's OPC UA client certificate, which machines must
trust; or the certificate of its own authority, which clients of its TLS listeners must trust.
A service shows which of its resources deviate from what is asked for, and why.`,
		Example: "  millwright get services press\n  millwright get endpoints --service press --state failed\n" +
			"  millwright get connections -o json\n  millwright get certificate > millwright.pem",
		ValidArgs: kindNames(),
		Args:      between(1, 2, "KIND", "[ID]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.kind = args[0]
			if len(args) > 1 {
				opts.id = args[1]
			}
			return runGet(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	cmd.Flags().StringVar(&opts.service, "service", "", "only connections, endpoints or mappings of the service with that `id`")
	cmd.Flags().StringVar(&opts.state, "state", "", "only connections, endpoints or mappings in that `state`, such as failed")
	return cmd
}

func (o *getOptions) addFlags(cmd *cobra.Command) {
	o.output.addFlag(cmd.Flags(), "text", "json", "yaml")
}

// check refuses a kind that there is not, and filters that it does not take.
func (o *getOptions) check() error {
	if err := errors.Join(o.output.check(), oneOf("kind", o.kind, kindNames()...)); err != nil {
		return err
	}
	for _, k := range kinds() {
		if _, ok := k.(states); ok && k.name() == o.kind {
			return nil
		}
	}
	if o.service != "" || o.state != "" {
		return spec.Errorf(spec.Invalid, "cannot narrow %s by --service or --state: those are for connections, endpoints and mappings", o.kind)
	}
	return nil
}

func runGet(ctx context.Context, opts *getOptions, global *globalOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	if opts.kind == certificateKind {
		return getCertificate(ctx, c, opts, s)
	}
	if opts.kind == authorityKind {
		return getAuthority(ctx, c, opts, s)
	}
	for _, k := range kinds() {
		if k.name() == opts.kind {
			return k.get(ctx, c, opts, s.out)
		}
	}
	return nil
}

func getCertificate(ctx context.Context, c *client.Client, opts *getOptions, s *streams) error {
	if opts.id != "" {
		return spec.Errorf(spec.Invalid, "cannot get certificate %q: there is one, without an id", opts.id)
	}
	certificate, err := c.Certificate(ctx)
	if err != nil {
		return err
	}
	return opts.output.print(s.out, certificate, func(w io.Writer) error {
		s.note("application URI %s\nfingerprint     %s\nvalid until     %s\n",
			certificate.ApplicationURI, certificate.Fingerprint, moment(certificate.NotAfter))
		_, err := fmt.Fprintln(w, strings.TrimSpace(certificate.PEM))
		return err
	})
}

func getAuthority(ctx context.Context, c *client.Client, opts *getOptions, s *streams) error {
	if opts.id != "" {
		return spec.Errorf(spec.Invalid, "cannot get authority %q: there is one, without an id", opts.id)
	}
	authority, err := c.Authority(ctx)
	if err != nil {
		return err
	}
	return opts.output.print(s.out, authority, func(w io.Writer) error {
		s.note("fingerprint     %s\nvalid until     %s\n", authority.Fingerprint, moment(authority.NotAfter))
		_, err := fmt.Fprintln(w, strings.TrimSpace(authority.PEM))
		return err
	})
}

// kind is one that `get` shows.
type kind interface {
	name() string
	get(ctx context.Context, c *client.Client, opts *getOptions, w io.Writer) error
}

func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name())
	}
	return append(names, certificateKind, authorityKind)
}

// objects is a kind of object that has a route for one of them.
type objects[V any] struct {
	plural     string
	collection func(*client.Client) client.Collection[V]
	header     string
	row        func(V) []string
	detail     func(io.Writer, V) error // nil: the table of one
}

func (k objects[V]) name() string { return k.plural }

func (k objects[V]) get(ctx context.Context, c *client.Client, opts *getOptions, w io.Writer) error {
	if opts.id == "" {
		all, err := k.collection(c).List(ctx, nil)
		if err != nil {
			return err
		}
		return opts.output.print(w, all, func(w io.Writer) error { return k.table(w, all) })
	}
	one, err := k.collection(c).Get(ctx, opts.id)
	if err != nil {
		return err
	}
	return opts.output.print(w, one, func(w io.Writer) error {
		if k.detail != nil {
			return k.detail(w, one)
		}
		return k.table(w, []V{one})
	})
}

func (k objects[V]) table(w io.Writer, all []V) error {
	rows := make([][]string, 0, len(all))
	for _, v := range all {
		rows = append(rows, k.row(v))
	}
	return table(w, k.header, rows)
}

// states is a kind of resource whose state is listed; an id narrows the list.
type states struct {
	plural     string
	collection func(*client.Client) client.Collection[spec.ResourceStatus]
	header     string
	row        func(spec.ResourceStatus) []string
}

func (k states) name() string { return k.plural }

func (k states) get(ctx context.Context, c *client.Client, opts *getOptions, w io.Writer) error {
	query := url.Values{}
	for name, value := range map[string]string{"service": opts.service, "state": opts.state} {
		if value != "" {
			query.Set(name, value)
		}
	}
	found := []spec.ResourceStatus{}
	for v, err := range k.collection(c).All(ctx, query) {
		if err != nil {
			return err
		}
		if opts.wants(v) {
			found = append(found, v)
		}
	}
	if opts.id != "" && len(found) == 0 {
		return spec.Errorf(spec.NotFound, "cannot find %q among the %s", opts.id, k.plural)
	}
	return opts.output.print(w, found, func(w io.Writer) error {
		rows := make([][]string, 0, len(found))
		for _, v := range found {
			rows = append(rows, k.row(v))
		}
		return table(w, k.header, rows)
	})
}

// wants reports whether the resource is one that was asked for. The instance narrows the list
// by service and state; one that is too old for that sends more.
func (o *getOptions) wants(v spec.ResourceStatus) bool {
	return (o.id == "" || names(v, o.id)) && (o.service == "" || o.service == v.Service) && (o.state == "" || o.state == v.State)
}

// names reports whether id means the resource: its own id, with its service, or its address.
func names(v spec.ResourceStatus, id string) bool {
	return id == v.ID || id == v.Key() || id == v.Service+"/"+v.ID || id == spec.ResourceAddress(v.Service, v.Type, v.ID)
}
