package provider_test

import (
	"fmt"
	"strings"
	"testing"
)

// plantConfig is an instance with a role, a user and a service on it.
func (d *dock) plantConfig(ports string, more ...string) string {
	return fmt.Sprintf(`
resource "millwright_instance" "plant" {
  name         = "plant"
  install_path = "deployed"
  image        = "millwright/plant"
  pull         = "never"
  ports        = %s
  %s
}
resource "millwright_role" "operators" {
  context     = millwright_instance.plant.context
  name        = "operators"
  permissions = [%s]
}
resource "millwright_user" "line1" {
  context  = millwright_instance.plant.context
  username = "line1"
  roles    = [millwright_role.operators.name]
}
resource "millwright_service" "press" {
  context       = millwright_instance.plant.context
  id            = "press"
  commissioning = file("press.yml")
}
output "reached" {
  value = [millwright_instance.plant.url, millwright_instance.plant.context, millwright_instance.plant.ca_cert]
}
`, ports, strings.Join(more, "\n  "), readPlant)
}

// An instance and what is declared on it come in one apply. What changes, here or behind
// Terraform's back, is an update in place.
func TestForeignTerraformInstance(t *testing.T) {
	d := newDock(t)
	d.write("press.yml", testFile(t, "press.yml"))
	ports := freePorts(t)
	d.main(d.plantConfig(ports, `version = "0.1.0"`))
	d.shows("the plan", d.plan(), "4 to add", "(known after apply)")
	d.shows("the apply", d.apply(), "4 added, 0 changed", "-----BEGIN CERTIFICATE-----")
	if _, err := d.client("plant").Services().Get(t.Context(), "press"); err != nil {
		t.Error(err)
	}

	broker := d.id("plant-broker-1")
	d.main(d.plantConfig(ports, `version = "0.1.0"`, `limits = { broker = { memory = "448m" } }`))
	d.shows("more memory", d.plan(), "will be updated in-place", "0 to add, 1 to change, 0 to destroy", "448m")
	d.apply()
	if got := d.docker("inspect", "-f", "{{.HostConfig.Memory}}", broker); got != "469762048" {
		t.Errorf("memory: %s", got)
	}

	d.main(d.plantConfig(ports, `version = "0.2.0"`, `limits = { broker = { memory = "448m" } }`))
	d.shows("another version", d.plan(), "will be updated in-place", `~ version = "0.1.0" -> "0.2.0"`, "disturbs the container", "container/broker")
	d.apply()
	if d.id("plant-broker-1") == broker {
		t.Error("the broker runs the old image")
	}

	d.docker("stop", "plant-mapper-1")
	d.shows("a stopped container", d.plan(), "will be updated in-place", "container/mapper: is not running: exited")
	d.apply()
	d.docker("update", "--memory", "300m", "--memory-swap", "300m", "plant-mapper-1")
	d.shows("docker update", d.plan(), "container/mapper: memory", "changed outside")
	d.apply()

	d.must("destroy", "-auto-approve", "-input=false")
	if left := d.docker("ps", "-aq"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	if kept := d.docker("volume", "ls", "-q"); !strings.Contains(kept, "plant_control") {
		t.Errorf("its volumes went: %s", kept)
	}
}
