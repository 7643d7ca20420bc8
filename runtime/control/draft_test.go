package control

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// What was applied is logged, with an error only where there is one.
func TestAppliedIsLogged(t *testing.T) {
	logs := NewLogRing(slog.NewTextHandler(io.Discard, nil), 100)
	i := start(t, func(o *Options) { o.Log = slog.New(logs) })
	i.apply(plan.Request{Roles: []spec.Role{{Name: "a"}}})
	entries, _ := logs.lines.after(0)
	told := 0
	for _, e := range entries {
		if e.value.Message != "applied" {
			continue
		}
		told++
		if _, failed := e.value.Attributes["error"]; failed || e.value.Attributes["address"] != "role/a" {
			t.Errorf("the line is %+v", e.value)
		}
	}
	if told != 1 {
		t.Errorf("%d lines tell of it", told)
	}
}

// A warning without a place in a file names the object.
func TestWarningsHaveAPlace(t *testing.T) {
	i := start(t, func(o *Options) { o.ReadOnly = true })
	i.apply(install("press", press))
	twin := i.planOf(install("twin", press+"  set:\n    type: Cybus::Endpoint\n    properties:\n      protocol: Modbus\n      connection: !ref plc\n      write: {fc: 6, address: 9, dataType: uint16BE}\n"))
	var places []string
	for _, d := range twin.Diagnostics {
		places = append(places, d.File)
	}
	if !slices.Equal(places, []string{"service/twin", "service/twin/endpoint/set"}) {
		t.Errorf("the diagnostics are %v", twin.Diagnostics)
	}
}

func TestParametersAreMerged(t *testing.T) {
	i := start(t)
	source := strings.Replace(press, "definitions:", "  port: {type: integer, default: 502}\ndefinitions:", 1)
	req := install("press", strings.Replace(source, "port: 502}", "port: !ref port}", 1))
	req.Services[0].Parameters = map[string]any{"host": "10.1.1.1"}
	i.apply(req)
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", Parameters: map[string]any{"port": 503}, MergeParameters: true}}})
	if got := i.service("press").Parameters; got["host"] != "10.1.1.1" || fmt.Sprint(got["port"]) != "503" {
		t.Errorf("the parameters are %v", got)
	}
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", Parameters: map[string]any{"port": 504}}}})
	if got := i.service("press").Parameters; got["host"] != "10.0.0.7" {
		t.Errorf("the parameters are %v", got)
	}
}
