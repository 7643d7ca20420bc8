package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millwright/millwright/internal/client"
)

var update = flag.Bool("update", false, "refresh golden files and generated pages")

// TestMain lets this test binary stand in for the program, in scripts and end-to-end tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millwright": main})
}

// TestScripts runs the commands as a user would. `exits CODE COMMAND...` runs one that has
// to end with that code; `instance` starts a real one, `plant` a simulated plant, and `api`
// one that answers from files (see api_test.go).
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("MILLWRIGHT_CONFIG", env.WorkDir+"/config.yaml")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "api": startAPI, "instance": startInstance, "plant": startPlant,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// startInstance runs `millwright up` on free ports until the script ends.
func startInstance(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: instance")
	}
	web, mqtt := scriptAddress(ts), scriptAddress(ts)
	background(ts, "up", "--data", ts.MkAbs("data"), "--listen-http", web, "--listen-mqtt", mqtt)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(poll(ctx, func() bool { // the ports are open before the context file is there
		contexts, _, err := client.LoadContexts(ts.Getenv("MILLWRIGHT_CONFIG"))
		return err == nil && contexts.Current != ""
	}))
	ts.Check(waitForPorts(ctx, web, mqtt))
	ts.Setenv("URL", "http://"+web)
}

// startPlant runs `millwright simulate` on free ports until the script ends.
func startPlant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: plant")
	}
	opcua, modbus := scriptAddress(ts), scriptAddress(ts)
	background(ts, "simulate", "--opcua", opcua, "--modbus", modbus)
	ts.Check(waitForPorts(context.Background(), opcua, modbus))
	ts.Setenv("OPCUA", "opc.tcp://"+opcua)
	ts.Setenv("MODBUS", "modbus-tcp://"+modbus)
}

func scriptAddress(ts *testscript.TestScript) string {
	address, err := freeAddress()
	ts.Check(err)
	return address
}

func background(ts *testscript.TestScript, args ...string) {
	log := &lastOutput{}
	cmd := exec.Command("millwright", args...)
	cmd.Env = append(withoutSettings(os.Environ()), "MILLWRIGHT_CONFIG="+ts.Getenv("MILLWRIGHT_CONFIG"))
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		ts.Check(interrupt(cmd.Process))
		if err := cmd.Wait(); err != nil {
			ts.Fatalf("millwright %s: %v\n%s", args[0], err, log)
		}
	})
}
