package mapper

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// grace is how long a driver may take to return after its context has ended.
const grace = 2 * time.Second

// errAbandoned is a driver's call that did not return after its context had ended.
var errAbandoned = errors.New("the driver does not answer")

// panicError is a driver's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("the driver panicked: %v", e.value) }

// guard runs f and turns its panic into an error.
func guard(f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	f()
	return nil
}

// call runs f, part of a driver, in a goroutine of its own. A panic comes back as an error.
// When ctx has ended and f still runs after the grace, it is given up: call returns
// errAbandoned, and late gets f's result whenever that may come (nil: nobody needs it).
func call[T any](ctx context.Context, m *Mapper, f func(context.Context) T, late func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		a.err = guard(func() { a.value = f(ctx) })
		done <- a
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.value, a.err
	case <-timer.C:
	}
	m.abandoned.Add(1)
	if late != nil {
		go func() {
			if a := <-done; a.err == nil {
				late(a.value)
			}
		}()
	}
	var none T
	return none, errAbandoned
}
