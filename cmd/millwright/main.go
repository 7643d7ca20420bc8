// Command millwright declares, plans and applies what a factory's machines, data and users
// are to be, and shows what they are. It also runs the whole gateway in one process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(interruptible())
}

// interruptible runs the program until it is done or told to stop. A second signal ends it at once.
func interruptible() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], systemStreams())
}
