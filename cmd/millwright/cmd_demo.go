package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
)

type demoOptions struct {
	keep bool
}

func newDemoCommand(s *streams) *cobra.Command {
	opts := &demoOptions{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a simulated plant: plan, apply, live values, faults",
		Long: `Starts a simulated plant and a runtime on free ports in a temporary directory, plans and
applies the quickstart service, shows live values, changes one endpoint, cuts a machine and
kills the runtime with SIGKILL, and shows that data is back by itself.
Nothing is left behind, except with --keep: then all goes on running until Ctrl-C, and the
commands to go on with are printed.

Exit codes: 0 all was shown, 1 something did not happen as it should.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), opts, s.out)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *demoOptions) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave everything running until Ctrl-C and print the commands to go on with")
}

// runDemo shows the main job. Every command that it prints is the real one, run as a process of its own.
func runDemo(ctx context.Context, opts *demoOptions, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "millwright-demo-")
	if err != nil {
		return err
	}
	defer func() { err = joinErrors(err, os.RemoveAll(dir)) }()
	d, err := newDemo(dir, out)
	if err != nil {
		return err
	}
	defer func() { err = joinErrors(err, d.stop()) }()
	if err := d.show(ctx); err != nil {
		return err
	}
	if opts.keep {
		d.printNextCommands()
		<-ctx.Done()
		return nil
	}
	d.say("Done. Try next: `make dev` (or `millwright demo --keep`) leaves this plant running to play with; " +
		"`millwright up` and the README's second page connect your own PLC.")
	return nil
}
