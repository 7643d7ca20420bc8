package engine

import "testing"

func TestVersionsHaveAnOrder(t *testing.T) {
	order := []string{"0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "v1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2", "1.10.0", "2.0.0"}
	for i, a := range order {
		for j, b := range order {
			if got := older(a, b); got != (i < j) {
				t.Errorf("%s before %s: got %v", a, b, got)
			}
		}
	}
	for _, c := range [][2]string{{"1.2", "1.2.0"}, {"1.0.0+a", "1.0.0+b"}, {"0.0.0-dev", "1.0.0"}, {"1.0.0", "0.0.0-dev"}, {"latest", "1.0.0"}, {"1.0.0", "sha256:abc"}, {"", "1.0.0"}} {
		if older(c[0], c[1]) || older(c[1], c[0]) {
			t.Errorf("%q and %q have an order", c[0], c[1])
		}
	}
}
