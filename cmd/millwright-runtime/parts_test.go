package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/simonvetter/modbus"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// asProgram has this test binary stand in for the program.
const asProgram = "MILLWRIGHT_TEST_AS_RUNTIME"

// patience bounds every wait; no test asserts how much of it was used.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// counter is a Modbus device whose register counts how often it was read.
type counter struct{ reads atomic.Uint32 }

func (c *counter) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	if r.Quantity != 1 || r.IsWrite {
		return nil, modbus.ErrIllegalDataAddress
	}
	return []uint16{uint16(c.reads.Add(1))}, nil
}

func (c *counter) HandleInputRegisters(*modbus.InputRegistersRequest) ([]uint16, error) {
	return nil, modbus.ErrIllegalFunction
}

func (c *counter) HandleCoils(*modbus.CoilsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

func (c *counter) HandleDiscreteInputs(*modbus.DiscreteInputsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

// part is one process.
type part struct {
	t    *testing.T
	args []string
	http string
	cmd  *exec.Cmd
	done chan error
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newPart(t *testing.T, name string, flags ...string) *part {
	t.Helper()
	p := &part{t: t, http: freePort(t), log: &lockedBuffer{}}
	p.args = append([]string{"--parts", name, "--data", filepath.Join(t.TempDir(), name), "--listen-http", p.http}, flags...)
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.log)
		}
	})
	return p
}

func (p *part) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0], p.args...)
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan<- error) { done <- cmd.Wait() }(p.cmd, p.done)
}

func (p *part) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done                 //nolint:errcheck // of the signal
	p.cmd = nil
}

// stop ends it as an engine does, and expects a clean end.
func (p *part) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := <-p.done; err != nil {
		p.t.Errorf("%v ended with %v", p.args[1], err)
	}
	p.cmd = nil
}

// ready waits until the health check passes.
func (p *part) ready() {
	p.t.Helper()
	until(p.t, p.args[1]+" is ready", func() error { return runHealth(p.t.Context(), "http://"+p.http) })
}

func until(t *testing.T, what string, done func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s: %v", what, err)
		}
	}
}

// plant is an instance of three processes.
type plant struct {
	*testing.T
	device                  *counter
	control, broker, mapper *part
	mqtts, https            string
	dir                     string // of control
	client                  *client.Client
	roots                   *x509.CertPool
}

// newPlant runs an instance; flags are further ones of control.
func newPlant(t *testing.T, flags ...string) *plant {
	t.Helper()
	p := &plant{T: t, device: &counter{}, mqtts: freePort(t), dir: filepath.Join(t.TempDir(), "data")}
	p.https = freePort(t)
	tokens, https := t.TempDir(), p.https
	for _, name := range []string{spec.BrokerPart, spec.DefaultAgent} {
		if err := os.WriteFile(filepath.Join(tokens, name), []byte(credential.Generate("")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.control = newPart(t, "control", "--data", p.dir, "--listen-https", https, "--join-tokens", tokens, "--broker", p.mqtts, "--mqtt-address", p.mqtts)
	p.control.args = append(p.control.args, flags...)
	p.broker = newPart(t, "broker", "--listen-mqtts", p.mqtts, "--control-url", "https://"+https, "--join-token-file", filepath.Join(tokens, spec.BrokerPart))
	p.mapper = newPart(t, "mapper", "--broker", p.mqtts, "--control-url", "https://"+https, "--join-token-file", filepath.Join(tokens, spec.DefaultAgent))
	for _, x := range []*part{p.mapper, p.broker, p.control} { // each waits for the next
		x.start()
	}
	for _, x := range []*part{p.control, p.broker, p.mapper} {
		x.ready()
	}
	ca := p.read("pki/ca.crt")
	p.roots = x509.NewCertPool()
	p.roots.AppendCertsFromPEM([]byte(ca))
	var err error
	p.client, err = client.New(client.Settings{URL: "https://" + https, CA: []byte(ca), Token: strings.TrimSpace(p.read("admin-token"))}, version, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	return p
}

func (p *plant) read(name string) string {
	p.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.Fatal(err)
	}
	return string(text)
}

// install has the mapper read the device 20 times a second.
func (p *plant) install() {
	p.Helper()
	addr := freePort(p.T)
	server, err := modbus.NewServer(&modbus.ServerConfiguration{URL: "tcp://" + addr, MaxClients: 5, Timeout: time.Minute}, p.device)
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if err := server.Stop(); err != nil {
			p.Error(err)
		}
	})
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		p.Fatal(err)
	}
	file := fmt.Sprintf(`metadata: {name: press, version: "1"}
resources:
  plc:
    type: Cybus::Connection
    properties: {protocol: Modbus, connection: {host: %q, port: %s}}
  reads:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref plc
      qos: 1
      subscribe: {fc: 3, address: 0, length: 1, dataType: uint16BE, interval: 50}
  copy:
    type: Cybus::Mapping
    properties:
      mappings:
        - subscribe: {topic: services/press/reads, qos: 1}
          publish: {topic: services/press/copy, qos: 1}
`, host, port)
	done, err := p.client.Apply(p.Context(), plan.Request{
		Services: []spec.Service{{ID: "press", Commissioning: file}}, Confirm: "any", Wait: plan.WaitData, Timeout: "60s",
	})
	if err != nil || !done.Applied {
		p.Fatalf("the service is not installed: %v", err)
	}
}

// values are what a client that is logged in as admin gets on a topic, over TLS; it keeps its
// session while the broker is away.
type values struct {
	*testing.T
	mu   sync.Mutex
	got  []int
	last time.Time // timestamp of the last
}

