package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData leaves out what reading back does not need, such as the time of the change.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) { // a signal came before anything was done
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return writeZeros(f, size)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}
