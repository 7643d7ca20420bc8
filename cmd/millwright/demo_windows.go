package main

import (
	"errors"
	"os"
)

// interrupt cannot ask: Windows has no signal for it.
func interrupt(*os.Process) error { return errors.ErrUnsupported }
