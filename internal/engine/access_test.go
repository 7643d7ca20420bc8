package engine

import (
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

func TestURL(t *testing.T) {
	for port, want := range map[spec.Port]string{
		"443": "https://localhost", "8443": "https://localhost:8443", "127.0.0.1:8443": "https://localhost:8443",
		"10.0.0.7:443": "https://10.0.0.7", "[2001:db8::1]:443": "https://[2001:db8::1]", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "": "",
	} {
		if got := url(spec.Instance{Ports: spec.Ports{spec.PortHTTPS: port}}, "localhost"); got != want {
			t.Errorf("%q: got %q, want %q", port, got, want)
		}
	}
}

// On another host every one of its addresses is reached by its name.
func TestURLOfRemote(t *testing.T) {
	for port, want := range map[spec.Port]string{"443": "https://plant.example", "8443": "https://plant.example:8443", "10.0.0.7:443": "https://10.0.0.7"} {
		if got := url(spec.Instance{Ports: spec.Ports{spec.PortHTTPS: port}}, "plant.example"); got != want {
			t.Errorf("%q: got %q, want %q", port, got, want)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"1.0.0", "1.0.1", true}, {"1.10.0", "1.9.0", false}, {"v1.2", "v1.2", false}, {"main", "1.0.0", false}, {"1.0", "1.0.1", true}, {"2.0.0-rc1", "1.9.9", false}} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%q, %q) is %v", c.a, c.b, got)
		}
	}
}
