package control

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// moves is a service of one mapping.
func moves(from, to string) string {
	return fmt.Sprintf("description: Moves\nmetadata: {name: mover}\nresources:\n  m:\n    type: Cybus::Mapping\n    properties:\n      mappings:\n        - subscribe: {%s}\n          publish: {topic: '%s'}\n", from, to)
}

// borrows is a service whose endpoint runs on another service's connection.
const borrows = `description: Borrows
metadata: {name: borrower}
resources:
  temp:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref press::plc
      subscribe: {fc: 3, address: 0, length: 1, dataType: uint16BE, interval: 1000}
`

// Who may write a service must have what its identity gets anew, and may use nobody else's
// connection.
func TestServiceGetsNoMoreThanItsCallerHas(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	mqtt := func(resource string, op spec.Operation) spec.Permission {
		return spec.Permission{Resource: resource, Operation: op, Context: spec.MQTT}
	}
	installer := i.with("installer", grant("/api/v1/services/mover", spec.ReadWrite), grant("/api/v1/services/borrower", spec.ReadWrite),
		mqtt("hall/#", spec.ReadWrite), mqtt("services/press/speed", spec.Read))
	apply := func(req plan.Request) answer {
		req.Confirm = "any"
		return i.do(http.MethodPost, "/api/v1/apply", installer, req)
	}
	own := "services/mover/out"
	for name, source := range map[string]string{
		"reads all":              moves("topic: 'plant/#'", own),
		"reads another service":  moves("topic: services/press/temp", own),
		"reads another endpoint": moves("endpoint: !ref press::temp", own),
		"writes elsewhere":       moves("topic: hall/a", "plant/x"),
	} {
		if p := apply(install("mover", source)).problem(spec.Forbidden); !strings.Contains(p.Detail, "more than they have") {
			t.Errorf("%s: the problem is %+v", name, p)
		}
	}
	if p := apply(install("borrower", borrows)).problem(spec.Forbidden); !strings.Contains(p.Detail, `"press::plc"`) || !strings.Contains(p.Detail, "/api/v1/services/press") {
		t.Errorf("the problem is %+v", p)
	}
	apply(install("mover", moves("topic: hall/a", "hall/b"))).plan()
	apply(install("mover", moves("endpoint: !ref press::speed", own))).plan()

	// What an admin installed may be edited, as long as nothing is added.
	i.apply(install("mover", moves("topic: 'plant/#'", own)))
	i.apply(install("borrower", borrows))
	apply(install("mover", moves("topic: plant/a", own))).plan()
	apply(install("mover", moves("topic: 'plant/#'", own))).problem(spec.Forbidden)
	apply(install("borrower", strings.Replace(borrows, "interval: 1000", "interval: 500", 1))).plan()
	apply(plan.Request{Services: []spec.Service{{ID: "borrower", State: spec.Absent}}}).plan()
}

func TestExpressionsAreCompiled(t *testing.T) {
	i := start(t, func(o *Options) {
		o.CheckExpression = func(expression string) error {
			if strings.Contains(expression, "wrong") {
				return errors.New("it makes no sense")
			}
			return nil
		}
	})
	source := moves("topic: a", "b") + "          rules: [{transform: {expression: wrong}}]\n"
	p := i.refused(install("mover", source), spec.Invalid, "1 mistake")
	if len(p.Diagnostics) != 1 || p.Diagnostics[0].Code != "bad-expression" || p.Diagnostics[0].Line != 10 {
		t.Errorf("the diagnostics are %+v", p.Diagnostics)
	}
}
