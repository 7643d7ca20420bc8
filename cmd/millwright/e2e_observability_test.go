package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/client"
)

// get asks a route with the token of the context file.
func (i *instance) get(path string) (status int, body string) {
	i.t.Helper()
	contexts, _, err := client.LoadContexts(i.dir + "/config.yaml")
	if err != nil {
		i.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(i.t.Context(), http.MethodGet, "http://"+i.http+path, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+contexts.Contexts[contextUp].Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		i.t.Fatal(err)
	}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode, string(content)
}

func TestEndToEndMetricsAndStates(t *testing.T) {
	t.Parallel()
	i, _, misbehave := quickstart(t)
	i.eventually("the metrics to show values", func() error {
		status, text := i.get("/metrics")
		for _, want := range []string{
			`millwright_resource_on_target{resource="press",service="quickstart",type="Connection"} 1`,
			`millwright_resource_connects_total{resource="pump",service="quickstart",type="Connection"} 1`,
			`millwright_resource_last_value_timestamp_seconds{resource="pumpPressure",service="quickstart",type="Endpoint"} 1`,
			`millwright_broker_panics_total 0`,
			"go_goroutines",
		} {
			if status != http.StatusOK || !strings.Contains(text, want) {
				return fmt.Errorf("status %d, no %s", status, want)
			}
		}
		return nil
	})
	if status, body := i.get("/readyz"); status != http.StatusOK || !strings.Contains(body, `"mapper":"ready"`) {
		t.Errorf("readyz: %d %s", status, body)
	}

	s := i.resources("endpoints")["pumpPressure"]
	if s.State != "enabled" || s.Messages == 0 || s.LastValueAt.IsZero() || s.Topic != "services/quickstart/pump/pressure" {
		t.Errorf("the endpoint shows %+v", s)
	}
	misbehave("modbus", "cut")
	i.eventually("the endpoint to name its connection", func() error {
		if s := i.resources("endpoints")["pumpPressure"]; !strings.Contains(s.Error, `"pump"`) {
			return fmt.Errorf("it shows %+v", s)
		}
		return nil
	})
	if !strings.Contains(i.log.String(), "service=quickstart") || !strings.Contains(i.log.String(), "resource=") {
		t.Errorf("the log does not name service and resource:\n%s", i.log)
	}
}

// TestEndToEndErrorIsPublishedOnce cuts a machine and reads what its subscribers see: values,
// one error, values again.
func TestEndToEndErrorIsPublishedOnce(t *testing.T) {
	t.Parallel()
	i, _, misbehave := quickstart(t)
	var seen lastOutput
	tail := i.command(t.Context(), "tail", "services/quickstart/pump/pressure")
	tail.Stdout = &seen
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	values := func(n int) func() error {
		return func() error {
			if got := strings.Count(seen.String(), `"value":1`) + strings.Count(seen.String(), `"value":9`); got < n {
				return fmt.Errorf("%d values of %d", got, n)
			}
			return nil
		}
	}
	i.eventually("values", values(2))
	misbehave("modbus", "cut")
	i.eventually("the error", func() error {
		if !strings.Contains(seen.String(), `"value":null,"error":`) {
			return errors.New("none yet")
		}
		return nil
	})
	before := strings.Count(seen.String(), "\n")
	misbehave("modbus", "none")
	i.eventually("values again", values(before+2))
	if got := strings.Count(seen.String(), `"error"`); got != 1 {
		t.Errorf("the error was published %d times:\n%s", got, seen.String())
	}
	_ = tail.Process.Kill()
	_ = tail.Wait() // killed
}
