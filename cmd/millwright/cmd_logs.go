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
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/spec"
)

type logsOptions struct {
	instance string
	parts    []string
	engine   engineOptions
	follow   followOptions
	output   outputOption
}

func newLogsCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &logsOptions{}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Print the log of the instance and follow it",
		Long: `Prints the lines that the instance still has of its log, and then each new one, until Ctrl-C,
-n lines or --timeout.

With --instance it asks the Docker engine instead, for the last 1000 lines of each of that
instance's containers, also of one that does not answer.

Exit code 1 if fewer than -n lines came in time.`,
		Example: "  millwright logs -n 100\n  millwright logs --instance plant-a --part broker --part mapper",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runLogs(cmd.Context(), opts, global, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *logsOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.instance, "instance", "", "`name` of an instance on a Docker engine")
	f.StringArrayVar(&o.parts, "part", nil, "`part` of that instance: control, broker, mapper or an agent; repeatable (default: all)")
	o.engine.addFlags(f)
	o.follow.addFlags(f, "lines")
	o.output.addFlag(cmd.Flags(), "text", "json")
}

func runLogs(ctx context.Context, opts *logsOptions, global *globalOptions, s *streams) error {
	if err := errors.Join(opts.output.check(), opts.follow.check()); err != nil {
		return err
	}
	if opts.instance != "" {
		return opts.ofInstance(ctx, global, s)
	}
	if len(opts.parts) > 0 || opts.engine.host != "" {
		return spec.Errorf(spec.Invalid, "cannot use --part or --docker-host without --instance: they are for an instance on a Docker engine")
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

// ofInstance follows the containers' own logs.
func (o *logsOptions) ofInstance(ctx context.Context, global *globalOptions, s *streams) error {
	if err := spec.CheckInstanceName(o.instance); err != nil {
		return err
	}
	e, err := o.engine.open(ctx, s, s.logger(global, levelWarn))
	if err != nil {
		return err
	}
	err = o.follow.run(ctx, "lines", func(ctx context.Context, seen func() error) error {
		return e.Logs(ctx, o.instance, o.parts, func(l engine.LogLine) error { return errors.Join(o.printPart(s.out, l), seen()) })
	})
	return errors.Join(err, e.Close())
}

func (o *logsOptions) printPart(w io.Writer, l engine.LogLine) error {
	if o.output.format == "json" {
		return json.NewEncoder(w).Encode(l)
	}
	_, err := fmt.Fprintf(w, "%-8s| %s\n", l.Part, printable(readable(l.Text)))
	return err
}

// readable is a line of the runtime's log for people; any other line as it is.
func readable(text string) string {
	var line struct {
		Time    time.Time `json:"time"`
		Level   string    `json:"level"`
		Message string    `json:"msg"`
	}
	attributes := map[string]any{}
	if json.Unmarshal([]byte(text), &line) != nil || json.Unmarshal([]byte(text), &attributes) != nil || line.Message == "" {
		return text
	}
	for _, name := range []string{"time", "level", "msg", "part"} {
		delete(attributes, name)
	}
	return lineText(client.LogLine{Time: line.Time, Level: line.Level, Message: line.Message, Attributes: attributes})
}

func (o *logsOptions) print(w io.Writer, l client.LogLine) error {
	if o.output.format == "json" {
		return json.NewEncoder(w).Encode(l)
	}
	_, err := io.WriteString(w, printable(lineText(l))+"\n")
	return err
}

func lineText(l client.LogLine) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s", moment(l.Time), l.Level, l.Message)
	for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
		fmt.Fprintf(&b, " %s=%v", name, l.Attributes[name])
	}
	return b.String()
}
