package main

import "os"

// interrupt ends a process: Windows has no signal that asks.
func interrupt(p *os.Process) error { return p.Kill() }
