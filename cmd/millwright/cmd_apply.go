package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type applyOptions struct {
	input    inputOptions
	planFile string
	consent  consentOptions
	output   outputOption
}

// consentOptions are the flags of every command that changes something.
type consentOptions struct {
	yes     bool
	wait    string
	timeout time.Duration
}

func newApplyCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &applyOptions{}
	cmd := &cobra.Command{
		Use:   "apply FILE... | --plan PLANFILE",
		Short: "Show the plan for files, ask, and apply it",
		Long: `Shows what applying commissioning files, or one stack file, would change, asks, and applies it.
Applying twice changes nothing. Without a terminal it needs --yes. FILE "-" is standard input.

A stack file's 'instance:' is brought up on its Docker engine first, and the rest is applied to
exactly that instance. One that was not there, or did not run, is planned anew once it runs: if it
turns out to hold something already, the new plan is shown and asked for; with --yes it is refused
where it deletes, or disturbs more than the first plan or than --max-disturbance (exit code 4).

With --plan it applies exactly the plan that 'millwright plan --out' kept: a file that changed
since, or another state of the instance, is refused.

Exit codes: 3 for mistakes in the files, each with its place; 4 if it would disturb more than
--max-disturbance. Nothing is changed then.`,
		Example: "  millwright apply press.yml --set host=10.0.0.7\n  millwright apply --plan plan.json --yes",
		Args:    between(0, -1, "FILE..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.input.files = args
			return runApply(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *applyOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.input.addFlags(f)
	f.StringVar(&o.planFile, "plan", "", "`file` that plan --out wrote")
	o.consent.addFlags(f)
	f.StringVar(&o.consent.wait, "wait-for", "", "what to wait for: installed, connected, data (default installed)")
	o.output.addFlag(f, "text", "json", "gitlab")
}

func (o *consentOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait")
}

func (o *consentOptions) check() error {
	if o.wait != "" {
		if err := oneOf("--wait-for", o.wait, string(plan.WaitInstalled), string(plan.WaitConnected), string(plan.WaitData)); err != nil {
			return err
		}
	}
	return durationInRange("--timeout", o.timeout, time.Hour)
}

func runApply(ctx context.Context, opts *applyOptions, global *globalOptions, s *streams) error {
	if err := errors.Join(opts.output.check(), opts.consent.check()); err != nil {
		return err
	}
	var reviewed *planFile
	if opts.planFile != "" {
		var err error
		if reviewed, err = readPlanFile(opts.planFile); err != nil {
			return err
		}
		if err := opts.input.restore(reviewed.Input); err != nil {
			return err
		}
	}
	if err := opts.input.check(); err != nil {
		return err
	}
	in, err := opts.input.load(ctx, s)
	if err != nil {
		return err
	}
	a := application{streams: s, global: global, output: &opts.output, consent: &opts.consent, limits: &opts.input}
	if in.instance != nil {
		return opts.deploy(ctx, s, a, in, reviewed)
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	a.client = c
	if reviewed == nil {
		return a.planAndApply(ctx, in.request)
	}
	if err := in.sources.unchanged(ctx, reviewed.Sources); err != nil {
		return err
	}
	return a.apply(ctx, in.request, reviewed.Plan)
}

// deploy applies a stack with an instance, or the plan of one that was reviewed.
func (o *applyOptions) deploy(ctx context.Context, s *streams, a application, in *input, reviewed *planFile) error {
	if reviewed == nil {
		return deploy(ctx, s, a, in, nil)
	}
	if err := in.fingerprintArchive(); err != nil {
		return err
	}
	if err := in.sources.unchanged(ctx, reviewed.Sources); err != nil {
		return err
	}
	return deploy(ctx, s, a, in, &reviewed.Plan)
}

// application shows a plan, asks, and has it applied.
type application struct {
	client  *client.Client
	streams *streams
	global  *globalOptions
	output  *outputOption
	consent *consentOptions
	limits  *inputOptions
}

func (a application) planAndApply(ctx context.Context, r plan.Request) error {
	p, err := a.client.Plan(ctx, r)
	if err != nil {
		return err
	}
	return a.apply(ctx, r, *p)
}

// apply shows p, asks, and has exactly p applied.
func (a application) apply(ctx context.Context, r plan.Request, p plan.Plan) error {
	idle := p.Empty() && a.consent.wait == ""
	if err := a.showBefore(p, idle); err != nil || idle {
		return err
	}
	if err := a.agreed(ctx, p, r.AllowUnsupported); err != nil {
		return err
	}
	done, moved, err := a.send(ctx, r, p)
	switch {
	case moved != nil:
		return errors.Join(err, a.showMoved(*moved))
	case done != nil:
		return errors.Join(err, a.printResults(*done))
	}
	return err
}

func (a application) show(p plan.Plan) error { return printPlan(a.streams, a.global, a.output, p) }

// showBefore shows what is to be applied to a person. For a program one result is enough.
func (a application) showBefore(p plan.Plan, idle bool) error {
	if a.output.format != "text" && !idle {
		return nil
	}
	return a.show(p)
}

func (a application) showMoved(p plan.Plan) error {
	a.streams.note("The state moved. The plan is now:\n")
	return a.show(p)
}

// agreed asks whether to apply p, if the flags allow it.
func (a application) agreed(ctx context.Context, p plan.Plan, allowUnsupported bool) error {
	if err := a.permitted(p, allowUnsupported); err != nil || p.Empty() {
		return err
	}
	return confirm(ctx, a.streams, a.consent.yes, "Apply this plan?")
}

// permitted refuses a plan that the flags do not allow.
func (a application) permitted(p plan.Plan, allowUnsupported bool) error {
	if err := a.limits.allow(p); err != nil {
		return err
	}
	if unsupported := p.Unsupported(); len(unsupported) > 0 && !allowUnsupported {
		return spec.Errorf(spec.Invalid, "cannot apply what this build cannot run: %s", strings.Join(unsupported, ", ")).
			WithHint("--allow-unsupported installs the rest; the service is deviated then")
	}
	return nil
}

// send has exactly p applied. Done has the results, also beside an error; moved is the plan that
// is true now, if it is no longer p.
func (a application) send(ctx context.Context, r plan.Request, p plan.Plan) (done, moved *plan.Plan, err error) {
	r.Digest, r.Wait, r.Timeout = p.Digest, plan.WaitFor(a.consent.wait), a.consent.timeout.String()
	r.MaxDisturbance = plan.Disturbance(a.limits.maxDisturbance)
	done, err = a.client.Apply(ctx, r)
	var answered *client.PlanError
	if err == nil {
		return done, nil, firstFailure(*done)
	}
	if !errors.As(err, &answered) {
		return nil, nil, err
	}
	switch answered.Type {
	case client.TypeDisturbs:
		return nil, nil, &refusedError{answered.Err}
	case client.TypeUnsupported:
		return nil, nil, err
	case client.TypeMoved:
		return nil, answered.Plan, err
	}
	return answered.Plan, nil, err
}

// firstFailure is the error of an apply that stopped half-way.
func firstFailure(p plan.Plan) error {
	for _, step := range p.Steps {
		if step.Result == plan.Failed {
			return spec.Errorf(spec.Unavailable, "cannot apply %s: %s", step.Address, step.Error).
				WithHint("what is marked done stays done; apply again to go on")
		}
	}
	return nil
}

// printResults says what was and was not done, step by step.
func (a application) printResults(p plan.Plan) error {
	if a.output.format != "text" {
		return a.show(p)
	}
	for _, step := range p.Steps {
		a.printStep(step)
	}
	return a.printSummary(p)
}

// printStep says what became of a step.
func (a application) printStep(step plan.Step) {
	line := fmt.Sprintf("%s %s: %s%s", step.Symbol, step.Address, step.Result, after(": ", step.Error))
	fmt.Fprintln(a.streams.out, paint(printable(line), a.streams.colour(a.global)))
}

// printSummary counts what was done, and says what does not run as it shall.
func (a application) printSummary(p plan.Plan) error {
	var b strings.Builder
	p.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(s plan.Step) bool { return s.Result != plan.Done })
	c := p.Counts()
	for _, d := range p.Deviations {
		fmt.Fprintf(&b, "deviated: %s is %s%s\n", d.Address, d.State, after(": ", printable(d.Error)))
	}
	fmt.Fprintf(&b, "Applied: %d added, %d changed, %d deleted.\n", c.Create, c.Update, c.Delete)
	_, err := io.WriteString(a.streams.out, b.String())
	return err
}

// after is text behind a separator, or nothing.
func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}
