package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/client"
)

type logsOptions struct {
	follow followOptions
	output outputOption
}

func newLogsCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &logsOptions{}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Print the log of the instance and follow it",
		Long: `Prints the lines that the instance still has of its log, and then each new one, until Ctrl-C,
-n lines or --timeout.

Exit code 1 if fewer than -n lines came in time.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runLogs(cmd.Context(), opts, global, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *logsOptions) addFlags(cmd *cobra.Command) {
	o.follow.addFlags(cmd.Flags(), "lines")
	o.output.addFlag(cmd.Flags(), "text", "json")
}

func runLogs(ctx context.Context, opts *logsOptions, global *globalOptions, s *streams) error {
	if err := errors.Join(opts.output.check(), opts.follow.check()); err != nil {
		return err
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	return opts.follow.run(ctx, "lines", func(ctx context.Context, seen func() error) error {
		return c.Logs(ctx, func(l client.LogLine) error { return errors.Join(opts.print(s.out, l), seen()) })
	})
}

func (o *logsOptions) print(w io.Writer, l client.LogLine) error {
	if o.output.format == "json" {
		return json.NewEncoder(w).Encode(l)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s", moment(l.Time), l.Level, l.Message)
	for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
		fmt.Fprintf(&b, " %s=%v", name, l.Attributes[name])
	}
	_, err := io.WriteString(w, printable(b.String())+"\n")
	return err
}
