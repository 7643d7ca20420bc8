package spec

import (
	"errors"
	"fmt"
)

// Kind says what a caller can do about an error. One place each turns it into an HTTP
// status, an exit code, an Ansible failure or a Terraform diagnostic.
type Kind string

// The kinds of error; api.md fixes their names on the wire.
const (
	Invalid      Kind = "invalid"      // the input is wrong; the same input fails again
	NotFound     Kind = "not_found"    // what is named does not exist
	Conflict     Kind = "conflict"     // the state moved, or another owner holds the object
	Unauthorised Kind = "unauthorised" // nobody is logged in, or the credentials are wrong
	Forbidden    Kind = "forbidden"    // the caller is known and may not do this
	Unavailable  Kind = "unavailable"  // try again later: busy, unreachable, shutting down
	Internal     Kind = "internal"     // our fault
)

// Error is an error with a kind, an optional hint that says what to do, and, for an
// invalid file, the diagnostics with their positions.
type Error struct {
	Kind        Kind
	Message     string
	Hint        string
	Diagnostics []Diagnostic
	Cause       error
}

// Errorf makes an Error of the kind. A %w verb in format keeps its cause.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// WithHint returns a copy of e that tells the user what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error returns the message; the hint and the diagnostics are printed apart.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// KindOf returns the kind of the first Error in err's chain, else Internal ("" for nil).
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
