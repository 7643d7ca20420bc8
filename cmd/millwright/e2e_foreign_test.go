package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// outage is how long a machine stays away in these tests; it is the tests' subject, not a
// wait for something.
const outage = 10 * time.Second

// server is a machine that this project did not write.
type server struct {
	t    *testing.T
	name string
	args []string
	cmd  *exec.Cmd
	log  *lastOutput
}

// startServer runs a command that prints a line with "ready" once it listens.
func startServer(t *testing.T, name string, args ...string) *server {
	t.Helper()
	s := &server{t: t, name: name, args: args}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.log = &lastOutput{}
	s.cmd = exec.CommandContext(s.t.Context(), s.name, s.args...)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			go func() {
				for lines.Scan() { // keeps the server from blocking on a full pipe, until it ends
				}
			}()
			return
		}
	}
	s.t.Fatalf("%s %v never got ready:\n%s", s.name, s.args, s.log)
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill() // may have ended already
	_ = s.cmd.Wait()
}

// restartAfterOutage stops the server for ten seconds and reports how long after its return
// the first value came.
func restartAfterOutage(t *testing.T, i *instance, s *server, topic string) {
	t.Helper()
	s.stop()
	i.state("machine", "deviated")
	<-time.After(outage)
	s.start()
	back := time.Now()
	i.eventually("values after the outage", func() error {
		out, _, code := i.run("tail", topic, "-n", "2", "--timeout", "5s")
		if code != 0 || strings.Contains(out, "error") {
			return fmt.Errorf("tail ended with %d: %s", code, out)
		}
		return nil
	})
	t.Logf("after an outage of %s data flowed %.1f s after the server was back", outage, time.Since(back).Seconds())
	i.state("machine", "enabled")
}

func TestForeignPymodbus(t *testing.T) {
	t.Parallel()
	python := testneed.Python(t, "pymodbus")
	_, port := splitAddress(t, freePort(t))
	s := startServer(t, python, filepath.Join("..", "..", "runtime", "mapper", "modbus", "testdata", "server.py"), port, "socket")
	i := newInstance(t)
	i.up()
	i.install("machine", fmt.Sprintf(`description: a machine made with pymodbus
metadata: {name: machine}
resources:
  plc: {type: Cybus::Connection, properties: {protocol: Modbus, connection: {host: 127.0.0.1, port: %s}}}
  temperature:
    type: Cybus::Endpoint
    properties: {protocol: Modbus, connection: !ref plc, subscribe: {fc: 3, address: 0, dataType: floatBE, interval: 200}}
  total:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref plc
      subscribe: {fc: 3, address: 2, dataType: int64BE, interval: 200}
      rules: [{filter: {expression: value > 0}}]
  setpoint:
    type: Cybus::Endpoint
    properties: {protocol: Modbus, connection: !ref plc, write: {fc: 16, address: 20, dataType: uint16BE}}
  readback:
    type: Cybus::Endpoint
    properties: {protocol: Modbus, connection: !ref plc, subscribe: {fc: 3, address: 20, dataType: uint16BE, interval: 200}}
`, port), "--wait-for", "data")

	if got := i.values("services/machine/temperature", 1); !strings.Contains(got[0], `"value":21.7}`) {
		t.Errorf("temperature: %s", got)
	}
	if got := i.values("services/machine/total", 1); !strings.Contains(got[0], `"value":9007199254740993}`) {
		t.Errorf("a rule that does not touch it, and 2^53+1 became %s", got)
	}
	publish(t, i, "services/machine/setpoint/set", `{"id": 7, "value": 4711}`)
	i.eventually("the written value to be read back", func() error {
		if got := i.values("services/machine/readback", 1); !strings.Contains(got[0], "4711") {
			return fmt.Errorf("read back %s", got)
		}
		return nil
	})
	restartAfterOutage(t, i, s, "services/machine/temperature")
	i.stop()
}

func TestForeignNodeOPCUA(t *testing.T) {
	t.Parallel()
	node, dir := testneed.Node(t, "node-opcua")
	_, port := splitAddress(t, freePort(t))
	i := newInstance(t)
	i.up()
	var certificate spec.CertificateView
	i.decode(&certificate, "get", "certificate", "-o", "json")
	trusted := i.write("client.pem", certificate.PEM)
	s := startServer(t, node, filepath.Join(dir, "opcua-server.js"), "--port", port, "--pki", t.TempDir(), "--trust", trusted)
	i.install("machine", fmt.Sprintf(`description: a machine made with node-opcua
metadata: {name: machine}
resources:
  plc:
    type: Cybus::Connection
    properties:
      protocol: Opcua
      connection:
        host: 127.0.0.1
        port: %s
        username: operator
        password: s3cret-pass
        securityMode: SignAndEncrypt
        securityPolicy: Basic256Sha256
        trustAllCertificates: true
  temperature:
    type: Cybus::Endpoint
    properties: {protocol: Opcua, connection: !ref plc, subscribe: {nodeId: ns=1;s=Line.Counter, samplingInterval: 200, publishInterval: 200}}
  total:
    type: Cybus::Endpoint
    properties: {protocol: Opcua, connection: !ref plc, retain: true, subscribe: {nodeId: ns=1;s=Line.Int64, samplingInterval: 200, publishInterval: 200}}
  setpoint:
    type: Cybus::Endpoint
    properties: {protocol: Opcua, connection: !ref plc, write: {nodeId: ns=1;s=Line.Setpoint}}
  readback:
    type: Cybus::Endpoint
    properties: {protocol: Opcua, connection: !ref plc, retain: true, subscribe: {nodeId: ns=1;s=Line.Setpoint, samplingInterval: 200, publishInterval: 200}}
`, port), "--wait-for", "data")

	if got := i.values("services/machine/total", 1); !strings.Contains(got[0], `"value":-9007199254740993}`) {
		t.Errorf("-(2^53+1) became %s", got)
	}
	publish(t, i, "services/machine/setpoint/set", `{"id": 7, "value": 47.11}`)
	i.eventually("the written value to be read back", func() error {
		if got := i.values("services/machine/readback", 1); !strings.Contains(got[0], "47.11") {
			return fmt.Errorf("read back %s", got)
		}
		return nil
	})
	restartAfterOutage(t, i, s, "services/machine/temperature")
	i.stop()
}

