package mqtt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/runtime/mapper"
)

// mosquitto is Debian's broker with a password, plain, over TLS with client certificates and over
// web sockets.
type mosquitto struct {
	t               *testing.T
	program, config string
	plain, tls, ws  int
	ca, cert, key   string // PEM
	process         *exec.Cmd
}

func newMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, program: testneed.Program(t, "mosquitto")}
	dir := t.TempDir()
	m.plain, m.tls, m.ws = freePort(t), freePort(t), freePort(t)
	m.ca, m.cert, m.key = certificate(t)
	passwords := filepath.Join(dir, "passwords")
	if out, err := exec.CommandContext(t.Context(), testneed.Program(t, "mosquitto_passwd"), "-c", "-b", passwords, "anna", "secret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	for name, text := range map[string]string{"ca.pem": m.ca, "cert.pem": m.cert, "key.pem": m.key} {
		write(t, filepath.Join(dir, name), text)
	}
	m.config = filepath.Join(dir, "mosquitto.conf")
	write(t, m.config, fmt.Sprintf(`user root
allow_anonymous false
password_file %s
persistence true
persistence_location %s/
autosave_interval 1
listener %d 127.0.0.1
listener %d 127.0.0.1
protocol websockets
listener %d 127.0.0.1
cafile %s/ca.pem
certfile %s/cert.pem
keyfile %s/key.pem
require_certificate true
`, passwords, dir, m.plain, m.ws, m.tls, dir, dir, dir))
	m.start()
	t.Cleanup(func() {
		if m.process != nil {
			m.stop()
		}
	})
	return m
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// certificate makes one that is its own authority, for server and client.
func certificate(t *testing.T) (ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}))
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.process = exec.Command(m.program, "-c", m.config)
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	until(m.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(m.plain))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (m *mosquitto) stop() {
	m.t.Helper()
	if err := m.process.Process.Signal(os.Interrupt); err != nil {
		m.t.Error(err)
	}
	if err := m.process.Wait(); err != nil {
		m.t.Logf("mosquitto: %v", err)
	}
	m.process = nil
}

