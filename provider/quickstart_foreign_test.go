package provider_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The quickstart applies as docs/terraform.md says: an instance and what is on it in one apply;
// one edited endpoint is one update in place; a service that is imported needs no change.
func TestForeignTerraformQuickstart(t *testing.T) {
	installed := mirror(t)
	d := newDock(t)
	w := example(t, installed, "quickstart", "*")
	archive := d.archive("millwright/millwright:0.9.9") // the provider's own version
	w.env = append(w.env, "DOCKER_HOST="+d.host, "MILLWRIGHT_CONFIG="+filepath.Join(w.dir, "millwright", "config.yaml"),
		"TF_VAR_image_archive="+archive, "TF_VAR_ports="+freePorts(t))
	w.must("init", "-input=false")
	w.must("validate")
	if out := w.must("apply", "-auto-approve", "-input=false"); !strings.Contains(out, "4 added") || !strings.Contains(out, "url = ") {
		t.Errorf("the apply:\n%s", out)
	}
	w.settled()

	service := filepath.Join(w.dir, "service.yml")
	text, err := os.ReadFile(service)
	if err != nil {
		t.Fatal(err)
	}
	w.write("service.yml", strings.Replace(string(text), "raw/press/temperature", "raw/press/temp", 1))
	out, code := w.run("plan", "-detailed-exitcode", "-input=false")
	for _, want := range []string{"will be updated in-place", "0 to add, 1 to change, 0 to destroy", "subscribe.topic", "disturbs the endpoint"} {
		if code != 2 || !strings.Contains(out, want) {
			t.Errorf("the plan, exit %d, does not show %q:\n%s", code, want, out)
		}
	}
	w.must("apply", "-auto-approve", "-input=false")
	w.settled()

	w.must("state", "rm", "millwright_service.press")
	w.must("import", "millwright_service.press", "press")
	w.settled()
	w.must("state", "rm", "millwright_instance.plant")
	w.must("import", "millwright_instance.plant", "quickstart")
	w.settled()
	w.destroy()
	if left := d.docker("ps", "-aq"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
}
