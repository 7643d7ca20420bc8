package deployer

import (
	"testing"

	"github.com/millwright/millwright/internal/pki"
)

// The instance's own certificate is for localhost; where another one answers there, or the
// instance is somewhere else, it still has one for its part's name.
func TestServerName(t *testing.T) {
	for _, c := range []struct {
		o    Outcome
		want string
	}{
		{Outcome{URL: "https://localhost"}, ""},
		{Outcome{URL: "https://localhost:8443"}, ""},
		{Outcome{URL: "https://localhost", given: true}, pki.ControlName},
		{Outcome{URL: "https://10.0.0.7"}, pki.ControlName},
	} {
		if got := c.o.serverName(); got != c.want {
			t.Errorf("%+v: got %q", c.o, got)
		}
		if got := c.o.Settings().ServerName; got != pki.ControlName {
			t.Errorf("the deployer's own client asks for %q", got)
		}
	}
}
