package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/millwright/millwright/internal/testcert"
	"github.com/millwright/millwright/internal/testneed"
)

// transports is an instance that listens in every way that there is.
type transports struct {
	*instance
	pair                  testcert.Pair
	certificate, key      string // files
	https, mqtts, ws, wss string // addresses
}

func upTransports(t *testing.T) *transports {
	t.Helper()
	x := &transports{
		instance: newInstance(t), pair: testcert.New(t, time.Now().Add(24*time.Hour*365)),
		https: freePort(t), mqtts: freePort(t), ws: freePort(t), wss: freePort(t),
	}
	x.certificate, x.key = x.pair.Write(t, x.dir)
	x.up("--listen-https", x.https, "--listen-mqtts", x.mqtts, "--listen-ws", x.ws, "--listen-wss", x.wss,
		"--tls-certificate", x.certificate, "--tls-key", x.key)
	return x
}

// urls are where MQTT clients go.
func (x *transports) urls() []string {
	return []string{
		"mqtt://" + x.mqtt, "mqtts://" + x.mqtts, "ws://" + x.ws + "/mqtt", "wss://" + x.wss + "/mqtt", "wss://" + x.https + "/mqtt",
	}
}

func (x *transports) password() string {
	x.t.Helper()
	return strings.TrimSpace(x.read(adminPasswordFile(filepath.Join(x.dir, "data"))))
}

// connect opens an MQTT 5 connection as the admin; the channel gets what it has subscribed to.
func (x *transports) connect(address string) (*autopaho.ConnectionManager, <-chan string) {
	x.t.Helper()
	server, err := url.Parse(address)
	if err != nil {
		x.t.Fatal(err)
	}
	got := make(chan string, 16)
	manager, err := autopaho.NewConnection(x.t.Context(), autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, TlsCfg: x.pair.Client(), KeepAlive: 30,
		ConnectUsername: adminUser, ConnectPassword: []byte(x.password()),
		ClientConfig: paho.ClientConfig{
			ClientID: server.Scheme + server.Port(),
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				got <- string(r.Packet.Payload)
				return true, nil
			}},
		},
	})
	if err == nil {
		err = manager.AwaitConnection(x.t.Context())
	}
	if err != nil {
		x.t.Fatalf("%s: %v\n%s", address, err, x.log)
	}
	return manager, got
}

