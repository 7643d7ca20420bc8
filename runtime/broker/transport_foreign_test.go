package broker

import (
	"crypto/tls"
	"fmt"
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

// transports is a plant that serves MQTT in the four ways that there are.
type transports struct {
	*plant
	pair                 testcert.Pair
	ca                   string // file
	mqtt, mqtts, ws, wss string // URLs
	stopListeners        func() // of the three that start has not made
}

func startTransports(t testing.TB) *transports {
	t.Helper()
	x := &transports{plant: start(t, Limits{}, identityOf("line1", "rw plant/#")), pair: testcert.New(t, time.Now().Add(24*time.Hour))}
	x.ca, _ = x.pair.Write(t, t.TempDir())
	secure := tls.NewListener(listenTCP(t), x.pair.Server(t))
	web := ListenWebSocket(listenTCP(t), x.limits, quietLog())
	secureWeb := ListenWebSocket(tls.NewListener(listenTCP(t), x.pair.Server(t)), x.limits, quietLog())
	stops := []func(){x.listenOn(t, secure), x.listenOn(t, web), x.listenOn(t, secureWeb)}
	x.stopListeners = func() {
		for _, stop := range stops {
			stop()
		}
	}
	x.mqtt, x.mqtts = "mqtt://"+x.addr, "mqtts://"+secure.Addr().String()
	x.ws, x.wss = "ws://"+web.Addr().String()+"/mqtt", "wss://"+secureWeb.Addr().String()+"/mqtt"
	return x
}

func TestForeignMosquittoTLS(t *testing.T) {
	x := startTransports(t)
	x.addr = strings.TrimPrefix(x.mqtts, "mqtts://")
	sub := background(t, x.mosquitto(t, "mosquitto_sub", "--cafile", x.ca, "-q", "2", "-t", "plant/a", "-C", "1000"))
	eventually(t, "the subscription", func() bool { return x.Stats().Subscriptions == 1 })
	pub := x.mosquitto(t, "mosquitto_pub", "--cafile", x.ca, "-V", "mqttv5", "-q", "2", "-t", "plant/a", "-l")
	pub.Stdin = strings.NewReader(lines(1000))
	background(t, pub)()
	if got := sub(); got != lines(1000) {
		t.Errorf("got %d bytes:\n%.300s", len(got), got)
	}
	other, _ := testcert.New(t, time.Now().Add(time.Hour)).Write(t, t.TempDir())
	for name, wrong := range map[string]*exec.Cmd{
		"another CA": x.mosquitto(t, "mosquitto_pub", "--cafile", other, "-t", "plant/a", "-m", "x"),
		"no TLS":     x.mosquitto(t, "mosquitto_pub", "-t", "plant/a", "-m", "x"),
	} {
		if out, err := wrong.CombinedOutput(); err == nil {
			t.Errorf("%s: it went well: %s", name, out)
		}
	}
}

// mqtt.js, each version, QoS and transport: all messages, in order.
func TestForeignMQTTjs(t *testing.T) {
	node, dir := testneed.Node(t, "mqtt")
	x := startTransports(t)
	for _, address := range []string{x.ws, x.wss, x.mqtts} {
		for version, qos := range map[string]string{"3": "0", "4": "1", "5": "2"} {
			scheme, _, _ := strings.Cut(address, ":")
			t.Run(scheme+"/"+version, func(t *testing.T) {
				out, err := exec.CommandContext(t.Context(), node, filepath.Join(dir, "mqtt-client.js"),
					"--url", address, "--ca", x.ca, "--user", "line1", "--password", "pw-line1", "--version", version,
					"--qos", qos, "--topic", "plant/"+scheme+version, "--count", "500", "--bytes", "2000").CombinedOutput()
				if err != nil || string(out) != lines(500) {
					t.Errorf("%v, %d bytes of %d:\n%.300s", err, len(out), len(lines(500)), out)
				}
			})
		}
	}
}

func TestForeignPahoTransports(t *testing.T) {
	x := startTransports(t)
	for _, address := range []string{x.mqtt, x.mqtts, x.ws, x.wss} {
		server, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(server.Scheme, func(t *testing.T) {
			const n = 200
			got := make(chan string, n)
			manager, err := autopaho.NewConnection(t.Context(), autopaho.ClientConfig{
				ServerUrls: []*url.URL{server}, TlsCfg: x.pair.Client(), KeepAlive: 30,
				ConnectUsername: "line1", ConnectPassword: []byte("pw-line1"),
				ClientConfig: paho.ClientConfig{
					ClientID: server.Scheme,
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
				if err := manager.Disconnect(t.Context()); err != nil {
					t.Error(err)
				}
				<-manager.Done()
			}()
			if err := manager.AwaitConnection(t.Context()); err != nil {
				t.Fatal(err)
			}
			topic := "plant/" + server.Scheme
			if _, err := manager.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 2}}}); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if _, err := manager.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 2, Payload: fmt.Append(nil, i)}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range n {
				if payload := <-got; payload != fmt.Sprint(i) {
					t.Fatalf("got %s, want %d", payload, i)
				}
			}
		})
	}
}
