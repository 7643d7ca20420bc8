package control

import (
	"math"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// busyError is an error of kind unavailable that says when to try again.
type busyError struct {
	cause *spec.Error
	after time.Duration
}

func (e *busyError) Error() string { return e.cause.Message }

func (e *busyError) Unwrap() error { return e.cause }

func busy(after time.Duration, why string) error {
	e := spec.Errorf(spec.Unavailable, "cannot do that now: %s", why)
	return &busyError{e.WithHint("try again in %d s", int(math.Ceil(after.Seconds()))), after}
}
