package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/gateway"
	"github.com/millwright/millwright/runtime/simulator"
)

const (
	adminPassword = "correct horse battery"
	// patience bounds waits for what a healthy system does at once.
	patience = 60 * time.Second
)

// plant is a running instance with a simulated pump.
type plant struct {
	*testing.T
	gateway *gateway.Gateway
	url     string
	token   string // of admin
	pump    string // host:port of the Modbus device
	log     *logged
}

// logged is what the instance has logged so far.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func startPlant(t *testing.T, change ...func(*gateway.Options)) *plant {
	t.Helper()
	machines, err := simulator.Start(t.Context(), simulator.Options{Modbus: "127.0.0.1:0", Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{T: t, pump: machines.Modbus(), log: &logged{}}
	opts := gateway.Options{
		DataDir: t.TempDir(), ListenHTTP: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", Version: "1.2.3",
		Log: slog.New(slog.NewTextHandler(p.log, nil)),
	}
	for _, f := range change {
		f(&opts)
	}
	if p.gateway, err = gateway.New(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	p.url = p.gateway.URL()
	if _, err := p.gateway.Control().Bootstrap(t.Context(), adminPassword); err != nil {
		t.Fatal(err)
	}
	token, err := p.gateway.Control().IssueToken(t.Context(), "admin", "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p.token = token.Token
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.gateway.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := machines.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// apply applies the request.
func (p *plant) apply(req plan.Request) {
	p.Helper()
	req.Confirm = "any"
	body, err := json.Marshal(req)
	if err != nil {
		p.Fatal(err)
	}
	request, err := http.NewRequestWithContext(p.Context(), http.MethodPost, p.url+"/api/v1/apply", bytes.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var text bytes.Buffer
		_, _ = text.ReadFrom(answer.Body)
		p.Fatalf("apply: %s %s", answer.Status, text.String())
	}
}

const brokenSecret = "never-to-be-shown"

// installPump installs a service whose values change, and installBroken one whose machine
// does not answer and whose password is a secret.
func (p *plant) installPump() {
	p.Helper()
	host, port, err := net.SplitHostPort(p.pump)
	if err != nil {
		p.Fatal(err)
	}
	p.apply(plan.Request{Services: []spec.Service{{ID: "pump", Commissioning: fmt.Sprintf(`
description: The pump of hall 3
metadata: {name: pump, version: 1.0.0}
resources:
  device:
    type: Cybus::Connection
    properties: {protocol: Modbus, connection: {host: %q, port: %s}}
  ticks:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref device
      subscribe: {fc: 4, address: 0, length: 1, dataType: uint16BE, interval: 200}
  unit:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref device
      topic: plate/unit
      retain: true
      subscribe: {fc: 3, address: 7, length: 1, dataType: uint16BE, interval: 60000}
  valve:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref device
      write: {fc: 6, address: 10, length: 1, dataType: uint16BE}
  total:
    type: Cybus::Mapping
    properties:
      mappings:
        - {subscribe: {endpoint: !ref ticks}, publish: {topic: hall3/ticks}}
`, host, port)}}})
}

func (p *plant) installBroken() {
	p.Helper()
	p.apply(plan.Request{Services: []spec.Service{{ID: "zebra", Commissioning: fmt.Sprintf(`
description: A line that is switched off
metadata: {name: zebra}
resources:
  line:
    type: Cybus::Connection
    properties:
      protocol: Mqtt
      connection: {host: 127.0.0.1, port: 1, username: line, password: %s}
  speed:
    type: Cybus::Endpoint
    properties:
      protocol: Mqtt
      connection: !ref line
      subscribe: {topic: speed}
`, brokenSecret)}}})
}
