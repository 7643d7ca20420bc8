package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/spec"
)

type evalOptions struct {
	expression string
	topic      string
	variables  []string
}

func newEvalCommand(s *streams) *cobra.Command {
	opts := &evalOptions{}
	cmd := &cobra.Command{
		Use:   "eval EXPRESSION",
		Short: "Evaluate a JSONata expression on the message in standard input",
		Long: `Evaluates an expression as a rule would: $ is the message, read from standard input (JSON, else
text), $context.topic and $context.vars are what the flags say. The result is printed as JSON;
a result of nothing, which would drop the message, prints nothing and is said on the error stream.`,
		Example: `  echo '{"timestamp": 1, "value": 21}' | millwright eval '{"celsius": value / 10}'`,
		Args:    exactly("EXPRESSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.expression = args[0]
			return runEval(cmd.Context(), opts, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *evalOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.topic, "topic", "", "`topic` of the message, $context.topic")
	f.StringArrayVar(&o.variables, "var", nil, "`NAME=VALUE` of $context.vars; repeatable")
}

func runEval(ctx context.Context, opts *evalOptions, s *streams) error {
	vars, err := assignments("--var", opts.variables)
	if err != nil {
		return err
	}
	expression, err := expr.Compile(opts.expression)
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot compile the expression: %w", err)
	}
	input, err := waitFor(ctx, func() (string, error) { return readAll(s.in, "the message", expr.MaxBytes) })
	if err != nil {
		return err
	}
	scope := map[string]any{"topic": opts.topic, "vars": values(vars)}
	result, defined, err := expression.Eval(ctx, message(input), map[string]any{"context": scope})
	if err != nil {
		return spec.Errorf(spec.Invalid, "%w", err)
	}
	if !defined {
		s.note("nothing: a rule would drop the message\n")
		return nil
	}
	_, err = fmt.Fprintf(s.out, "%s\n", expr.Append(nil, result))
	return err
}

// message is the payload as the first rule of a chain gets it.
func message(payload string) any {
	v, err := expr.Decode([]byte(payload))
	if err != nil {
		return payload
	}
	return v
}