func (p *plant) subscribe(topic string) *values {
	p.Helper()
	v := &values{T: p.T}
	m := p.login(topic, func(c *paho.ClientConfig) {
		c.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			v.take(r.Packet.Payload)
			return true, nil
		}}
	})
	if _, err := m.Subscribe(p.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
		p.Fatal(err)
	}
	return v
}

func (p *plant) login(id string, change func(*paho.ClientConfig)) *autopaho.ConnectionManager {
	p.Helper()
	return p.loginAs(id, strings.TrimSpace(p.read("admin-password")), change)
}

func (p *plant) loginAs(id, password string, change func(*paho.ClientConfig)) *autopaho.ConnectionManager {
	p.Helper()
	server, err := url.Parse("mqtts://" + p.mqtts)
	if err != nil {
		p.Fatal(err)
	}
	c := autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, TlsCfg: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}, KeepAlive: 10,
		ConnectUsername: "admin", ConnectPassword: []byte(password),
		SessionExpiryInterval: 3600, ReconnectBackoff: func(int) time.Duration { return 100 * time.Millisecond },
		ClientConfig: paho.ClientConfig{ClientID: strings.ReplaceAll(id, "/", "-")},
	}
	if change != nil {
		change(&c.ClientConfig)
	}
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	p.Cleanup(cancel)
	m, err := autopaho.NewConnection(p.Context(), c)
	if err == nil {
		err = m.AwaitConnection(ctx)
	}
	if err != nil {
		p.Fatalf("the admin cannot log in: %v", err)
	}
	return m
}

func (v *values) take(payload []byte) {
	var m struct {
		Timestamp int64 `json:"timestamp"`
		Value     int   `json:"value"`
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		v.Errorf("%s: %v", payload, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if at := time.UnixMilli(m.Timestamp); at.Before(v.last) {
		v.Errorf("value %d is of %s, the one before of %s", m.Value, at, v.last)
	} else {
		v.last = at
	}
	if n := len(v.got); n > 0 && v.got[n-1] == m.Value {
		return // QoS 1: again
	}
	v.got = append(v.got, m.Value)
}

// reach waits until the value has come.
func (v *values) reach(value int) {
	v.Helper()
	until(v.T, fmt.Sprintf("value %d", value), func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if n := len(v.got); n == 0 || v.got[n-1] < value {
			return fmt.Errorf("%d values", n)
		}
		return nil
	})
}

// whole checks that from the first value on none is missing and all are in order.
func (v *values) whole() {
	v.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, value := range v.got {
		if value != v.got[0]+i {
			v.Errorf("value %d comes where %d should", value, v.got[0]+i)
			return
		}
	}
	v.Logf("%d values, none missing", len(v.got))
}

func (c *counter) more(n int) int { return int(c.reads.Load()) + n }

// TestEndToEndThreeProcesses: each part goes on without each of the others.
func TestEndToEndThreeProcesses(t *testing.T) {
	p := newPlant(t)
	p.install()
	direct, mapped := p.subscribe("services/press/reads"), p.subscribe("services/press/copy")
	direct.reach(p.device.more(10))
	mapped.reach(p.device.more(1))

	p.broker.kill()
	away := p.device.more(40)
	until(t, "the device is read while the broker is away", func() error {
		if p.device.more(0) < away {
			return fmt.Errorf("%d reads", p.device.more(0))
		}
		return nil
	})
	p.broker.start()
	direct.reach(away + 10)
	mapped.reach(away + 10)
	direct.whole()

	p.control.kill() // mapping and log-ins go on
	direct.reach(p.device.more(10))
	p.login("without-control", nil)
	p.broker.kill() // and from what they have on disk
	p.mapper.stop()
	p.broker.start()
	p.mapper.start()
	p.broker.ready()
	p.mapper.ready()
	p.login("again", nil)
	direct.reach(p.device.more(10))
	mapped.reach(p.device.more(10))
	mapped.whole()

	p.control.start()
	p.control.ready()
	until(t, "the mapper is online and the service enabled", func() error {
		s, err := p.client.Services().Get(t.Context(), "press")
		if err == nil && s.State != "enabled" {
			err = fmt.Errorf("it is %s: %v", s.State, s.Deviations)
		}
		return err
	})
	for _, x := range []*part{p.mapper, p.broker, p.control} {
		if log := x.log.String(); strings.Contains(log, "PRIVATE KEY") || strings.Contains(log, strings.TrimSpace(p.read("admin-password"))) {
			t.Errorf("%s logs a secret", x.args[1])
		}
		x.stop()
	}
}

func TestRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		`cannot run part "brokr"`:             {"--parts", "brokr"},
		"where control is":                    {"--parts", "broker", "--listen-mqtts", ":0"},
		"no listener":                         {"--parts", "broker", "--control-url", "https://c"},
		"where the broker is":                 {"--parts", "mapper", "--control-url", "https://c"},
		"with both broker and control":        {"--parts", "mapper,broker", "--listen-mqtts", ":0"},
		"over TLS alone":                      {"--parts", "control"},
		"needs the broker":                    {"--parts", "mapper", "--listen-mqtts", ":0"},
		"which address Cybus::MqttHost stand": {"--parts", "control", "--listen-https", ":0", "--broker", "b:8883"},
		"unknown flag":                        {"--nonsense"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append(args, "--data", filepath.Join(t.TempDir(), "data")), &out, &errs); code != 3 || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: exit code %d, %s", args, code, &errs)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"health", "--url", "http://" + freePort(t)}, &out, &errs); code != 1 {
		t.Errorf("nothing is healthy: exit code %d, %s", code, &errs)
	}
}
