package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/loadgen"
	"github.com/millwright/millwright/internal/loadgen/compare"
)

// compareOptions are those of a comparison.
type compareOptions struct {
	compare.Options
	only   string
	output string
}

func newCompareCommand() *cobra.Command {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Measure our broker side by side with mosquitto and nats-server",
		Long: `Measure our broker side by side with mosquitto and nats-server: each alone at its time, in
turns, each load some rounds. Prints a table in Markdown, or all samples as JSON. The
generator keeps to one core, so that two are enough for it and a server.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCompare(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *compareOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Programs.Mosquitto, "mosquitto", "/usr/sbin/mosquitto", "mosquitto's `program`")
	f.StringVar(&o.Programs.NATS, "nats-server", "bin/nats-server", "nats-server's `program`")
	f.StringVar(&o.Dir, "dir", "", "`directory` for the servers' data, on the disk to be measured; default: the system's temporary one")
	f.StringVar(&o.only, "only", "", "`regular expression`: which of one-to-one, fan-out, acknowledged, pairs, idle, cpu, restart")
	f.IntVar(&o.Rounds, "rounds", 3, "how often each is measured")
	f.DurationVar(&o.Duration, "duration", 5*time.Second, "of one load")
	f.IntVar(&o.Connections, "connections", 5000, "idle connections")
	f.IntVar(&o.Queued, "queued", 1_000_000, "messages that wait at the restart")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
}

func runCompare(ctx context.Context, o *compareOptions, out, progress io.Writer) (err error) {
	if o.Only, err = regexp.Compile(o.only); err != nil {
		return fmt.Errorf("cannot choose loads: %w", err)
	}
	if o.Programs.Load, err = os.Executable(); err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	for _, program := range []string{o.Programs.Mosquitto, o.Programs.NATS} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("cannot compare: %w; make bench-broker builds nats-server, mosquitto is a package of Debian", err)
		}
	}
	if _, err := loadgen.RaiseFileLimit(); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	o.Progress = progress
	report, err := compare.Run(ctx, o.Options)
	if err != nil {
		return err
	}
	return show(out, o.output, report, report.Print)
}
