package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

// get reads a route of control as whoever deploys.
func (b *browser) get(token, path string) (string, error) {
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.url+path, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := b.http.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return string(text), err
}

// TestEndToEndFigures: control's address answers for all parts.
func TestEndToEndFigures(t *testing.T) {
	p := newPlant(t)
	p.install()
	b, token := p.browse(), string(regexp.MustCompile(`\S+`).Find([]byte(p.read("admin-token"))))
	// metric waits until a sample has at least the value.
	metric := func(name string, least float64) {
		t.Helper()
		sample := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`)
		until(t, name, func() error {
			text, err := b.get(token, "/metrics")
			if err != nil {
				return err
			}
			found := sample.FindStringSubmatch(text)
			if found == nil {
				return fmt.Errorf("there is no such sample")
			}
			value, err := strconv.ParseFloat(found[1], 64)
			if err == nil && value < least {
				err = fmt.Errorf("it is %v", value)
			}
			return err
		})
	}
	metric(`millwright_part_online{part="broker"}`, 1)
	metric(`millwright_broker_clients`, 1)
	metric(`millwright_resource_messages_total{resource="reads",service="press",type="Endpoint"}`, 5)
	metric(`millwright_bus_sent_total{agent="protocol-mapper"}`, 5)
	until(t, "the mapper's sessions are listed", func() error {
		text, err := b.get(token, "/api/v1/clients?filter=service:press/")
		if err != nil {
			return err
		}
		var page spec.Page[spec.ClientView]
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			return err
		}
		for _, c := range page.Items {
			if c.Connected && c.Subscriptions > 0 {
				return nil
			}
		}
		return fmt.Errorf("there are %s", text)
	})
	p.broker.kill()
	metric(`millwright_bus_queued_messages{agent="protocol-mapper"}`, 5)
	metric(`millwright_bus_queued_bytes{agent="protocol-mapper"}`, 100)
}
