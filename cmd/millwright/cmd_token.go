package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/spec"
)

func newTokenCommand(s *streams, global *globalOptions) *cobra.Command {
	return group("token", "Create, list and revoke API tokens",
		newTokenCreateCommand(s, global), newTokenListCommand(s, global), newTokenRevokeCommand(s, global))
}

type tokenCreateOptions struct {
	name        string
	ttl         time.Duration
	permissions []string
	output      outputOption
}

func newTokenCreateCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &tokenCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a token and print it, this once",
		Long: `Creates a named token of the user who is logged in. It may do what the user may, or, with
--permission, the part of that which is named.`,
		Example: "  millwright token create merge-requests --ttl 720h --permission http:read:api/v1/#",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			return runTokenCreate(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *tokenCreateOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&o.ttl, "ttl", 90*24*time.Hour, "how long the token is valid")
	f.StringArrayVar(&o.permissions, "permission", nil, "`CONTEXT:OPERATION:RESOURCE` that the token may do, such as mqtt:read:plant/#; repeatable")
	o.output.addFlag(f, "text", "json", "yaml")
}

// longestToken bounds what is asked for; the server may allow less.
const longestToken = 10 * 365 * 24 * time.Hour

func (o *tokenCreateOptions) request() (spec.TokenRequest, error) {
	r := spec.TokenRequest{Name: o.name, TTL: o.ttl.String()}
	if o.ttl <= 0 || o.ttl > longestToken {
		return r, spec.Errorf(spec.Invalid, "cannot use --ttl %s: it is more than 0s and at most %s", o.ttl, longestToken)
	}
	for _, text := range o.permissions {
		parts := strings.SplitN(text, ":", 3)
		if len(parts) != 3 {
			return r, spec.Errorf(spec.Invalid, "cannot use --permission %q", text).
				WithHint("it looks like mqtt:read:plant/# or http:readWrite:api/v1/services/#")
		}
		p := spec.Permission{Context: spec.Context(parts[0]), Operation: spec.Operation(parts[1]), Resource: parts[2]}
		if err := p.Check(); err != nil {
			return r, err
		}
		r.Permissions = append(r.Permissions, p)
	}
	return r, nil
}

func runTokenCreate(ctx context.Context, opts *tokenCreateOptions, global *globalOptions, s *streams) error {
	request, err := opts.request()
	if err = errors.Join(opts.output.check(), err); err != nil {
		return err
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	token, err := c.CreateToken(ctx, request)
	if err != nil {
		return err
	}
	return opts.output.print(s.out, token, func(w io.Writer) error {
		s.note("token %s (%s) is valid until %s and is not shown again\n", token.ID, token.Name, moment(token.ExpiresAt))
		_, err := fmt.Fprintln(w, token.Token)
		return err
	})
}

func newTokenListCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &getOptions{kind: "tokens"}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Args:  exactly(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runGet(cmd.Context(), opts, global, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

type tokenRevokeOptions struct{ id string }

func newTokenRevokeCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &tokenRevokeOptions{}
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token, at once",
		Args:  exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id = args[0]
			return runTokenRevoke(cmd.Context(), opts, global, s)
		},
	}
}

func runTokenRevoke(ctx context.Context, opts *tokenRevokeOptions, global *globalOptions, s *streams) error {
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Tokens().Delete(ctx, opts.id); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "revoked %s\n", opts.id)
	return err
}
