package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/millwright/millwright/examples"
)

// demo is one run of the demo: a simulated plant, a runtime, and the commands of a user.
type demo struct {
	dir  string // holds everything; removed at the end
	self string // our own binary
	out  io.Writer
	env  []string

	opcua, modbus, http, mqtt string // addresses, fixed so that the runtime comes back on them
	simulator, runtime        *child
}

// The endpoint that the demo edits, and what the edit is.
const (
	demoEditFrom = "interval: !ref INTERVAL"
	demoEditTo   = "interval: 250"
)

func newDemo(dir string, out io.Writer) (*demo, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &demo{dir: dir, self: self, out: out}
	for _, addr := range []*string{&d.opcua, &d.modbus, &d.http, &d.mqtt} {
		if *addr, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	d.env = append(withoutSettings(os.Environ()), "MILLWRIGHT_CONFIG="+d.path("config.yaml"))
	if err := os.WriteFile(d.path("parameters.yml"), d.parameters(), 0o600); err != nil {
		return nil, err
	}
	return d, os.WriteFile(d.path("service.yml"), examples.QuickstartFile, 0o600)
}

// parameters say where the simulated machines are.
func (d *demo) parameters() []byte {
	var b bytes.Buffer
	for name, addr := range map[string]string{"opcua": d.opcua, "modbus": d.modbus} {
		host, port, _ := net.SplitHostPort(addr) // made by net.Listen
		fmt.Fprintf(&b, "%[1]sHost: %[2]s\n%[1]sPort: %[3]s\n", name, host, port)
	}
	return b.Bytes()
}

// withoutSettings drops the caller's own MILLWRIGHT_ variables: the demo must reach its own runtime only.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "MILLWRIGHT_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// freeAddress returns a loopback address that nobody listens on. It lies below the ports that
// systems give to outgoing connections, so that none of those takes it before it is used.
func freeAddress() (string, error) {
	const first, count, tries = 18000, 12000, 100
	var err error
	for range tries {
		var l net.Listener
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count)))
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("cannot find a free port: %w", err)
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n# "+format+"\n", args...)
}

