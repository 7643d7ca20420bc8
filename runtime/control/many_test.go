package control

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
)

// many is a service of n endpoints on one connection.
func many(n int) string {
	var b strings.Builder
	b.WriteString(press[:strings.Index(press, "  temp:")])
	for k := range n {
		fmt.Fprintf(&b, "  e%d:\n    type: Cybus::Endpoint\n    properties:\n      protocol: Modbus\n      connection: !ref plc\n      subscribe: {fc: 3, address: %d, length: 1, dataType: uint16BE, interval: 1000}\n", k, k)
	}
	return b.String()
}

func TestOneOfThousandEndpoints(t *testing.T) {
	i := start(t)
	i.apply(install("many", many(1000)))
	edited := strings.Replace(many(1000), "address: 500,", "address: 5000,", 1)
	before := i.control.resources["protocol-mapper"].values
	p := i.apply(install("many", edited))
	if p.Counts() != (plan.Counts{Update: 1}) || p.MaxDisturbance() != plan.DisturbsEndpoint {
		t.Errorf("the plan is\n%s", p)
	}
	changed := 0
	for key, r := range i.control.resources["protocol-mapper"].values {
		if asJSON(before[key]) != asJSON(r) {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d resources changed for the mapper", changed)
	}
}
