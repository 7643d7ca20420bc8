package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/spec"
)

type tailOptions struct {
	filters []string
	follow  followOptions
	output  outputOption
}

// followOptions say when a command that follows a stream stops.
type followOptions struct {
	count   int
	timeout time.Duration
}

func newTailCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &tailOptions{}
	cmd := &cobra.Command{
		Use:   "tail FILTER...",
		Short: "Print messages as they arrive on topics",
		Long: `Prints the messages on topics that match one of the MQTT filters, one a line: topic, tab,
payload. A payload that is not UTF-8 is printed as base64:..., control characters are escaped.
It goes on until Ctrl-C, -n messages or --timeout.

Exit code 1 if fewer than -n messages came in time.`,
		Example: "  millwright tail 'services/#' -n 10 --timeout 20s",
		Args:    between(1, -1, "FILTER..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.filters = args
			return runTail(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *tailOptions) addFlags(cmd *cobra.Command) {
	o.follow.addFlags(cmd.Flags(), "messages")
	o.output.addFlag(cmd.Flags(), "text", "json")
}

func (o *followOptions) addFlags(f *pflag.FlagSet, what string) {
	f.IntVarP(&o.count, "count", "n", 0, "stop after `N` "+what+"; 0: never")
	f.DurationVar(&o.timeout, "timeout", 0, "stop after this time; 0: never")
}

func (o *followOptions) check() error {
	return errors.Join(inRange("--count", o.count, 0, 1_000_000_000), durationInRange("--timeout", o.timeout, 24*time.Hour))
}

func (o *tailOptions) check() error {
	for _, filter := range o.filters {
		if err := spec.CheckFilter(filter); err != nil {
			return err
		}
	}
	return errors.Join(o.output.check(), o.follow.check())
}

func runTail(ctx context.Context, opts *tailOptions, global *globalOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	return opts.follow.run(ctx, "messages", func(ctx context.Context, seen func() error) error {
		return c.Messages(ctx, opts.filters, func(m spec.MessageView) error {
			return errors.Join(opts.print(s.out, m), seen())
		})
	})
}

// errEnough ends a stream after the last element that was asked for.
var errEnough = errors.New("enough")

// run follows a stream until there is enough, it takes too long, or ctx ends. The stream
// calls seen after each element and ends with its error.
func (o *followOptions) run(ctx context.Context, what string, stream func(ctx context.Context, seen func() error) error) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	count := 0
	err := stream(ctx, func() error {
		if count++; count == o.count {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case ctx.Err() == nil, spec.KindOf(err) == spec.Unavailable: // the stream ended, or never stood
		return err
	case count < o.count:
		return spec.Errorf(spec.Unavailable, "only %d of %d %s came in time", count, o.count, what)
	}
	return nil
}

func (o *tailOptions) print(w io.Writer, m spec.MessageView) error {
	if o.output.format == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(m)
	}
	payload := printable(m.Payload)
	if m.PayloadBase64 {
		payload = "base64:" + m.Payload
	}
	_, err := fmt.Fprintf(w, "%s\t%s\n", printable(m.Topic), payload)
	return err
}
