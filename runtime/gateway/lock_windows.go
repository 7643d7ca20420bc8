package gateway

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"

	"github.com/millwright/millwright/internal/spec"
)

// takeLock locks a byte far behind the pid, so that others can read which process it is.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot write to data directory: %w", err).
			WithHint("give this user the directory, or choose another with --data")
	}
	flags := uint32(windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY)
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{Offset: 1 << 20}); err != nil {
		pid, _ := os.ReadFile(path) // only to name the other process; the lock has been refused all the same
		return nil, errors.Join(spec.Errorf(spec.Conflict, "cannot lock %q: process %s uses this data directory", path, pid).
			WithHint("stop that process, or choose another directory with --data"), f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write to %q: %w", path, err), f.Close())
	}
	return f, nil
}
