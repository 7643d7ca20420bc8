package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type planOptions struct {
	input            inputOptions
	detailedExitCode bool
	out              string
	output           outputOption
}

func newPlanCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &planOptions{}
	cmd := &cobra.Command{
		Use:   "plan FILE...",
		Short: "Show what applying files would change, and what that disturbs",
		Long: `Shows what applying commissioning files, or one stack file, would change, and which data stops
flowing meanwhile. Nothing changes. FILE "-" is standard input.

A stack file's 'instance:' is planned against its Docker engine, and what else the stack declares
against that instance; while it is not there, against an empty one. Lines that begin with "error:"
say why it cannot be applied.

With --out the plan is kept for review, and 'millwright apply --plan' does exactly that, or
nothing. The plan file holds no secret: it names the files and variables that it was made of,
and sensitive parameters are given to apply again.

Exit codes: with --detailed-exitcode 2 if there is something to change, else 0; 3 for mistakes
in the files, each with its place; 4 if it disturbs more than --max-disturbance.`,
		Example: "  millwright plan press.yml --set host=10.0.0.7\n  millwright plan stack.yaml --out plan.json",
		Args:    between(1, -1, "FILE..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.input.files = args
			return runPlan(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *planOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.input.addFlags(f)
	f.BoolVar(&o.detailedExitCode, "detailed-exitcode", false, "exit with 2 if there is something to change")
	f.StringVar(&o.out, "out", "", "`file` to keep the plan in, for apply --plan")
	o.output.addFlag(f, "text", "json", "gitlab")
}

func runPlan(ctx context.Context, opts *planOptions, global *globalOptions, s *streams) error {
	if err := errors.Join(opts.output.check(), opts.input.check()); err != nil {
		return err
	}
	in, err := opts.input.load(ctx, s)
	if err != nil {
		return err
	}
	if opts.out != "" && in.standardInput() {
		return spec.Errorf(spec.Invalid, "cannot keep a plan of standard input: apply could not read it again").
			WithHint("give the file's name")
	}
	p, err := planInput(ctx, in, global, s)
	if err != nil {
		return err
	}
	if err := printPlan(s, global, &opts.output, p); err != nil {
		return err
	}
	if opts.out != "" {
		if err := in.fingerprintArchive(); err != nil {
			return err
		}
		if err := writePlanFile(opts.out, &opts.input, in, p); err != nil {
			return err
		}
	}
	if err := opts.input.allow(p); err != nil {
		return err
	}
	if opts.detailedExitCode && !p.Empty() {
		return errChanges
	}
	return nil
}

// planInput plans an instance and what is on it, or what is declared on the context's instance.
func planInput(ctx context.Context, in *input, global *globalOptions, s *streams) (plan.Plan, error) {
	if in.instance != nil {
		return planDeployment(ctx, in, global, s)
	}
	c, err := global.connect(s)
	if err != nil {
		return plan.Plan{}, err
	}
	defer c.Close()
	p, err := c.Plan(ctx, in.request)
	if err != nil {
		return plan.Plan{}, err
	}
	return *p, nil
}

func planDeployment(ctx context.Context, in *input, global *globalOptions, s *streams) (plan.Plan, error) {
	d, err := openDeployment(ctx, s, global, in)
	if err != nil {
		return plan.Plan{}, err
	}
	defer d.close()
	found, err := d.survey(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	return found.whole()
}

// allow refuses a plan that disturbs more than it may.
func (o *inputOptions) allow(p plan.Plan) error {
	limit, most := plan.Disturbance(o.maxDisturbance), p.MaxDisturbance()
	if limit == "" || !most.Exceeds(limit) {
		return nil
	}
	return &refusedError{spec.Errorf(spec.Conflict, "refused: the plan disturbs the %s, and --max-disturbance is %s", most, limit)}
}

// printPlan writes the plan in the form that was asked for.
func printPlan(s *streams, global *globalOptions, output *outputOption, p plan.Plan) error {
	switch output.format {
	case "json":
		return printJSON(s.out, p)
	case "gitlab":
		report, err := p.GitLab()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "%s\n", report)
		return err
	}
	_, err := io.WriteString(s.out, paint(p.String(), s.colour(global)))
	return err
}