// show runs the whole story and fails at the first thing that is not as it should be.
func (d *demo) show(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		d.startAll, d.install, d.repeat, d.edit, d.cutMachine, d.killRuntime,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startAll(ctx context.Context) (err error) {
	d.say("A simulated plant: an OPC UA server and a Modbus TCP device, values that change.")
	d.simulator, err = d.start(ctx, "simulate", "--opcua", d.opcua, "--modbus", d.modbus, "--seed", "1", "--control")
	if err != nil {
		return err
	}
	if err := waitForPorts(ctx, d.opcua, d.modbus); err != nil {
		return err
	}
	d.say("The runtime: broker, mapper and control in one process.")
	return d.startRuntime(ctx)
}

func (d *demo) startRuntime(ctx context.Context) (err error) {
	d.runtime, err = d.start(ctx, "up", "--data", d.path("data"), "--listen-http", d.http, "--listen-mqtt", d.mqtt)
	if err != nil {
		return err
	}
	return waitUntilReady(ctx, d.http)
}

func (d *demo) install(ctx context.Context) error {
	d.say("What would installing %s change?", "examples/quickstart/service.yml")
	if _, err := d.run(ctx, d.withFile("plan")...); err != nil {
		return err
	}
	d.say("Install it.")
	if _, err := d.run(ctx, d.withFile("apply", "--yes", "--wait-for", "data", "--timeout", "20s")...); err != nil {
		return err
	}
	d.say("Live values of both machines, and of a mapping that combines them.")
	_, err := d.run(ctx, "tail", "services/#", "-n", "8", "--timeout", "20s")
	if err != nil {
		return err
	}
	_, err = d.run(ctx, "tail", "plant/#", "-n", "2", "--timeout", "20s")
	return err
}

func (d *demo) repeat(ctx context.Context) error {
	d.say("Apply it again: nothing changes.")
	return d.expect(ctx, "No changes", d.withFile("apply", "--yes")...)
}

func (d *demo) edit(ctx context.Context) error {
	d.say("Edit one endpoint (%q becomes %q): the plan says what that disturbs.", demoEditFrom, demoEditTo)
	text, err := os.ReadFile(d.path("service.yml"))
	if err != nil {
		return err
	}
	edited := bytes.Replace(text, []byte(demoEditFrom), []byte(demoEditTo), 1)
	if bytes.Equal(edited, text) {
		return fmt.Errorf("cannot edit service.yml: it has no %q", demoEditFrom)
	}
	if err := os.WriteFile(d.path("service.yml"), edited, 0o600); err != nil {
		return err
	}
	if err := d.expect(ctx, "1 to change", d.withFile("plan")...); err != nil {
		return err
	}
	_, err = d.run(ctx, d.withFile("apply", "--yes")...)
	return err
}

func (d *demo) cutMachine(ctx context.Context) error {
	d.say("Now the part that hurts. Cut the Modbus machine off ...")
	if err := d.misbehave("modbus", "cut"); err != nil {
		return err
	}
	if err := d.waitForServiceState(ctx, "deviated"); err != nil {
		return err
	}
	if _, err := d.run(ctx, "get", "services", "quickstart"); err != nil {
		return err
	}
	d.say("... and let it come back. Nobody restarts anything.")
	if err := d.misbehave("modbus", "none"); err != nil {
		return err
	}
	if err := d.waitForServiceState(ctx, "enabled"); err != nil {
		return err
	}
	_, err := d.run(ctx, "get", "connections")
	return err
}

func (d *demo) killRuntime(ctx context.Context) error {
	d.say("Kill the runtime with SIGKILL, start it again, and ask for nothing.")
	if err := d.runtime.kill(); err != nil {
		return err
	}
	if err := d.startRuntime(ctx); err != nil {
		return err
	}
	_, err := d.run(ctx, "tail", "plant/#", "-n", "3", "--timeout", "20s")
	return err
}

// withFile completes a plan or apply command with the demo's file and its machines' addresses.
func (d *demo) withFile(command string, flags ...string) []string {
	return append([]string{command, d.path("service.yml"), "--parameters-file", d.path("parameters.yml")}, flags...)
}

// misbehave tells the simulator what to do to a device.
func (d *demo) misbehave(device, how string) error {
	_, err := fmt.Fprintf(d.simulator.stdin, "misbehave %s %s\n", device, how)
	return err
}

// waitForServiceState polls until the one service reports the state.
func (d *demo) waitForServiceState(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var last []byte
	err := poll(ctx, func() bool {
		out, err := d.command(ctx, "get", "services", "-o", "json").Output()
		last = out
		return err == nil && bytes.Contains(out, []byte(`"state": "`+state+`"`))
	})
	if err != nil {
		return fmt.Errorf("cannot see the service become %s: %w; last seen: %s", state, err, last)
	}
	return nil
}

// expect runs a command and fails unless its output has the text.
func (d *demo) expect(ctx context.Context, text string, args ...string) error {
	out, err := d.run(ctx, args...)
	if err == nil && !strings.Contains(out, text) {
		err = fmt.Errorf("cannot find %q in the output of millwright %s", text, args[0])
	}
	return err
}

// run runs a command as the user would, prints it and what it prints, and returns the latter.
func (d *demo) run(ctx context.Context, args ...string) (string, error) {
	fmt.Fprintf(d.out, "\n$ millwright %s\n", strings.ReplaceAll(strings.Join(args, " "), d.dir+string(filepath.Separator), ""))
	cmd := d.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(d.out, &out)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("cannot run millwright %s: %w", args[0], err)
	}
	return out.String(), nil
}

func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.self, args...)
	cmd.Env = d.env
	cmd.Dir = d.dir
	return cmd
}

func (d *demo) printNextCommands() {
	host, port, _ := net.SplitHostPort(d.mqtt) // made by net.Listen
	d.say("All of it is still running; Ctrl-C ends it. In another terminal:")
	fmt.Fprintf(d.out, `
export MILLWRIGHT_CONFIG=%[1]s
%[2]s get endpoints
%[2]s tail 'services/#'
%[2]s apply %[3]s --yes
mosquitto_sub -h %[4]s -p %[5]s -u admin -P "$(cat %[6]s)" -t 'services/#' -v
`, d.path("config.yaml"), d.self, strings.Join(d.withFile("apply")[1:], " "), host, port, adminPasswordFile(d.path("data")))
}

func (d *demo) stop() error {
	var errs []error
	for _, c := range []*child{d.runtime, d.simulator} {
		if c != nil {
			errs = append(errs, c.stop())
		}
	}
	return errors.Join(errs...)
}

// waitForPorts returns when something accepts connections on every address.
func waitForPorts(ctx context.Context, addrs ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, addr := range addrs {
		err := poll(ctx, func() bool {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			return err == nil && conn.Close() == nil
		})
		if err != nil {
			return fmt.Errorf("cannot reach %s: %w", addr, err)
		}
	}
	return nil
}

// waitUntilReady returns when every part of the runtime with that API address is at work.
func waitUntilReady(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	err = poll(ctx, func() bool {
		response, err := http.DefaultClient.Do(request)
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	if err != nil {
		return fmt.Errorf("cannot see the runtime at %s become ready: %w", addr, err)
	}
	return nil
}

// poll calls done ten times a second until it says so or ctx ends.
func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
