// Command standin stands in for the runtime in the engine's tests: it answers the health
// check and ends when it is told to. Its behaviour is set when it is linked.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// mode is well, sick (never healthy) or crash.
var mode = "well"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		if mode == "sick" {
			fmt.Println("sick")
			os.Exit(1)
		}
		return
	}
	for n := range 30 {
		fmt.Printf("line %d of a %s one\n", n+1, mode)
	}
	if mode == "crash" {
		os.Exit(7)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	<-end
}
