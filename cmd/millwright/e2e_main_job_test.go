package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/examples"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// TestEndToEndDemo runs what `make demo` runs, with all the checks that it makes itself.
func TestEndToEndDemo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	i := newInstance(t)
	cmd := i.command(t.Context(), "demo")
	cmd.Env = append(cmd.Env, "TMPDIR="+i.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"No changes", "1 to change", "deviated", "Try next"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo's output has no %q:\n%s", want, out.String())
		}
	}
	left, err := filepath.Glob(filepath.Join(i.dir, "millwright-demo-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind (%v)", left, err)
	}
}

// quickstart starts a plant and a runtime with the quickstart example installed.
func quickstart(t *testing.T) (i *instance, flags []string, misbehave func(device, how string)) {
	t.Helper()
	opcua, modbus, misbehave := plant(t)
	i = newInstance(t)
	i.up()
	_, opcuaPort := splitAddress(t, opcua)
	_, modbusPort := splitAddress(t, modbus)
	flags = []string{"--set", "opcuaPort=" + opcuaPort, "--set", "modbusPort=" + modbusPort}
	i.install("quickstart", string(examples.QuickstartFile), append(flags, "--wait-for", "data")...)
	return i, flags, misbehave
}

func TestEndToEndSecondApplyChangesNothing(t *testing.T) {
	t.Parallel()
	i, flags, _ := quickstart(t)
	before, endpoints := i.service("quickstart"), i.resources("endpoints")
	reordered := reorder(string(examples.QuickstartFile))
	for name, text := range map[string]string{"same": string(examples.QuickstartFile), "reordered": reordered} {
		file := i.write(name+".yml", text)
		out := i.must(append([]string{"apply", file, "--id", "quickstart", "--yes"}, flags...)...)
		if !strings.Contains(out, "No changes") {
			t.Errorf("%s: applying again printed:\n%s", name, out)
		}
		if _, _, code := i.run(append([]string{"plan", file, "--id", "quickstart", "--detailed-exitcode"}, flags...)...); code != 0 {
			t.Errorf("%s: plan --detailed-exitcode gave %d", name, code)
		}
	}
	if after := i.service("quickstart"); after.Revision != before.Revision {
		t.Errorf("the revision moved from %d to %d", before.Revision, after.Revision)
	}
	for id, s := range i.resources("endpoints") {
		if s.Starts != endpoints[id].Starts {
			t.Errorf("endpoint %s was started again", id)
		}
	}
}

// reorder puts the file's top-level sections in another order and adds comments.
func reorder(text string) string {
	var sections []string
	for line := range strings.Lines(text) {
		if len(sections) == 0 || line[0] != ' ' && line[0] != '#' && line[0] != '\n' {
			sections = append(sections, "")
		}
		sections[len(sections)-1] += line
	}
	var b strings.Builder
	for n := len(sections) - 1; n >= 0; n-- {
		fmt.Fprintf(&b, "# section %d\n%s", n, sections[n])
	}
	return b.String()
}

func TestEndToEndKillAndRestart(t *testing.T) {
	t.Parallel()
	i, _, _ := quickstart(t)
	for range 3 {
		i.kill()
		i.up()
		if got := i.values("plant/#", 2); len(got) != 2 {
			t.Fatalf("after the restart came %q", got)
		}
	}
	i.state("quickstart", "enabled")
	i.stop()
}

func TestEndToEndCutMachineIsDeviatedAndNeverAStep(t *testing.T) {
	t.Parallel()
	i, flags, misbehave := quickstart(t)
	misbehave("modbus", "cut")
	v := i.state("quickstart", "deviated")
	if text := fmt.Sprint(v.Deviations); !strings.Contains(text, "connection") {
		t.Errorf("the deviations name no connection: %s", text)
	}
	out := i.must(append([]string{"plan", filepath.Join(i.dir, "quickstart.yml"), "--id", "quickstart", "--detailed-exitcode", "-o", "json"}, flags...)...)
	var p plan.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Steps) != 0 {
		t.Errorf("a deviated service gave steps (%v):\n%s", err, out)
	}
	misbehave("modbus", "none")
	i.state("quickstart", "enabled")
}

func TestEndToEndWrongFileChangesNothing(t *testing.T) {
	t.Parallel()
	i, _, _ := quickstart(t)
	before := i.must("get", "services", "-o", "json")
	file := i.write("wrong.yml", `description: wrong
metadata: {name: wrong}
resources:
  plc:
    type: Cybus::Connection
    properties: {protocol: Modbus, connection: {host: !ref hots}}
  temp:
    type: Cybus::Endpoint
    properties: {protocol: Modbus, connection: !ref plcc, subscribe: {fc: 99, address: 0}}
`)
	for _, command := range [][]string{{"validate", file}, {"plan", file}, {"apply", file, "--yes"}} {
		stdout, stderr, code := i.run(command...)
		if code != 3 {
			t.Errorf("%s: exit %d", command[0], code)
		}
		for _, want := range []string{"wrong.yml:6:", "wrong.yml:9:", "plcc", "plc", "fc"} {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("%s says nothing of %q:\n%s%s", command[0], want, stdout, stderr)
			}
		}
	}
	if after := i.must("get", "services", "-o", "json"); stripTimes(after) != stripTimes(before) {
		t.Errorf("the services changed from\n%s\nto\n%s", before, after)
	}
}

