//go:build !unix

package broker

import (
	"errors"
	"net"
	"syscall"
)

// rawOf returns nil: sockets are read and written through package net here.
func rawOf(net.Conn) syscall.RawConn { return nil }

func readSocket(uintptr, []byte) (n int, again bool, err error) {
	return 0, false, errors.ErrUnsupported
}

func writeSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
