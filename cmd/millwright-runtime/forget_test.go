package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// retained lists what a client that comes new finds below services/.
func (p *plant) retained(client string) []string {
	p.Helper()
	var mu sync.Mutex
	var topics []string
	over := make(chan struct{})
	m := p.login(client, func(c *paho.ClientConfig) {
		c.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case r.Packet.Topic == "marker/"+client:
				close(over)
			case r.Packet.Retain:
				topics = append(topics, r.Packet.Topic)
			}
			return true, nil
		}}
	})
	_, err := m.Subscribe(p.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "services/#", QoS: 1}, {Topic: "marker/#", QoS: 1}}})
	if err == nil {
		_, err = m.Publish(p.Context(), &paho.Publish{Topic: "marker/" + client, QoS: 1, Payload: []byte("over")})
	}
	if err != nil {
		p.Fatal(err)
	}
	<-over
	if err := m.Disconnect(p.Context()); err != nil {
		p.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(topics)
	return topics
}

// TestEndToEndForgets: what a deleted service has retained goes, also where the broker was away
// when it was deleted; that of a service which is switched off stays.
func TestEndToEndForgets(t *testing.T) {
	p := newPlant(t)
	p.install()
	state := func(id string, s spec.State) {
		t.Helper()
		if _, err := p.client.Apply(t.Context(), plan.Request{Services: []spec.Service{{ID: id, State: s}}, Confirm: "any"}); err != nil {
			t.Fatal(err)
		}
	}
	writer := p.login("writer", nil)
	keep := func(topics ...string) {
		t.Helper()
		for _, topic := range topics {
			if _, err := writer.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Retain: true, Payload: []byte(`{"timestamp":1,"value":1}`)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(client string, want ...string) {
		t.Helper()
		if got := p.retained(client); !slices.Equal(got, want) {
			t.Errorf("%s finds %v, want %v", client, got, want)
		}
	}
	keep("services/press/a", "services/press/b/c", "services/other")
	state("press", spec.Disabled)
	expect("disabled", "services/other", "services/press/a", "services/press/b/c")
	state("press", spec.Absent)
	expect("deleted", "services/other") // at once: the answer says that the broker has done so

	p.install()
	keep("services/press/a")
	p.broker.kill()
	if err := p.client.Services().Delete(t.Context(), "press"); err != nil {
		t.Fatal(err)
	}
	p.broker.start()
	p.broker.ready()
	n := 0
	until(t, "the broker has heard of it", func() error {
		n++
		if got := p.retained(fmt.Sprintf("away-%d", n)); !slices.Equal(got, []string{"services/other"}) {
			return fmt.Errorf("there are %s", strings.Join(got, ", "))
		}
		return nil
	})
}
