package engine

import (
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

// On another host every address that others can reach is reached by the host's name, if it has
// been given one, and what only that host can reach through a tunnel.
func TestURL(t *testing.T) {
	here, there := &Engine{local: true}, &Engine{at: "10.0.0.9"}
	for _, c := range []struct {
		port               spec.Port
		local, remote, own string // own: of a remote one with a hostname
	}{
		{"443", "https://localhost", "https://10.0.0.9", "https://plant.example"},
		{"8443", "https://localhost:8443", "https://10.0.0.9:8443", "https://plant.example:8443"},
		{"[::]:443", "https://localhost", "https://10.0.0.9", "https://plant.example"},
		{"127.0.0.1:8443", "https://localhost:8443", "https://localhost:8443", "https://localhost:8443"},
		{"10.0.0.7:443", "https://10.0.0.7", "https://10.0.0.7", "https://plant.example"},
		{"[2001:db8::1]:443", "https://[2001:db8::1]", "https://[2001:db8::1]", "https://plant.example"},
		{"[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "https://plant.example:8443"},
		{"", "", "", ""},
	} {
		i := spec.Instance{Ports: spec.Ports{spec.PortHTTPS: c.port}}
		named := i
		named.Hostname = "plant.example"
		if local, remote, own := here.URL(i), there.URL(i), there.URL(named); local != c.local || remote != c.remote || own != c.own {
			t.Errorf("%q: got %q, %q, %q", c.port, local, remote, own)
		}
		if got := here.URL(named); got != c.local {
			t.Errorf("%q: got %q, want %q", c.port, got, c.local)
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
