package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type destroyOptions struct {
	input   inputOptions
	consent consentOptions
	output  outputOption
}

func newDestroyCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &destroyOptions{}
	cmd := &cobra.Command{
		Use:   "destroy FILE... | --id ID",
		Short: "Remove what files declare",
		Long: `Shows what goes, asks, and removes the services of commissioning files, or everything that a
stack file declares, or the one service that --id names. Without a terminal it needs --yes.`,
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
	o.consent.addFlags(f)
	o.output.addFlag(f, "text", "json", "gitlab")
}

func runDestroy(ctx context.Context, opts *destroyOptions, global *globalOptions, s *streams) error {
	if err := errors.Join(opts.output.check(), opts.consent.check()); err != nil {
		return err
	}
	request, err := opts.request(ctx, s)
	if err != nil {
		return err
	}
	request.Adopt = opts.input.adopt
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	a := application{client: c, streams: s, global: global, output: &opts.output, consent: &opts.consent, limits: &opts.input}
	return a.planAndApply(ctx, request)
}

func (o *destroyOptions) request(ctx context.Context, s *streams) (plan.Request, error) {
	if len(o.input.files) == 0 {
		if o.input.id == "" {
			return plan.Request{}, spec.Errorf(spec.Invalid, "cannot destroy nothing: name files, or a service by --id")
		}
		service := spec.Service{ID: o.input.id, State: spec.Absent}
		return plan.Request{Services: []spec.Service{service}}, service.Check()
	}
	if err := o.input.check(); err != nil {
		return plan.Request{}, err
	}
	return o.input.absent(ctx, s)
}
