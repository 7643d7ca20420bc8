package main

import (
	"strings"
	"testing"
)

// referenceService is a service file as lessons about the format begin with: a connection to
// the instance's own broker, as the user that the instance makes for the service.
const referenceService = `description: Example Service
metadata:
  name: example_service
resources:
  mqttConnection:
    type: Cybus::Connection
    properties:
      protocol: Mqtt
      connection:
        host: !ref Cybus::MqttHost
        port: !ref Cybus::MqttPort
        scheme: mqtt
        username: !ref Cybus::MqttUser
        password: !ref Cybus::MqttPassword
`

// TestEndToEndReferenceService installs it unchanged; the second time there is nothing to do.
func TestEndToEndReferenceService(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	file := i.write("example-service.yml", referenceService)
	i.must("apply", file, "--id", "example_service", "--yes", "--wait-for", "connected", "--timeout", patience.String())
	i.state("example_service", "enabled")
	if c := i.resources("connections")["mqttConnection"]; c.State != "connected" {
		t.Errorf("the connection is %+v", c)
	}
	if out := i.must("apply", file, "--id", "example_service", "--yes"); !strings.Contains(out, "No changes") {
		t.Errorf("applied again:\n%s", out)
	}
	if _, _, code := i.run("plan", file, "--id", "example_service", "--detailed-exitcode"); code != 0 {
		t.Errorf("the second plan ended with %d", code)
	}
	i.stop()
}
