package main

import (
	"errors"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// The exit codes; helpFooter says them to the user.
const (
	exitDone    = 0
	exitError   = 1
	exitChanges = 2
	exitInvalid = 3
	exitRefused = 4
)

// errChanges ends `plan --detailed-exitcode` where the plan is not empty.
var errChanges = errors.New("changes are planned")

// refusedError ends a plan or apply that disturbs more than --max-disturbance allows.
type refusedError struct{ cause *spec.Error }

// Error returns the message.
func (e *refusedError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *refusedError) Unwrap() error { return e.cause }

// exitCode is the one place that turns an error into an exit code.
func exitCode(err error) int {
	var refused *refusedError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errChanges):
		return exitChanges
	case errors.As(err, &refused):
		return exitRefused
	case spec.KindOf(err) == spec.Invalid:
		return exitInvalid
	}
	return exitError
}

// explain shows the error to the user, if there is something to show, and returns the exit code.
func explain(s *streams, err error) int {
	code := exitCode(err)
	if err == nil || code == exitChanges {
		return code
	}
	var e *spec.Error
	if !errors.As(err, &e) {
		e = &spec.Error{}
	}
	for _, d := range e.Diagnostics {
		s.note("%s\n", d)
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	s.note("millwright: %s\n", strings.Join(lines, "; "))
	if e.Hint != "" {
		s.note("  hint: %s\n", e.Hint)
	}
	return code
}
