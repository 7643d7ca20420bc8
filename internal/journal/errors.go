package journal

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// fault is a failed operation on a file.
type fault struct {
	op  string // what was not done: "create", "write", "sync" ...
	err error
}

func (f *fault) Error() string { return f.err.Error() }

func (f *fault) Unwrap() error { return f.err }

func faulty(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fault{op, fmt.Errorf("cannot %s %q: %w", op, name, err)}
}

// unwritable tells the user why the journal does not write, and what to do.
func (j *Journal) unwritable(err error) error {
	e := spec.Errorf(spec.Unavailable, "cannot write the journal: %w", err)
	if isFull(err) {
		return e.WithHint("the disk is full: free space on %q", j.o.Dir)
	}
	return e.WithHint("see what is wrong with the disk of %q; writing is tried again", j.o.Dir)
}

// reportEvery bounds how often the same kind of failure is logged.
const reportEvery = time.Minute

// report logs a failure, once in a while for each kind.
func (j *Journal) report(err error, attrs ...any) {
	op := "write"
	if f, ok := errors.AsType[*fault](err); ok {
		op = f.op
	}
	if isFull(err) {
		op = "full"
	}
	j.mu.Lock()
	j.stats.Failures++
	quiet := time.Since(j.reported[op]) < reportEvery
	if !quiet {
		j.reported[op] = time.Now()
	}
	j.mu.Unlock()
	if quiet {
		return
	}
	hint := ""
	if e, ok := errors.AsType[*spec.Error](j.unwritable(err)); ok {
		hint = e.Hint
	}
	j.log.Error("the journal cannot be written", append([]any{"dir", j.o.Dir, "error", err, "hint", hint}, attrs...)...)
}

// ErrDamaged is wrapped by the error of Read for a record whose checksum is wrong.
var ErrDamaged = errors.New("it is damaged")

func errClosed() error { return spec.Errorf(spec.Unavailable, "the journal is closed") }

// errWaiting is for a wait that ended before what was waited for; why may be nil.
func errWaiting(what string, why, ctx error) error {
	if why == nil {
		return spec.Errorf(spec.Unavailable, "%s: %w", what, ctx)
	}
	return spec.Errorf(spec.Unavailable, "%s: %s: %w", what, why.Error(), ctx)
}

// writeFull writes all of buf.
func writeFull(f File, buf []byte, at int64) error {
	n, err := f.WriteAt(buf, at)
	if err == nil && n < len(buf) {
		return io.ErrShortWrite
	}
	return err
}
