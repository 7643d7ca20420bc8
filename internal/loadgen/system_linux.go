package loadgen

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernelPulse is a timerfd, good to some microseconds: with a coarser one the generator's
// own lateness would hide the difference between two fast servers.
type kernelPulse struct{ file *os.File }

func newPulse(interval time.Duration) (pulse, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make a timer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "timerfd")
	beat := unix.NsecToTimespec(interval.Nanoseconds())
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: beat, Value: beat}, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot set a timer: %w", err), file.Close())
	}
	return &kernelPulse{file}, nil
}

func (p *kernelPulse) wait() error {
	var beats [8]byte
	_, err := p.file.Read(beats[:])
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func (p *kernelPulse) stop() error { return p.file.Close() }

// RaiseFileLimit lets this process, and those that it starts, open as many files as the
// system allows, and returns how many that is.
func RaiseFileLimit() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("cannot raise the limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// clockTick is the unit of times in /proc, USER_HZ: the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage is what a process has used so far, and its memory now.
type Usage struct {
	CPU time.Duration // user and system
	RSS int64         // bytes resident; what the kernel holds for it, as for sockets, is not in it
}

// UsageOf reads the usage of a process from /proc.
func UsageOf(pid int) (Usage, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("cannot read what process %d uses: %w", pid, err)
	}
	_, rest, found := strings.Cut(string(raw), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	const user, system, resident = 11, 12, 21 // from the state, field 3 of proc(5)
	if !found || len(fields) <= resident {
		return Usage{}, fmt.Errorf("cannot read what process %d uses: %q", pid, raw)
	}
	var values [3]int64
	for i, at := range []int{user, system, resident} {
		if values[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return Usage{}, fmt.Errorf("cannot read what process %d uses: %w", pid, err)
		}
	}
	return Usage{CPU: time.Duration(values[0]+values[1]) * clockTick, RSS: values[2] * int64(os.Getpagesize())}, nil
}

// machineCPU returns the time that all processes of the machine have used so far. The time
// that a virtual machine's host gave to others counts too.
func machineCPU() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("cannot read what the machine does: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	fields := strings.Fields(line)
	const first, idle, waiting, last = 1, 4, 5, 8 // user to steal, proc_stat(5)
	var ticks int64
	for i := first; i <= last && i < len(fields); i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read what the machine does: %w", err)
		}
		if i != idle && i != waiting {
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick, nil
}
