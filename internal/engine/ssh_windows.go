package engine

import (
	"os/exec"
	"syscall"
)

// detach keeps the terminal's Ctrl-C from a program: what is under way is first brought to an end.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