// publish uses Debian's client.
func (m *mosquitto) publish(topic, payload string, more ...string) {
	m.t.Helper()
	args := append([]string{"-p", strconv.Itoa(m.plain), "-u", "anna", "-P", "secret", "-t", topic, "-m", payload, "-q", "1"}, more...)
	if out, err := exec.CommandContext(m.t.Context(), testneed.Program(m.t, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		m.t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
}

func (m *mosquitto) properties(more map[string]any) map[string]any {
	all := map[string]any{"host": "127.0.0.1", "port": m.plain, "username": "anna", "password": "secret"}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func connectorFor(t *testing.T, properties map[string]any) mapper.Connector {
	t.Helper()
	raw, err := json.Marshal(properties)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(mapper.Config{Name: "press::broker", Properties: raw, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t *testing.T, c mapper.Connector) mapper.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := c.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// until polls a condition that another program brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// inbox collects.
type inbox struct {
	mu  sync.Mutex
	got []string
}

func (in *inbox) add(s string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.got = append(in.got, s)
}

func (in *inbox) list() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]string(nil), in.got...)
}

func (in *inbox) wait(t *testing.T, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d messages", n), func() bool { return len(in.list()) >= n })
}

func TestForeignMosquitto(t *testing.T) {
	m := newMosquitto(t)
	ways := map[string]map[string]any{
		"mqtt": {},
		"url":  {"host": "", "port": 0, "url": fmt.Sprintf("tcp://127.0.0.1:%d", m.plain)},
		"ws":   {"port": m.ws, "scheme": "ws"},
		"tls": {
			"port": m.tls, "scheme": "mqtts", "caCert": m.ca, "clientCert": m.cert, "clientPrivateKey": m.key,
			"mutualAuthentication": true,
		},
		"trust all": {"port": m.tls, "scheme": "tls", "clientCert": m.cert, "clientPrivateKey": m.key, "trustAllCertificates": true},
	}
	m.publish("keep/one", "kept", "-r")
	for name, way := range ways {
		for _, version := range []int{4, 5} {
			t.Run(fmt.Sprint(name, version), func(t *testing.T) {
				way["protocolVersion"] = version
				c := connectorFor(t, m.properties(way))
				s := dial(t, c)
				var in inbox
				p, err := c.Point(mapper.OpSubscribe, json.RawMessage(`{"topic":"keep/+","qos":1}`))
				if err != nil {
					t.Fatal(err)
				}
				sub := mapper.Subscription{ID: "x", Point: p, Deliver: func(r mapper.Result) { in.add(string(r.Raw)) }}
				if errs := s.Subscribe(t.Context(), []mapper.Subscription{sub}); errs[0] != nil {
					t.Fatal(errs[0])
				}
				in.wait(t, 1)
				w, err := c.Point(mapper.OpWrite, json.RawMessage(`{"topic":"keep/two","qos":2}`))
				if err != nil {
					t.Fatal(err)
				}
				if r := s.Write(t.Context(), w, mapper.Payload{Raw: []byte("\x00\xff")}); r.Err != nil {
					t.Fatal(r.Err)
				}
				in.wait(t, 2)
				if got := fmt.Sprintf("%q", in.list()); got != `["kept" "\x00\xff"]` {
					t.Errorf("got %s", got)
				}
			})
		}
	}
}

func TestForeignMosquittoRefusesPassword(t *testing.T) {
	m := newMosquitto(t)
	for _, version := range []int{4, 5} {
		c := connectorFor(t, m.properties(map[string]any{"password": "wrong", "protocolVersion": version}))
		if s, err := c.Dial(t.Context()); err == nil {
			s.Close()
			t.Errorf("version %d: a wrong password is accepted", version)
		} else {
			t.Log(err)
		}
	}
}

// TestForeignKeptSession: what is published while a session with clean: false is away comes when it is back.
func TestForeignKeptSession(t *testing.T) {
	m := newMosquitto(t)
	for _, version := range []int{4, 5} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			c := connectorFor(t, m.properties(map[string]any{"clean": false, "clientId": fmt.Sprint("kept", version), "protocolVersion": version}))
			var in inbox
			listen := func() mapper.Session {
				s := dial(t, c)
				_, err := s.(mapper.PubSub).SubscribeTopic(t.Context(), "kept/#", 1, func(m mapper.Message) { in.add(m.Topic + "=" + string(m.Payload)) })
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := listen()
			s.Close()
			until(t, "the good-bye has arrived", func() bool { return s.(*session).conn.SetDeadline(time.Now()) != nil })
			for n := range 5 {
				m.publish(fmt.Sprint("kept/", n), fmt.Sprint(n))
			}
			listen()
			in.wait(t, 5)
			if got := fmt.Sprint(in.list()); got != "[kept/0=0 kept/1=1 kept/2=2 kept/3=3 kept/4=4]" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestForeignKeptSessionForgets: what nobody wants any more is ended at the broker, by this process or the next one.
func TestForeignKeptSessionForgets(t *testing.T) {
	m := newMosquitto(t)
	for _, version := range []int{4, 5} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			properties := m.properties(map[string]any{"clean": false, "clientId": fmt.Sprint("forget", version), "protocolVersion": version})
			c := connectorFor(t, properties)
			var in inbox
			// session subscribes, settles, waits for the messages that it is sent, and ends.
			run := func(c mapper.Connector, filters []string, want int) {
				s := dial(t, c).(*session)
				for _, f := range filters {
					if _, err := s.SubscribeTopic(t.Context(), f, 1, func(m mapper.Message) { in.add(m.Topic) }); err != nil {
						t.Fatal(err)
					}
				}
				in.wait(t, want) // "last" comes last
				if err := s.Resumed(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.Close()
				until(t, "the good-bye has arrived", func() bool { return s.conn.SetDeadline(time.Now()) != nil })
			}
			send := func() {
				for _, topic := range []string{"wild/x", "plain", "last"} {
					m.publish(topic, "1")
				}
			}
			run(c, []string{"wild/#", "plain", "last"}, 0)
			send()
			run(connectorFor(t, properties), []string{"wild/#", "last"}, 2) // of another process: plain is unknown to it
			send()
			run(c, []string{"last"}, 3) // knows wild/#, plain
			send()
			s := dial(t, c).(*session)
			if _, err := s.SubscribeTopic(t.Context(), "last", 1, func(m mapper.Message) { in.add(m.Topic) }); err != nil {
				t.Fatal(err)
			}
			in.wait(t, 4)
			if got := fmt.Sprint(in.list()); got != "[wild/x last last last]" {
				t.Errorf("got %s", got)
			}
			if topics, dropped := s.routes.settle(); dropped > 0 {
				t.Errorf("the broker still sends %v", topics)
			}
			s.Close()
		})
	}
}

// TestForeignSupervisedMosquitto stops and starts the broker under a running mapper: a pushed endpoint, a written one,
// and a mapping each way.
func TestForeignSupervisedMosquitto(t *testing.T) {
	m := newMosquitto(t)
	bus := &memoryBus{}
	var reports sync.Map
	mp, err := mapper.New(mapper.Options{
		Agent: "a", Dir: t.TempDir(), Key: make([]byte, 32), Drivers: []mapper.Driver{Driver()}, Bus: bus, Watch: m,
		Report: func(_ context.Context, s spec.AgentStatus) error { reports.Store("last", s); return nil },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := mp.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	works := func() bool {
		all := mp.Status()
		for _, s := range all {
			if !s.OnTarget || s.State == spec.StatePending {
				return false
			}
		}
		return len(all) == 4
	}
	flows := func(text string) {
		t.Helper()
		until(t, "everything works", works)
		m.publish("far/in", text)
		m.publish("far/map/x", text)
		until(t, "a pushed value", func() bool { return bus.last("services/press/in") == text })
		until(t, "a mapped value", func() bool { return bus.last("near/x") == text })
		bus.send("services/press/out/set", `{"id":1,"value":"`+text+`"}`) // comes back on far/in
		until(t, "a written value", func() bool { return bus.last("services/press/out/res") != "" })
		bus.send("near/up", "up"+text)
		until(t, "a value mapped out", func() bool { return bus.last("near/back") == "up"+text })
	}
	flows("one")
	m.stop()
	until(t, "the loss is told", func() bool { return bus.last("services/press/in") != "one" })
	if got := bus.last("services/press/in"); !json.Valid([]byte(got)) {
		t.Errorf("the loss is told as %s", got)
	}
	m.start()
	flows("two")
}

// Watch gives the resources of TestSupervisedMosquitto.
func (m *mosquitto) Watch(ctx context.Context, _ string, handle func(spec.Event[spec.Resource]) error) error {
	connection, err := json.Marshal(map[string]any{"protocol": "Mqtt", "connection": m.properties(map[string]any{
		"connectionStrategy": map[string]any{"initialDelay": 100, "maxDelay": 500, "incrementFactor": 2},
	})})
	if err != nil {
		return err
	}
	events := []spec.Event[spec.Resource]{{Type: spec.EventSnapshot}}
	for _, r := range []spec.Resource{
		{ID: "far", Type: "Connection", Properties: connection},
		{ID: "in", Type: "Endpoint", Properties: []byte(`{"protocol":"Mqtt","connection":"far","subscribe":{"topic":"far/in","qos":1},"topic":"services/press/in"}`)},
		{ID: "out", Type: "Endpoint", Properties: []byte(`{"protocol":"Mqtt","connection":"far","write":{"topic":"far/out","qos":1},"topic":"services/press/out"}`)},
		{ID: "m", Type: "Mapping", Properties: []byte(`{"mappings":[
			{"subscribe":[{"topic":"far/map/+what","connection":"far","qos":1}],"publish":{"topic":"near/{what}"}},
			{"subscribe":[{"topic":"near/up"}],"publish":{"topic":"far/back","connection":"far","qos":1}},
			{"subscribe":[{"topic":"far/back","connection":"far"}],"publish":{"topic":"near/back"}}]}`)},
	} {
		r.Service = "press"
		events = append(events, spec.Event[spec.Resource]{Type: spec.EventPut, Key: r.Key(), Value: r})
	}
	for _, e := range append(events, spec.Event[spec.Resource]{Type: spec.EventSynced, Cursor: "s-1", Revision: 1}) {
		if err := handle(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// memoryBus is the instance's broker, as far as the test needs one.
type memoryBus struct {
	mu   sync.Mutex
	seen map[string]string
	subs map[string]func(mapper.Message)
}

func (b *memoryBus) Publish(_ context.Context, _ string, m mapper.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]string{}
	}
	b.seen[m.Topic] = string(m.Payload)
	return nil
}

func (b *memoryBus) Subscribe(_ context.Context, _, filter string, _ byte, deliver func(mapper.Message)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[string]func(mapper.Message){}
	}
	b.subs[filter] = deliver
	return func() {}, nil
}

func (b *memoryBus) send(topic, payload string) {
	b.mu.Lock()
	deliver := b.subs[topic]
	b.mu.Unlock()
	deliver(mapper.Message{Topic: topic, Payload: []byte(payload)})
}

func (b *memoryBus) last(topic string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[topic]
}
