//go:build unix

package broker

import (
	"io"
	"net"
	"syscall"
)

// rawOf returns access to a plain socket, nil for anything else.
func rawOf(nc net.Conn) syscall.RawConn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readSocket reads without waiting; again says that there is nothing yet.
func readSocket(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, true, nil
		case n == 0 && err == nil:
			return 0, false, io.EOF
		}
		return max(n, 0), false, err
	}
}

// writeSocket writes without waiting, as much as the socket takes.
func writeSocket(fd uintptr, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := syscall.Write(int(fd), p[n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return n, nil
		case err != nil:
			return n, err
		}
		n += m
	}
	return n, nil
}
