// Package expr is the one home of JSONata: it compiles and evaluates expressions with bounds
// on time, input and output, and reads and writes the JSON that goes through them.
//
// Integers that an expression only passes through keep all their digits; arithmetic is in
// float64. A tree is what Decode, Import and Eval return: json.Number, float64, string, bool,
// []byte (opaque to expressions), []any, and null and objects of gnata's own, which keep the
// order of their keys. Trees share their parts and must not be changed.
package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/recolabs/gnata"
)

// Bounds on one expression and one evaluation.
const (
	MaxSource = 64 << 10         // bytes of source
	MaxTime   = time.Second      // for one evaluation
	MaxDepth  = 256              // levels of nesting in a message
	MaxNodes  = 1_000_000        // values in a message
	MaxBytes  = 16 << 20         // bytes of text in a message
	checkMask = uint32(1<<9 - 1) // steps between two looks at the clock
)

// Expression is a compiled JSONata expression. It may be used from several goroutines.
type Expression struct {
	source string
	code   *gnata.Expression
	limit  time.Duration
	copies bool // it holds a transform operator, which changes what its pattern finds in place
	guards bool // it may call a built-in function that needs a bound
}

// Compile parses a JSONata expression. Its error is an *Error.
func Compile(source string) (e *Expression, err error) {
	if len(source) > MaxSource {
		return nil, &Error{Message: fmt.Sprintf("expression of %d bytes is longer than %d", len(source), MaxSource), Offset: -1}
	}
	if strings.TrimSpace(source) == "" {
		return nil, &Error{Message: "expression is empty", Offset: 0}
	}
	defer func() {
		if r := recover(); r != nil {
			e, err = nil, &Error{Message: fmt.Sprintf("expression cannot be parsed: %v", r), Offset: -1}
		}
	}()
	code, err := gnata.Compile(source)
	if err != nil {
		return nil, compileError(source, err)
	}
	return &Expression{
		source: source,
		code:   code,
		limit:  MaxTime,
		copies: strings.Contains(source, "|"),
		guards: strings.Contains(source, "eval") || strings.Contains(source, "distinct"),
	}, nil
}

// String returns the source.
func (e *Expression) String() string { return e.source }

// Eval evaluates the expression on input ("$"; a Go nil is JSON's null) with vars as further
// variables, each a value as Import takes it or a Function. Not defined means that the
// expression found nothing. It stops when ctx ends or after MaxTime. The result is a tree for
// Append, Plain, Truthy and Eval.
func (e *Expression) Eval(ctx context.Context, input any, vars map[string]any) (result any, defined bool, err error) {
	if input, err = Import(input); err != nil {
		return nil, false, err
	}
	if vars, err = importVars(vars); err != nil {
		return nil, false, err
	}
	return e.run(ctx, input, vars)
}

// run evaluates on what is imported already; here a Go nil is JSONata's undefined.
func (e *Expression) run(ctx context.Context, input any, vars map[string]any) (result any, defined bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			result, defined, err = nil, false, e.failed(fmt.Errorf("panic: %v", r))
		}
	}()
	if e.copies {
		input, vars = clone(input), cloneVars(vars)
	}
	if e.guards {
		vars = withGuards(vars)
	}
	result, err = e.code.EvalWithVars(&budget{Context: ctx, limit: e.limit}, input, vars)
	if err != nil {
		return nil, false, e.failed(err)
	}
	if result, err = export(result); err != nil {
		return nil, false, e.failed(err)
	}
	return result, result != nil, nil
}

func (e *Expression) failed(err error) error {
	source := e.source
	if len(source) > 80 {
		source = strings.ToValidUTF8(source[:77], "") + "..."
	}
	return fmt.Errorf("cannot evaluate %q: %w", source, err)
}

// errTime is what an evaluation that takes too long ends with.
var errTime = errors.New("it takes too long")

// budget ends an evaluation. The evaluator asks Err at each of its steps, from one goroutine;
// the clock is only looked at now and then, so that a short evaluation costs no system call.
type budget struct {
	context.Context
	limit time.Duration
	steps uint32
	start time.Time
}

// Err ends the evaluation when it is not nil.
func (b *budget) Err() error {
	b.steps++
	if b.steps&checkMask != 0 {
		return nil
	}
	if err := b.Context.Err(); err != nil {
		return err
	}
	now := time.Now()
	if b.start.IsZero() {
		b.start = now
	}
	if now.Sub(b.start) > b.limit {
		return fmt.Errorf("%w: more than %v", errTime, b.limit)
	}
	return nil
}
