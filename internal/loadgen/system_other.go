//go:build !linux

package loadgen

import (
	"errors"
	"fmt"
	"time"
)

func newPulse(interval time.Duration) (pulse, error) { return newTickerPulse(interval), nil }

// RaiseFileLimit is for Linux only.
func RaiseFileLimit() (uint64, error) {
	return 0, fmt.Errorf("cannot raise the limit of open files here: %w", errors.ErrUnsupported)
}

// Usage is what a process has used so far, and its memory now.
type Usage struct {
	CPU time.Duration // user and system
	RSS int64         // bytes resident
}

// UsageOf is for Linux only.
func UsageOf(pid int) (Usage, error) {
	return Usage{}, fmt.Errorf("cannot read what process %d uses: %w", pid, errors.ErrUnsupported)
}

func machineCPU() (time.Duration, error) {
	return 0, fmt.Errorf("cannot read what the machine does: %w", errors.ErrUnsupported)
}
