package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/loadgen"
)

// idleOptions are how many clients only wait.
type idleOptions struct {
	serverOptions
	connections int
}

func newIdleCommand() *cobra.Command {
	o := &idleOptions{}
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Measure the memory of clients that only wait",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runIdle(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *idleOptions) addFlags(f *pflag.FlagSet) {
	o.serverOptions.addFlags(f)
	f.IntVar(&o.connections, "connections", 5000, "how many clients, with one subscription each")
}

func runIdle(ctx context.Context, o *idleOptions, out io.Writer) error {
	s, err := o.server()
	if err != nil {
		return err
	}
	if _, err := loadgen.RaiseFileLimit(); err != nil {
		return err
	}
	idle, err := loadgen.MeasureIdle(ctx, s, o.connections, o.pid)
	if err != nil {
		return err
	}
	return show(out, o.output, idle, func(w io.Writer) {
		fmt.Fprintf(w, "%d connections: %.1f KiB each (%.1f MiB before, %.1f MiB with them)\n",
			idle.Connections, idle.PerConnection/1024, float64(idle.Before)/(1<<20), float64(idle.After)/(1<<20))
	})
}

// trimLine cuts the end of the line that editors add to a file.
func trimLine(s string) string { return strings.TrimRight(s, "\r\n") }

// hostOf returns the host of "host:port".
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