// TestForeignMosquittoClients reads values and writes to a machine with Debian's clients,
// and finds that the broker is closed to whoever has no password.
func TestForeignMosquittoClients(t *testing.T) {
	t.Parallel()
	sub := testneed.Program(t, "mosquitto_sub")
	i, _, _ := quickstart(t)
	host, port := splitAddress(t, i.mqtt)
	login := append([]string{"-h", host, "-p", port}, adminLogin(i)...)

	out, err := exec.CommandContext(t.Context(), sub, append(login, "-t", "services/#", "-t", "plant/#", "-C", "10", "-W", "30", "-v")...).CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 10 {
		t.Errorf("mosquitto_sub: %v\n%s", err, out)
	}

	answer := exec.CommandContext(t.Context(), sub, append(login, "-t", "services/quickstart/pump/setpoint/res", "-C", "1", "-W", "30")...)
	var reply lastOutput
	answer.Stdout = &reply
	if err := answer.Start(); err != nil {
		t.Fatal(err)
	}
	i.eventually("a reply to the write", func() error {
		publish(t, i, "services/quickstart/pump/setpoint/set", `{"id": "w1", "value": 123}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return poll(ctx, func() bool { return reply.String() != "" })
	})
	if err := answer.Wait(); err != nil || !strings.Contains(reply.String(), `"id":"w1"`) || !strings.Contains(reply.String(), "123") {
		t.Errorf("the reply is %q (%v)", reply.String(), err)
	}

	for name, args := range map[string][]string{
		"nobody":         {"-h", host, "-p", port},
		"wrong password": {"-h", host, "-p", port, "-u", "admin", "-P", "wrong"},
	} {
		if out, err := exec.CommandContext(t.Context(), sub, append(args, "-t", "#", "-C", "1", "-W", "5")...).CombinedOutput(); err == nil {
			t.Errorf("%s could subscribe: %s", name, out)
		}
	}
}

// TestForeignReadOnlyRefusesWrites runs with --read-only and finds the refusal in the reply.
func TestForeignReadOnlyRefusesWrites(t *testing.T) {
	t.Parallel()
	sub := testneed.Program(t, "mosquitto_sub")
	i, _, _ := quickstart(t)
	i.stop()
	i.up("--read-only")
	i.state("quickstart", "enabled")
	host, port := splitAddress(t, i.mqtt)
	answer := exec.CommandContext(t.Context(), sub, append([]string{"-h", host, "-p", port, "-t", "services/quickstart/pump/setpoint/res", "-C", "1", "-W", "30"}, adminLogin(i)...)...)
	var reply lastOutput
	answer.Stdout = &reply
	if err := answer.Start(); err != nil {
		t.Fatal(err)
	}
	i.eventually("a reply to the write", func() error {
		publish(t, i, "services/quickstart/pump/setpoint/set", "77")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return poll(ctx, func() bool { return reply.String() != "" })
	})
	if err := answer.Wait(); err != nil || !strings.Contains(reply.String(), "error") || !strings.Contains(reply.String(), "read-only") {
		t.Errorf("the reply is %q (%v)", reply.String(), err)
	}
}

// TestForeignRetainedMessagesGoWithTheirService keeps a message below a service and destroys that.
func TestForeignRetainedMessagesGoWithTheirService(t *testing.T) {
	t.Parallel()
	i, _, _ := quickstart(t)
	publish(t, i, "services/quickstart/recipe", "kept", "-r")
	publish(t, i, "services/quickstart2/recipe", "kept too", "-r")
	i.values("services/quickstart/recipe", 1)
	i.must("destroy", "--id", "quickstart", "--yes")
	if out, _, code := i.run("tail", "services/quickstart/recipe", "-n", "1", "--timeout", "1s"); code != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
	i.values("services/quickstart2/recipe", 1)
	i.stop()
}

// publish sends one message with mosquitto_pub.
func publish(t *testing.T, i *instance, topic, payload string, flags ...string) {
	t.Helper()
	host, port := splitAddress(t, i.mqtt)
	args := append([]string{"-h", host, "-p", port, "-t", topic, "-m", payload, "-q", "1"}, append(flags, adminLogin(i)...)...)
	if out, err := exec.CommandContext(t.Context(), testneed.Program(t, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}

// adminLogin is the log-in of the admin that the first start made.
func adminLogin(i *instance) []string {
	return []string{"-u", adminUser, "-P", strings.TrimSpace(i.read(adminPasswordFile(filepath.Join(i.dir, "data"))))}
}