// TestEndToEndAllListeners has a client on each listener; each hears what every one of them says.
func TestEndToEndAllListeners(t *testing.T) {
	t.Parallel()
	x := upTransports(t)
	for _, line := range []string{
		"HTTPS    https://" + x.https, "MQTTS    mqtts://" + x.mqtts, "WS       ws://" + x.ws + "/mqtt", "WSS      wss://" + x.wss + "/mqtt",
	} {
		if !strings.Contains(x.log.String(), line+"\n") {
			t.Errorf("it does not say %q:\n%s", line, x.log)
		}
	}
	api := &http.Client{Transport: &http.Transport{TLSClientConfig: x.pair.Client(), ForceAttemptHTTP2: true}}
	defer api.CloseIdleConnections()
	answer, err := api.Get("https://" + x.https + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 {
		t.Errorf("the API over TLS: status %d, HTTP/%d", answer.StatusCode, answer.ProtoMajor)
	}
	x.must("login", "--url", "https://"+x.https, "--ca-path", x.certificate, "--username", adminUser,
		"--password-file", adminPasswordFile(filepath.Join(x.dir, "data")), "--context", "secure")
	x.must("get", "services", "--context", "secure")

	var managers []*autopaho.ConnectionManager
	var inboxes []<-chan string
	for _, address := range x.urls() {
		manager, got := x.connect(address)
		if _, err := manager.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hall/#", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		managers, inboxes = append(managers, manager), append(inboxes, got)
	}
	for n, manager := range managers {
		if _, err := manager.Publish(t.Context(), &paho.Publish{Topic: "hall/x", QoS: 1, Payload: fmt.Append(nil, n)}); err != nil {
			t.Fatal(err)
		}
		for i, got := range inboxes {
			if payload := <-got; payload != fmt.Sprint(n) {
				t.Errorf("%s hears %q from %s", x.urls()[i], payload, x.urls()[n])
			}
		}
	}
	x.stop() // with clients connected
}

// TestEndToEndCertificateIsRenewed: new connections get the new certificate, old ones stay.
func TestEndToEndCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	x := upTransports(t)
	manager, _ := x.connect("mqtts://" + x.mqtts)
	x.pair = testcert.New(t, time.Now().Add(24*time.Hour*300))
	x.pair.Write(t, x.dir)
	for _, address := range []string{x.mqtts, x.wss, x.https} {
		x.eventually("the new certificate on "+address, func() error {
			nc, err := tls.Dial("tcp", address, x.pair.Client())
			if err != nil {
				return err
			}
			return nc.Close()
		})
	}
	x.connect("wss://" + x.wss + "/mqtt")
	if _, err := manager.Publish(t.Context(), &paho.Publish{Topic: "hall/x", QoS: 1, Payload: []byte("still here")}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(x.log.String(), "TLS certificate read again") {
		t.Errorf("the renewal is not logged:\n%s", x.log)
	}
	x.stop()
}

// TestEndToEndTransportRefusals: each ends with one clear line.
func TestEndToEndTransportRefusals(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	cert, key := testcert.New(t, time.Now().Add(24*time.Hour*365)).Write(t, i.dir)
	_, otherKey := testcert.New(t, time.Now().Add(24*time.Hour*365)).Write(t, t.TempDir())
	missing := filepath.Join(i.dir, "missing.pem")
	const free = "127.0.0.1:0"
	taken, err := net.Listen("tcp", free)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	for _, flag := range []string{"--listen-https", "--listen-mqtts", "--listen-wss"} {
		refused(t, i, 3, missing, flag, free, "--tls-certificate", missing, "--tls-key", key)
		refused(t, i, 3, "private key does not match", flag, free, "--tls-certificate", cert, "--tls-key", otherKey)
		refused(t, i, 1, "another program has that port", flag, busy, "--tls-certificate", cert, "--tls-key", key)
	}
	refused(t, i, 3, "no listener speaks TLS", "--tls-certificate", cert, "--tls-key", key)
	refused(t, i, 3, "--insecure-listen", "--listen-ws", "0.0.0.0:0")
	refused(t, i, 1, "another program has that port", "--listen-ws", busy)
}

// TestEndToEndOwnAuthority: TLS from the first start, without a certificate; the context carries
// the authority that the clients trust, and a restart keeps it.
func TestEndToEndOwnAuthority(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	https := freePort(t)
	flags := []string{"--listen-https", https, "--listen-mqtts", freePort(t), "--hostname", "plant.example"}
	i.up(flags...)
	authority := i.must("get", "authority")
	if got := i.must("get", "authority", "--url", "https://"+https, "--ca-path", i.write("ca.pem", authority)); got != authority {
		t.Errorf("over TLS it is another one:\n%s", got)
	}
	if context := i.read(filepath.Join(i.dir, "config.yaml")); !strings.Contains(context, "BEGIN CERTIFICATE") || strings.Contains(context, "PRIVATE") {
		t.Error("the context does not carry the authority, or carries too much")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority))
	for _, name := range []string{"localhost", "127.0.0.1", "plant.example"} {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}}).DialContext(t.Context(), "tcp", https)
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		conn.Close()
	}
	i.stop()
	i.up(flags...)
	if again := i.must("get", "authority"); again != authority {
		t.Error("a restart has another authority")
	}
	i.stop()
}

// TestEndToEndExpiredCertificate is served, and warned of.
func TestEndToEndExpiredCertificate(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	cert, key := testcert.New(t, time.Now().Add(-time.Hour)).Write(t, i.dir)
	i.up("--listen-mqtts", freePort(t), "--tls-certificate", cert, "--tls-key", key)
	if !strings.Contains(i.log.String(), "the TLS certificate has expired") {
		t.Errorf("nothing is said of it:\n%s", i.log)
	}
	i.stop()
}

// TestForeignTransports talks to `millwright up` with mosquitto's clients and with mqtt.js.
func TestForeignTransports(t *testing.T) {
	t.Parallel()
	x := upTransports(t)
	host, port := splitAddress(t, x.mqtts)
	args := append([]string{"-h", host, "-p", port, "--cafile", x.certificate, "-q", "1", "-t", "hall/x", "-r", "-m", "over TLS"}, adminLogin(x.instance)...)
	if out, err := exec.CommandContext(t.Context(), testneed.Program(t, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	args = append([]string{"-h", host, "-p", port, "--cafile", x.certificate, "-t", "hall/#", "-C", "1"}, adminLogin(x.instance)...)
	if out, err := exec.CommandContext(t.Context(), testneed.Program(t, "mosquitto_sub"), args...).CombinedOutput(); err != nil || string(out) != "over TLS\n" {
		t.Fatalf("mosquitto_sub: %v\n%s", err, out)
	}
	node, dir := testneed.Node(t, "mqtt")
	for _, address := range x.urls() {
		cmd := exec.CommandContext(t.Context(), node, filepath.Join(dir, "mqtt-client.js"), "--url", address, "--ca", x.certificate,
			"--user", adminUser, "--password", x.password(), "--version", "5", "--qos", "2", "--topic", "hall/js", "--count", "100")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 100 {
			t.Errorf("%s: %v\n%s", address, err, out)
		}
	}
	x.stop()
}
