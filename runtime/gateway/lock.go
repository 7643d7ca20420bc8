package gateway

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// takeLock locks the file for this process and writes its pid. The system lets go of the
// lock when the process ends, however it ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot write to data directory: %w", err).
			WithHint("give this user the directory, or choose another with --data")
	}
	if err := tryLock(f); err != nil {
		pid, _ := os.ReadFile(path) // only to name the other process; the lock has been refused all the same
		return nil, errors.Join(spec.Errorf(spec.Conflict, "cannot lock %q: process %s uses this data directory", path, strings.TrimSpace(string(pid))).
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
