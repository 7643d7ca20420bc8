//go:build unix

package main

import (
	"os"
	"syscall"
)

// interrupt asks a process to end in good order.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
