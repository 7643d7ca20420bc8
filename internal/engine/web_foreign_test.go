package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	neturl "net/url"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// TestForeignWeb has real containers serve what comes in by 80 and 443: the redirect, the API, and
// MQTT over WebSocket, which control relays to the broker's container.
func TestForeignWeb(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, runtimeArchive(t, t.TempDir(), "1.0.0"))
	p.given.Image, p.given.WaitTimeout = realImage, 120
	p.given.Ports[spec.PortHTTP] = freePort(t)
	p.apply()
	access, err := e.Access(t.Context(), p.plan().Instance)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(access.CA))
	secure := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}

	api := &http.Client{Transport: &http.Transport{TLSClientConfig: secure}}
	defer api.CloseIdleConnections()
	_, port, _ := strings.Cut(string(p.given.Ports[spec.PortHTTP]), ":")
	answer, err := api.Get("http://localhost:" + port + "/healthz?a=b")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if at := answer.Request.URL.String(); answer.StatusCode != http.StatusOK || at != access.URL+"/healthz?a=b" {
		t.Errorf("the redirect leads to %s: %s", at, answer.Status)
	}

	got := make(chan []byte, 16)
	m := p.webSocket(access.URL, secure, func(message *paho.Publish) { got <- message.Payload })
	subscribe(t, m, "hall/#")
	large := strings.Repeat("0123456789abcdef", 1<<16) // a MiB
	for _, payload := range []string{"small", large} {
		publish(t, m, "hall/x", payload, false)
		if back := <-got; !bytes.Equal(back, []byte(payload)) {
			t.Errorf("%d bytes come back as %d", len(payload), len(back))
		}
	}
	if err := e.api.ContainerRestart(t.Context(), p.container(spec.PartBroker), container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the client is back after the broker was restarted", func() error {
		_, err := m.Publish(t.Context(), &paho.Publish{Topic: "hall/x", QoS: 1, Payload: []byte("again")})
		return err
	})
	if back := <-got; string(back) != "again" {
		t.Errorf("got %q", back)
	}
}

// webSocket connects as the admin, by 443 alone.
func (p *plant) webSocket(url string, secure *tls.Config, receive func(*paho.Publish)) *autopaho.ConnectionManager {
	p.t.Helper()
	password, err := p.engine.AdminPassword(p.t.Context(), p.given.Name)
	if err != nil {
		p.t.Fatal(err)
	}
	server, err := neturl.Parse(strings.Replace(url, "https:", "wss:", 1) + "/mqtt")
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := autopaho.NewConnection(p.t.Context(), autopaho.ClientConfig{
		ServerUrls: []*neturl.URL{server}, TlsCfg: secure, KeepAlive: 10, SessionExpiryInterval: 3600,
		ConnectUsername: "admin", ConnectPassword: []byte(password),
		ReconnectBackoff: func(int) time.Duration { return 100 * time.Millisecond },
		ClientConfig: paho.ClientConfig{
			ClientID: "web",
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				receive(r.Packet)
				return true, nil
			}},
		},
	})
	if err == nil {
		wait, cancel := context.WithTimeout(p.t.Context(), patience)
		defer cancel()
		err = m.AwaitConnection(wait)
	}
	if err != nil {
		p.t.Fatal(fmt.Errorf("the admin cannot log in by %s: %w", server, err))
	}
	return m
}
