// Command millwright-module is the one binary behind all modules of the Ansible collection
// millwright.shopfloor. Ansible runs it with the name of a file that holds the arguments as
// JSON; which module is meant is said there.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/millwright/millwright/internal/ansible"
)

var version = "0.0.0-dev" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintf(errOut, "millwright-module %s: this program is run by the Ansible collection %s, with a file of arguments\n", version, ansible.Collection)
		return 1
	}
	text, err := arguments(args[1], in)
	if err != nil {
		return ansible.Fail(fmt.Errorf("cannot read the module's arguments: %w", err), out)
	}
	return ansible.Run(ctx, ansible.Call{Arguments: text, Module: filepath.Base(args[0]), Version: version, Getenv: os.Getenv, Setenv: os.Setenv}, out)
}

// arguments reads the file. Standard input is read as it is: who became another user may
// read the pipe, but not open it again.
func arguments(path string, in io.Reader) ([]byte, error) {
	if path == "/dev/stdin" || path == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(path)
}
