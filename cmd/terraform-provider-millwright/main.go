// Command terraform-provider-millwright is the Terraform provider millwright/millwright.
// Terraform starts it; with -debug it waits for a debugger's Terraform instead.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/millwright/millwright/provider"
)

var version = "0.0.0-dev" // set by the linker

// logoutTime bounds how long the end waits for instances that do not answer; Terraform kills
// what takes longer than two seconds.
const logoutTime = time.Second

// gcPercent lets the heap grow further than usual: the process lives for seconds, and most of
// what it allocates is the framework's.
const gcPercent = 400

func main() {
	debugged := flag.Bool("debug", false, "wait for Terraform runs that name this process in TF_REATTACH_PROVIDERS")
	flag.Parse()
	debug.SetGCPercent(gcPercent)
	if err := quiet(); err != nil {
		fmt.Fprintln(os.Stderr, "terraform-provider-millwright:", err)
		os.Exit(1)
	}
	if err := run(context.Background(), *debugged); err != nil {
		fmt.Fprintln(os.Stderr, "terraform-provider-millwright:", err)
		os.Exit(1)
	}
}

// quiet keeps the framework from writing its trace where nobody asked for one: Terraform would
// throw it away, and a plan of hundreds of objects takes a quarter longer.
func quiet() error {
	for _, name := range []string{"TF_LOG", "TF_LOG_PROVIDER", "TF_LOG_PROVIDER_MILLWRIGHT", "TF_LOG_SDK", "TF_LOG_SDK_FRAMEWORK", "TF_LOG_SDK_PROTO"} {
		if os.Getenv(name) != "" {
			return nil
		}
	}
	return os.Setenv("TF_LOG_SDK", "OFF")
}

func run(ctx context.Context, debugged bool) error {
	p := provider.New(version)
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, logoutTime)
		defer cancel()
		p.Close(ctx)
	}()
	var opts []tf6server.ServeOpt
	if debugged {
		opts = append(opts, tf6server.WithManagedDebug())
	}
	return tf6server.Serve(provider.Address, provider.Server(p), opts...)
}
