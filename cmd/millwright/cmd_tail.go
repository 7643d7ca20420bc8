package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/spec"
)

type tailOptions struct {
	filters []string
	count   int
	timeout time.Duration
	output  outputOption
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
	f := cmd.Flags()
	f.IntVarP(&o.count, "count", "n", 0, "stop after `N` messages; 0: never")
	f.DurationVar(&o.timeout, "timeout", 0, "stop after this time; 0: never")
	o.output.addFlag(f, "text", "json")
}

func (o *tailOptions) check() error {
	for _, filter := range o.filters {
		if err := spec.CheckFilter(filter); err != nil {
			return err
		}
	}
	return errors.Join(o.output.check(), inRange("--count", o.count, 0, 1_000_000_000), durationInRange("--timeout", o.timeout, 24*time.Hour))
}

// errEnough ends the stream after the last message that was asked for.
var errEnough = errors.New("enough messages")

func runTail(ctx context.Context, opts *tailOptions, global *globalOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	c, err := global.connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	if opts.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.timeout)
		defer cancel()
	}
	seen := 0
	err = c.Messages(ctx, opts.filters, func(m spec.MessageView) error {
		if err := opts.print(s.out, m); err != nil {
			return err
		}
		if seen++; seen == opts.count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	if seen < opts.count {
		return spec.Errorf(spec.Unavailable, "only %d of %d messages came in time", seen, opts.count)
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
