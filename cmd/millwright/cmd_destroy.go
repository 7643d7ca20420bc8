package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type destroyOptions struct {
	input         inputOptions
	deleteVolumes bool
	consent       consentOptions
	output        outputOption
}

func newDestroyCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &destroyOptions{}
	cmd := &cobra.Command{
		Use:   "destroy FILE... | --id ID",
		Short: "Remove what files declare",
		Long: `Shows what goes, asks, and removes the services of commissioning files, or everything that a
stack file declares, or the one service that --id names. Without a terminal it needs --yes.

A stack with an 'instance:' is removed by removing that, with everything on it. Its volumes stay,
and an instance of the same name takes them over, unless --delete-volumes is given.`,
		Example: "  millwright destroy press.yml\n  millwright destroy --id press --yes",
		Args:    between(0, -1, "FILE..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.input.files = args
			return runDestroy(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *destroyOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.input.id, "id", "", "`id` of the service to remove")
	f.BoolVar(&o.input.adopt, "adopt", false, "remove objects of another owner too")
	f.BoolVar(&o.deleteVolumes, "delete-volumes", false, "remove the volumes of the stack's instance too: what it holds is lost")
	o.consent.addFlags(f)
	o.output.addFlag(f, "text", "json", "gitlab")
}

func runDestroy(ctx context.Context, opts *destroyOptions, global *globalOptions, s *streams) error {
	if err := errors.Join(opts.output.check(), opts.consent.check()); err != nil {
		return err
	}
	in, err := opts.what(ctx, s)
	if err != nil {
		return err
	}
	in.request.Adopt = opts.input.adopt
	a := application{streams: s, global: global, output: &opts.output, consent: &opts.consent, limits: &opts.input}
	if in.instance != nil {
		in.instance.DeleteVolumes = opts.deleteVolumes
		return deploy(ctx, s, a, in, nil)
	}
	if opts.deleteVolumes {
		return spec.Errorf(spec.Invalid, "cannot use --delete-volumes: only a stack's instance has volumes, and none is declared")
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	a.client = c
	return a.planAndApply(ctx, in.request)
}

func (o *destroyOptions) what(ctx context.Context, s *streams) (*input, error) {
	if len(o.input.files) == 0 {
		if o.input.id == "" {
			return nil, spec.Errorf(spec.Invalid, "cannot destroy nothing: name files, or a service by --id")
		}
		service := spec.Service{ID: o.input.id, State: spec.Absent}
		return &input{request: plan.Request{Services: []spec.Service{service}}}, service.Check()
	}
	if err := o.input.check(); err != nil {
		return nil, err
	}
	return o.input.absent(ctx, s)
}