// stripTimes leaves out what moves by itself.
func stripTimes(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "_at\"") && !strings.Contains(line, "since") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestEndToEndUnreachableMachineInstalls(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	_, port := splitAddress(t, freePort(t))
	i.install("alone", fmt.Sprintf(`description: a machine that is off
metadata: {name: alone}
resources:
  plc:
    type: Cybus::Connection
    properties: {protocol: Modbus, connection: {host: 127.0.0.1, port: %s}}
  temp:
    type: Cybus::Endpoint
    properties: {protocol: Modbus, connection: !ref plc, subscribe: {fc: 3, address: 0, dataType: uint16BE}}
`, port))
	i.state("alone", "deviated")
	i.eventually("get to say which connection and why", func() error {
		out := i.must("get", "services", "alone")
		for _, want := range []string{"deviated", "plc", "refused"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in:\n%s", want, out)
			}
		}
		return nil
	})
}

// TestEndToEndOneOfAThousand edits one endpoint of 1,000 and shows that nothing else moved.
func TestEndToEndOneOfAThousand(t *testing.T) {
	t.Parallel()
	_, modbus, _ := plant(t, "--modbus-registers", "1000")
	i := newInstance(t)
	i.up()
	_, port := splitAddress(t, modbus)
	file := func(interval int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "description: many\nmetadata: {name: many}\nresources:\n  plc:\n    type: Cybus::Connection\n"+
			"    properties: {protocol: Modbus, connection: {host: 127.0.0.1, port: %s}}\n", port)
		for n := range 1000 {
			every := 200
			if n == 500 {
				every = interval
			}
			fmt.Fprintf(&b, "  e%d:\n    type: Cybus::Endpoint\n    properties: {protocol: Modbus, connection: !ref plc, "+
				"subscribe: {fc: 3, address: %d, dataType: uint16BE, interval: %d}}\n", n, 1000+n, every)
		}
		return b.String()
	}
	i.install("many", file(200), "--wait-for", "data")
	before, connection := i.resources("endpoints"), i.resources("connections")["plc"]

	i.write("many.yml", file(100))
	out := i.must("plan", filepath.Join(i.dir, "many.yml"))
	if !strings.Contains(out, "1 to change") {
		t.Errorf("the plan for one edited endpoint:\n%s", out)
	}
	i.install("many", file(100), "--max-disturbance", "endpoint", "--wait-for", "data")

	if after := i.resources("connections")["plc"]; after.Connects != connection.Connects || after.Starts != connection.Starts {
		t.Errorf("the connection was opened again: %+v, before %+v", after, connection)
	}
	late := map[uint64]int{} // polls that a busy machine skipped: the same for all, or the edit was to blame
	for id, s := range i.resources("endpoints") {
		was := before[id]
		if id == "e500" {
			if s.Starts != was.Starts+1 {
				t.Errorf("the edited endpoint was started %d times", s.Starts-was.Starts)
			}
			continue
		}
		late[s.Skipped-was.Skipped]++
		if s.Starts != was.Starts || s.Errors != was.Errors || s.Dropped != was.Dropped {
			t.Errorf("endpoint %s was disturbed: %+v, before %+v", id, s, was)
		}
	}
	if len(late) != 1 {
		t.Errorf("some endpoints missed polls that others did not: %v", late)
	}
}

func TestEndToEndMaxDisturbanceRefuses(t *testing.T) {
	t.Parallel()
	i, flags, _ := quickstart(t)
	text := strings.Replace(string(examples.QuickstartFile), demoEditFrom, demoEditTo, 1)
	file := i.write("edited.yml", text)
	args := append([]string{"apply", file, "--id", "quickstart", "--yes", "--max-disturbance", "none"}, flags...)
	_, stderr, code := i.run(args...)
	if code != 4 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if _, _, code := i.run(append([]string{"plan", file, "--id", "quickstart", "--detailed-exitcode"}, flags...)...); code != 2 {
		t.Errorf("after the refusal the plan gave exit %d, want 2", code)
	}
}

// TestEndToEndSetAlone sets one parameter of two: the instance keeps the other.
func TestEndToEndSetAlone(t *testing.T) {
	t.Parallel()
	i, flags, _ := quickstart(t)
	file := i.write("quickstart.yml", string(examples.QuickstartFile))
	if out := i.must(append([]string{"plan", file, "--id", "quickstart"}, flags[:2]...)...); !strings.Contains(out, "No changes") {
		t.Errorf("setting what is set already:\n%s", out)
	}
	all := i.write("all.json", "{}")
	if out := i.must("plan", file, "--id", "quickstart", "--parameters-file", all); strings.Contains(out, "No changes") {
		t.Error("a parameter file does not replace what the instance keeps")
	}
	var found []spec.ResourceStatus
	i.decode(&found, "get", "endpoints", "--service", "quickstart", "--state", "enabled", "-o", "json")
	if len(found) == 0 {
		t.Error("no endpoint of the service is enabled")
	}
	i.decode(&found, "get", "endpoints", "--service", "other", "-o", "json")
	if len(found) != 0 {
		t.Errorf("of a service that there is not: %+v", found)
	}
}

func TestEndToEndReviewedPlan(t *testing.T) {
	t.Parallel()
	i, flags, _ := quickstart(t)
	file := i.write("quickstart.yml", strings.Replace(string(examples.QuickstartFile), demoEditFrom, demoEditTo, 1))
	planFile := filepath.Join(i.dir, "plan.json")
	i.must(append([]string{"plan", file, "--id", "quickstart", "--out", planFile}, flags...)...)
	if info, err := os.Stat(planFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("plan file: %v %v", info, err)
	}
	i.must("apply", "--plan", planFile, "--yes")
	if _, stderr, code := i.run("apply", "--plan", planFile, "--yes"); code == 0 {
		t.Errorf("a plan that was applied could be applied again: %s", stderr)
	}
}
