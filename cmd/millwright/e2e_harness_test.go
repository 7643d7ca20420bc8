package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// patience bounds every wait for something that a healthy system does at once; it is long
// because the machine may be busy, and no test asserts how much of it was used.
const patience = 60 * time.Second

// instance is a runtime in a process of its own, with a data directory and a context file of its own.
type instance struct {
	t          testing.TB
	dir        string
	http, mqtt string
	env        []string // further variables of its commands
	cmd        *exec.Cmd
	log        *lastOutput
	done       chan error
}

// newInstance makes the folder and chooses the ports; up starts it.
func newInstance(t testing.TB) *instance {
	t.Helper()
	return &instance{t: t, dir: t.TempDir(), http: freePort(t), mqtt: freePort(t)}
}

func freePort(t testing.TB) string {
	t.Helper()
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// up starts the runtime and waits until it is ready. It is stopped at the test's end.
func (i *instance) up(flags ...string) {
	i.t.Helper()
	i.start(flags...)
	ctx, cancel := context.WithCancelCause(i.t.Context())
	done := i.done
	go func() {
		err := <-done
		done <- err
		cancel(fmt.Errorf("millwright up ended: %w", err))
	}()
	if err := waitUntilReady(ctx, i.http); err != nil {
		i.t.Fatalf("%v: %v\n%s", err, context.Cause(ctx), i.log)
	}
}

func (i *instance) start(flags ...string) {
	i.t.Helper()
	args := append([]string{"up", "--data", filepath.Join(i.dir, "data"), "--listen-http", i.http, "--listen-mqtt", i.mqtt}, flags...)
	i.cmd = i.command(context.Background(), args...)
	i.log = &lastOutput{}
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	i.done = make(chan error, 1)
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	cmd, done := i.cmd, i.done
	go func() { done <- cmd.Wait() }()
	i.t.Cleanup(func() {
		_ = cmd.Process.Kill() // ended already in most tests
		done <- <-done
	})
}

// kill ends the runtime with SIGKILL.
func (i *instance) kill() {
	i.t.Helper()
	if err := i.cmd.Process.Kill(); err != nil {
		i.t.Fatal(err)
	}
	i.done <- <-i.done
}

// stop ends the runtime as Ctrl-C does and expects a clean end.
func (i *instance) stop() {
	i.t.Helper()
	if err := interrupt(i.cmd.Process); err != nil {
		i.t.Fatal(err)
	}
	select {
	case err := <-i.done:
		i.done <- err
		if err != nil {
			i.t.Fatalf("millwright up ended with %v\n%s", err, i.log)
		}
	case <-time.After(patience):
		i.t.Fatalf("millwright up did not end\n%s", i.log)
	}
}

func (i *instance) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "millwright", args...)
	cmd.Env = append(withoutSettings(os.Environ()), "MILLWRIGHT_CONFIG="+filepath.Join(i.dir, "config.yaml"))
	cmd.Env = append(cmd.Env, i.env...)
	cmd.Dir = i.dir
	return cmd
}

// run runs a command and returns what it printed and its exit code.
func (i *instance) run(args ...string) (stdout, stderr string, code int) {
	i.t.Helper()
	var out, errOut bytes.Buffer
	cmd := i.command(i.t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		i.t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// must runs a command that has to succeed.
func (i *instance) must(args ...string) string {
	i.t.Helper()
	stdout, stderr, code := i.run(args...)
	if code != 0 {
		i.t.Fatalf("millwright %s: exit %d\n%s%s\nruntime:\n%s", strings.Join(args, " "), code, stdout, stderr, i.log)
	}
	return stdout
}

// write puts a file into the instance's folder.
func (i *instance) write(name, content string) string {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// install applies a commissioning file under the id.
func (i *instance) install(id, content string, flags ...string) {
	i.t.Helper()
	i.must(append([]string{"apply", i.write(id+".yml", content), "--id", id, "--yes"}, flags...)...)
}

// service reads one service.
func (i *instance) service(id string) spec.ServiceView {
	i.t.Helper()
	var v spec.ServiceView
	i.decode(&v, "get", "services", id, "-o", "json")
	return v
}

// endpoints reads the status of every endpoint, by id.
func (i *instance) resources(kind string) map[string]spec.ResourceStatus {
	i.t.Helper()
	var list []spec.ResourceStatus
	i.decode(&list, "get", kind, "-o", "json")
	byID := map[string]spec.ResourceStatus{}
	for _, s := range list {
		byID[s.ID] = s
	}
	return byID
}

func (i *instance) decode(v any, args ...string) {
	i.t.Helper()
	out := i.must(args...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		i.t.Fatalf("millwright %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// values returns the payloads that arrive on a topic filter.
func (i *instance) values(filter string, n int) []string {
	i.t.Helper()
	var payloads []string
	out := i.must("tail", filter, "-n", fmt.Sprint(n), "--timeout", patience.String())
	for line := range strings.Lines(out) {
		_, payload, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		payloads = append(payloads, payload)
	}
	return payloads
}

// state waits until the service reports the state.
func (i *instance) state(id, want string) spec.ServiceView {
	i.t.Helper()
	var v spec.ServiceView
	i.eventually("service "+id+" to become "+want, func() error {
		if v = i.service(id); v.State != want {
			return fmt.Errorf("it is %s: %+v", v.State, v.Deviations)
		}
		return nil
	})
	return v
}

// eventually waits on a condition.
func (i *instance) eventually(what string, done func() error) {
	i.t.Helper()
	eventually(i.t, what, done)
}

func eventually(t testing.TB, what string, done func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	if err := poll(ctx, func() bool { last = done(); return last == nil }); err != nil {
		t.Fatalf("waited in vain for %s: %v", what, last)
	}
}

// plant starts `millwright simulate` in a process of its own and returns its addresses and
// the way to make a device misbehave.
func plant(t testing.TB, flags ...string) (opcua, modbus string, misbehave func(device, how string)) {
	t.Helper()
	opcua, modbus = freePort(t), freePort(t)
	args := append([]string{"simulate", "--opcua", opcua, "--modbus", modbus, "--seed", "1", "--control"}, flags...)
	cmd := exec.CommandContext(t.Context(), "millwright", args...)
	log := &lastOutput{}
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := waitForPorts(t.Context(), opcua, modbus); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return opcua, modbus, func(device, how string) {
		t.Helper()
		if _, err := fmt.Fprintf(stdin, "misbehave %s %s\n", device, how); err != nil {
			t.Fatal(err)
		}
	}
}

func splitAddress(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// read returns a file's content.
func (i *instance) read(path string) string {
	i.t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		i.t.Fatal(err)
	}
	return string(content)
}
