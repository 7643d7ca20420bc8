package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/millwright/millwright/internal/testneed"
)

// mosquitto prepares a mosquitto_sub or mosquitto_pub that logs in as line1.
func (p *plant) mosquitto(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"-h", host, "-p", port, "-u", "line1", "-P", "pw-line1"}, args...)
	return exec.CommandContext(t.Context(), testneed.Program(t, program), args...)
}

// background starts a command; the result is its output after it has ended by itself.
func background(t testing.TB, cmd *exec.Cmd) func() string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args[0], err, out.String())
		}
		return out.String()
	}
}

func lines(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintln(&s, "message", i)
	}
	return s.String()
}

// Debian's clients, each version of MQTT and each QoS: all messages, in order.
func TestForeignMosquitto(t *testing.T) {
	const n = 1000
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for _, qos := range []string{"0", "1", "2"} {
			t.Run(version+"/"+qos, func(t *testing.T) {
				t.Parallel()
				p := start(t, Limits{}, identityOf("line1", "rw plant/#"))
				sub := background(t, p.mosquitto(t, "mosquitto_sub", "-V", version, "-q", qos, "-t", "plant/+/temp", "-C", fmt.Sprint(n)))
				eventually(t, "the subscription", func() bool { return p.Stats().Subscriptions == 1 })
				pub := p.mosquitto(t, "mosquitto_pub", "-V", version, "-q", qos, "-t", "plant/a/temp", "-l")
				pub.Stdin = strings.NewReader(lines(n))
				background(t, pub)()
				if got := sub(); got != lines(n) {
					t.Errorf("got %d bytes of %d:\n%.300s", len(got), len(lines(n)), got)
				}
			})
		}
	}
}

// A persistent session of a client that was away gets what it missed, in order.
func TestForeignMosquittoPersistentSession(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw plant/#"))
	session := []string{"-V", "mqttv5", "-q", "2", "-t", "plant/#", "-i", "away", "-c", "-x", "600"}
	background(t, p.mosquitto(t, "mosquitto_sub", append(session, "-E")...))()
	pub := p.mosquitto(t, "mosquitto_pub", "-q", "2", "-t", "plant/a", "-l")
	pub.Stdin = strings.NewReader(lines(500))
	background(t, pub)()
	if got := background(t, p.mosquitto(t, "mosquitto_sub", append(session, "-C", "500")...))(); got != lines(500) {
		t.Errorf("got %d bytes:\n%.300s", len(got), got)
	}
}

func TestForeignMosquittoInProcess(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw plant/#"), identityOf("service:press", "rw plant/#"))
	got := p.collect(t, "service:press", "plant/in")
	background(t, p.mosquitto(t, "mosquitto_pub", "-q", "1", "-t", "plant/in", "-m", "hello"))()
	if m := next(t, got); string(m.Payload) != "hello" || m.QoS != 1 {
		t.Errorf("got %+v", m)
	}
	p.publish(t, "service:press", Message{Topic: "plant/out", Payload: []byte("kept"), Retain: true})
	if out := background(t, p.mosquitto(t, "mosquitto_sub", "-t", "plant/+", "-C", "1", "-F", "%t %r %p"))(); out != "plant/out 1 kept\n" {
		t.Errorf("got %q", out)
	}
}

func TestForeignMosquittoRefused(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "r plant/#"))
	wrong := p.mosquitto(t, "mosquitto_sub", "-t", "plant/#", "-P", "wrong")
	if out, err := wrong.CombinedOutput(); err == nil || !strings.Contains(string(out), "not authorised") {
		t.Errorf("wrong password: %v, %s", err, out)
	}
	out, err := p.mosquitto(t, "mosquitto_sub", "-V", "mqttv5", "-t", "#").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "subscription requests were denied") {
		t.Errorf("subscription: %v, %s", err, out)
	}
}

// paho.golang reconnects by itself, as the mapper of another container does: what is
// published with QoS 2 while its connection is cut again and again arrives once, in order.
func TestForeignPahoReconnects(t *testing.T) {
	const n = 3000
	p := start(t, Limits{BufferMessages: n}, identityOf("line1", "rw #"))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, n+1)
	manager, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: "mqtt", Host: p.addr}},
		KeepAlive:  30, SessionExpiryInterval: 600,
		ConnectUsername: "line1", ConnectPassword: []byte("pw-line1"),
		ReconnectBackoff: func(int) time.Duration { return time.Millisecond },
		ClientConfig: paho.ClientConfig{
			ClientID: "paho",
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				got <- string(r.Packet.Payload)
				return true, nil
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		<-manager.Done()
	}()
	if err := manager.AwaitConnection(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := manager.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		p.publish(t, "line1", Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 2})
		if i%500 == 250 {
			p.cut("line1", "paho")
		}
	}
	for i := range n {
		select {
		case payload := <-got:
			if payload != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", payload, i)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("message %d does not come", i)
		}
	}
}

// cut ends a client's connection as a broken cable does.
func (p *plant) cut(user, client string) {
	p.Broker.mu.Lock()
	c := p.sessions[sessionKey{user, client}].conn
	p.Broker.mu.Unlock()
	if c != nil {
		c.stop(io.ErrUnexpectedEOF)
	}
}
