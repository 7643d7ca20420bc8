package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/millwright/millwright/internal/testneed"
)

// webSocket connects to /mqtt at control without saying anything yet.
func (p *plant) webSocket() (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}, TLSClientConfig: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}}
	return dialer.DialContext(p.Context(), "wss://"+p.https+"/mqtt", nil)
}

// connect is a CONNECT of MQTT 5 with a user and a password.
func connect(user, password string) []byte {
	text := func(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }
	body := text("MQTT") + "\x05\xc2\x00\x3c\x00" + text("web") + text(user) + text(password)
	return append([]byte{0x10, byte(len(body))}, body...)
}

// TestEndToEndRelay: clients reach the broker through control, which tells it where they come from. A
// broker that goes takes its clients' connections with it, and keeps new ones out; when it is back
// they come in.
func TestEndToEndRelay(t *testing.T) {
	p := newPlant(t)
	client, _, err := p.webSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.WriteMessage(websocket.BinaryMessage, connect("admin", "wrong-password")); err != nil {
		t.Fatal(err)
	}
	if kind, ack, err := client.ReadMessage(); err != nil || kind != websocket.BinaryMessage || len(ack) < 4 || ack[0] != 0x20 || ack[3] == 0 {
		t.Fatalf("a wrong password is answered with %x, %v", ack, err)
	}
	if _, _, err := client.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the connection ends with %v", err)
	}
	if from := fmt.Sprintf("%q:%q", "remote", client.LocalAddr()); !strings.Contains(p.broker.log.String(), from) {
		t.Errorf("the broker does not say %s", from)
	}

	client, _, err = p.webSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.WriteMessage(websocket.BinaryMessage, connect("admin", strings.TrimSpace(p.read("admin-password")))); err != nil {
		t.Fatal(err)
	}
	if _, ack, err := client.ReadMessage(); err != nil || len(ack) < 4 || ack[3] != 0 {
		t.Fatalf("the right password is answered with %x, %v", ack, err)
	}
	p.broker.kill()
	for err == nil {
		_, _, err = client.ReadMessage()
	}
	if !websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseInternalServerErr) {
		t.Errorf("the connection ends with %v", err)
	}
	_, answer, err := p.webSocket()
	if err == nil || answer == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("without a broker: %v, %v", answer, err)
	}
	answer.Body.Close()
	p.broker.start()
	until(t, "the relay works again", func() error {
		client, answer, err := p.webSocket()
		if err != nil {
			return err
		}
		answer.Body.Close()
		return client.Close()
	})
	client, _, err = p.webSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	p.control.stop() // with a client connected
	if _, _, err := client.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("control's end is told as %v", err)
	}
}

// TestForeignRelay talks to control with mqtt.js: messages of a megabyte there and back, and
// messages between clients of control and of the broker itself.
func TestForeignRelay(t *testing.T) {
	node, dir := testneed.Node(t, "mqtt")
	p := newPlant(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(p.read("pki/ca.crt")), 0o600); err != nil {
		t.Fatal(err)
	}
	const count = 20
	direct := make(chan int, count)
	m := p.login("direct", func(c *paho.ClientConfig) {
		c.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			direct <- len(r.Packet.Payload)
			return true, nil
		}}
	})
	if _, err := m.Subscribe(p.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hall/+", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ version, qos, bytes string }{{"5", "2", "1000000"}, {"4", "1", "10"}} {
		js := exec.CommandContext(t.Context(), node, filepath.Join(dir, "mqtt-client.js"), "--url", "wss://"+p.https+"/mqtt", "--ca", ca,
			"--user", "admin", "--password", strings.TrimSpace(p.read("admin-password")), "--version", c.version, "--qos", c.qos,
			"--topic", "hall/js"+c.version, "--count", fmt.Sprint(count), "--bytes", c.bytes)
		if out, err := js.CombinedOutput(); err != nil || bytes.Count(out, []byte("\n")) != count {
			t.Errorf("%v, %d lines: %.300s", err, bytes.Count(out, []byte("\n")), out)
		}
		for range count {
			if n := fmt.Sprint(<-direct); n != c.bytes {
				t.Errorf("a client of the broker gets %s bytes, want %s", n, c.bytes)
			}
		}
	}
}
