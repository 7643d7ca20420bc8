package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/spec"
)

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s *streams) int {
	root := newRootCommand(s)
	root.SetArgs(args)
	return explain(s, root.ExecuteContext(ctx))
}

func newRootCommand(s *streams) *cobra.Command {
	global := &globalOptions{}
	root := &cobra.Command{
		Use:   "millwright",
		Short: "The shop floor as code",
		Long: `Millwright connects machines to an MQTT broker as files declare it. A plan shows what
would change and which data stops flowing meanwhile; applying twice changes nothing.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE can say what was meant
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := readEnvironment(cmd, s.getenv); err != nil {
				return err
			}
			return global.check()
		},
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(root.UsageTemplate() + helpFooter)
	global.addFlags(root.PersistentFlags())
	root.AddCommand(
		newUpCommand(s, global),
		newDemoCommand(s),
		newValidateCommand(s),
		newPlanCommand(s, global),
		newApplyCommand(s, global),
		newDestroyCommand(s, global),
		newExportCommand(s, global),
		newGetCommand(s, global),
		newTailCommand(s, global),
		newLogsCommand(s, global),
		newSchemaCommand(s),
		newRenderCommand(s),
		newImageCommand(s, global),
		newBackupCommand(s, global),
		newRestoreCommand(s, global),
		newEvalCommand(s),
		newProbeCommand(s),
		newBrowseCommand(s),
		newSimulateCommand(s, global),
		newLoginCommand(s, global),
		newTokenCommand(s, global),
		newVersionCommand(s),
	)
	invalidArguments(root)
	return root
}

// invalidArguments gives the errors of every command's argument check, cobra's own too, the
// kind of what they are.
func invalidArguments(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil || spec.KindOf(err) != spec.Internal {
				return err
			}
			return spec.Errorf(spec.Invalid, "%w", err).WithHint("run `%s --help`", cmd.CommandPath())
		}
	}
	for _, c := range cmd.Commands() {
		invalidArguments(c)
	}
}

const helpFooter = `
Every flag can be given as an environment variable: --ca-path as MILLWRIGHT_CA_PATH.

Exit codes: 0 done, or nothing to change; 1 error; 2 changes are planned (plan
--detailed-exitcode); 3 invalid input; 4 refused by --max-disturbance.
`

func unknownCommand(cmd *cobra.Command, name string) error {
	e := spec.Errorf(spec.Invalid, "unknown command %q for %q", name, cmd.CommandPath())
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if near, ok := nearest(name, names); ok {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("run `%s --help` to see what there is", cmd.CommandPath())
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// exactly refuses a wrong number of arguments and names those that are meant.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), len(names), names...) }

// between takes the first least and at most most arguments; most below 0 is no bound.
func between(least, most int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		what := "no arguments"
		if len(names) > 0 {
			what = strings.Join(names, " ")
		}
		return spec.Errorf(spec.Invalid, "cannot run %q with %d arguments: it takes %s", cmd.CommandPath(), len(args), what).
			WithHint("run `%s --help`", cmd.CommandPath())
	}
}
