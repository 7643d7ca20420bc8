package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func planOf(t *testing.T, steps ...plan.Step) plan.Plan {
	t.Helper()
	p, err := plan.New(7, steps)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func surveyed(t *testing.T, instance, rest plan.Plan) *survey {
	t.Helper()
	return &survey{pass: &engine.Pass{Plan: instance, Instance: spec.Instance{Name: "plant"}}, rest: rest}
}

// The instance comes first, the notes between, and the digest names all steps.
func TestWhole(t *testing.T) {
	instance := planOf(t, plan.Step{Symbol: plan.Update, Address: "instance/plant", Cause: "a", Disturbs: plan.DisturbsContainer})
	instance.Diagnostics = []spec.Diagnostic{{Severity: spec.SeverityError, Message: "port 443 is taken", Hint: "free it"}}
	rest := planOf(t, plan.Step{Symbol: plan.Create, Address: "service/press", Cause: "b", Disturbs: plan.DisturbsEndpoint})
	rest.Deviations = []spec.Deviation{{Address: "service/press", State: "deviated"}}
	s := surveyed(t, instance, rest)
	s.warn("code", "it is not there yet", "")
	whole, err := s.whole()
	if err != nil {
		t.Fatal(err)
	}
	want := "~ instance/plant: a\n    disturbs the container\n+ service/press: b\n    disturbs the endpoint\n\n" +
		"error: port 443 is taken (free it)\ninstance/plant: warning: it is not there yet\ndeviated: service/press is deviated\n" +
		"Plan: 1 to add, 1 to change, 0 to delete. Disturbs: container.\n"
	if got := whole.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if whole.Digest == instance.Digest || whole.Digest == rest.Digest || whole.Revision != 7 {
		t.Errorf("got %+v", whole)
	}
	limits := inputOptions{maxDisturbance: "endpoint"}
	if err := limits.allow(whole); exitCode(err) != exitRefused {
		t.Errorf("the instance is not counted: %v", err)
	}
	if err := s.possible(); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "port 443 is taken") {
		t.Errorf("got %v", err)
	}
}

// --yes is said to what was shown, or to what --max-disturbance allows.
func TestWithin(t *testing.T) {
	for _, c := range []struct {
		name    string
		shown   plan.Disturbance
		limit   string
		symbol  plan.Symbol
		now     plan.Disturbance
		refused bool
	}{
		{"no more than was shown", plan.DisturbsContainer, "", plan.Update, plan.DisturbsEndpoint, false},
		{"more than was shown", plan.DisturbsNone, "", plan.Update, plan.DisturbsEndpoint, true},
		{"allowed beforehand", plan.DisturbsNone, "connection", plan.Update, plan.DisturbsConnection, false},
		{"more than is allowed", plan.DisturbsContainer, "none", plan.Update, plan.DisturbsEndpoint, true},
		{"a deletion", plan.DisturbsInstance, "instance", plan.Delete, plan.DisturbsNone, true},
	} {
		x := deploymentApply{
			application: application{limits: &inputOptions{maxDisturbance: c.limit}},
			whole:       planOf(t, plan.Step{Symbol: plan.Update, Address: "instance/plant", Disturbs: c.shown}),
		}
		err := x.within(planOf(t, plan.Step{Symbol: c.symbol, Address: "service/press", Disturbs: c.now}))
		if (exitCode(err) == exitRefused) != c.refused {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// What was not done is said to be skipped, and a container that was replaced is not ill any more.
func TestFinish(t *testing.T) {
	var out bytes.Buffer
	format := outputOption{format: "text"}
	x := deploymentApply{
		application: application{streams: &streams{out: &out, getenv: func(string) string { return "" }}, global: &globalOptions{}, output: &format},
		shown:       surveyed(t, plan.Plan{}, plan.Plan{}),
	}
	instance := planOf(t, plan.Step{Symbol: plan.Replace, Address: "instance/plant/container/broker", Result: plan.Done})
	instance.Deviations = []spec.Deviation{
		{Address: "instance/plant/container/broker", State: "unhealthy"}, {Address: "instance/plant/container/mapper", State: "unhealthy"},
	}
	rest := skipped(planOf(t, plan.Step{Symbol: plan.Create, Address: "role/r"}), errors.New("x"))
	if err := x.finish(instance, rest); err != nil {
		t.Fatal(err)
	}
	if want := "+ role/r: skipped\ndeviated: instance/plant/container/mapper is unhealthy\nApplied: 0 added, 1 changed, 0 deleted.\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if done := skipped(planOf(t), nil); !done.Applied {
		t.Error("nothing to do is not applied")
	}
}

// An image archive is part of what a plan file recognises, however large.
func TestArchiveIsFingerprinted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	in := &input{instance: &spec.Instance{ImageArchive: file}, sources: newSources(&streams{})}
	if err := in.fingerprintArchive(); spec.KindOf(err) != spec.Invalid {
		t.Errorf("got %v", err)
	}
	sums := map[string]bool{}
	for _, content := range []string{"a", "b"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := in.fingerprintArchive(); err != nil {
			t.Fatal(err)
		}
		sums[in.sources.sums["file "+filepath.ToSlash(file)]] = true
	}
	if len(sums) != 2 || !slices.Equal(in.sources.names, []string{"file " + filepath.ToSlash(file)}) {
		t.Errorf("got %v of %v", sums, in.sources.names)
	}
}

// Only a flag says of an instance where else it is: that is refused. Variables and contexts,
// which are for others, are passed over.
func TestOpenDeploymentRefuses(t *testing.T) {
	in := &input{instance: &spec.Instance{DockerHost: "unix:///nowhere.sock"}}
	s := &streams{err: &bytes.Buffer{}, getenv: func(name string) string {
		if name == "MILLWRIGHT_URL" {
			return "https://elsewhere.example"
		}
		return ""
	}}
	for want, global := range map[string]*globalOptions{
		"cannot use --context": {context: "other"},
		"cannot use --token":   {token: "t"},
		"cannot find a Docker engine: there is no /nowhere.sock": {},
	} {
		if _, err := openDeployment(t.Context(), s, global, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
