package plan

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The cases are archives: "actual/ID.yml" and "desired/ID.yml" are services before and
// after, "others/ID.yml" are those that the request does not name, and "plan.txt" is what
// must be printed. Words of the comment: disabled, restart, blind.
func TestServiceCases(t *testing.T) {
	files, err := filepath.Glob("testdata/service/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := mustPlan(t, readCase(t, archive))
			checkGolden(t, file, archive, p.String())
		})
	}
}

func readCase(t *testing.T, archive *txtar.Archive) Input {
	t.Helper()
	words := strings.Fields(strings.ReplaceAll(string(archive.Comment), ":", " "))
	var in Input
	for _, f := range archive.Files {
		state, name, _ := strings.Cut(f.Name, "/")
		if state == "plan.txt" {
			continue
		}
		s := evaluate(t, strings.TrimSuffix(name, ".yml"), string(f.Data))
		switch state {
		case "actual":
			s.Enabled = !slices.Contains(words, "was-disabled")
			in.Actual.Services = append(in.Actual.Services, s)
		case "desired":
			s.Enabled = !slices.Contains(words, "disabled")
			s.Restart = slices.Contains(words, "restart")
			s.SecretsNotCompared = slices.Contains(words, "blind")
			in.Desired.Services = append(in.Desired.Services, s)
		case "others":
			in.Others = append(in.Others, s)
		default:
			t.Fatalf("file %q is in no state", f.Name)
		}
	}
	return in
}

func evaluate(t testing.TB, id, source string) Service {
	t.Helper()
	file, found := commissioning.Parse(id+".yml", []byte(source))
	if file == nil || spec.HasErrors(found) {
		t.Fatalf("%s does not parse: %v", id, found)
	}
	s, found := file.Evaluate(commissioning.Input{ID: id})
	if spec.HasErrors(found) {
		t.Fatalf("%s is wrong: %v", id, found)
	}
	return Service{Service: s, Owner: "api", Enabled: true, Grants: s.Grants()}
}

func mustPlan(t testing.TB, in Input) Plan {
	t.Helper()
	p, err := New(1, Diff(in))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func checkGolden(t *testing.T, file string, archive *txtar.Archive, got string) {
	t.Helper()
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "plan.txt" })
	if *update {
		if i < 0 {
			archive.Files, i = append(archive.Files, txtar.File{Name: "plan.txt"}), len(archive.Files)
		}
		archive.Files[i].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 || string(archive.Files[i].Data) != got {
		t.Errorf("the plan is\n%s\n(refresh with -update)", got)
	}
}

func permission(resource string, op spec.Operation) spec.Permission {
	return spec.Permission{Resource: resource, Operation: op, Context: spec.MQTT}
}

func TestAccounts(t *testing.T) {
	in := Input{
		Desired: State{
			Roles: []Role{{Name: "new", Owner: "api"}, {Name: "kept", Owner: "stack:a", Permissions: []spec.Permission{permission("b/#", spec.Write), permission("a/#", spec.Read)}}},
			Users: []User{
				{Name: "line2", Owner: "api", Password: "h2", Roles: []string{"new"}, Grants: []spec.Grant{spec.GrantPassword}},
				{Name: "line1", Owner: "api", Password: "changed", Roles: []string{"b", "a"}},
				{Name: "same", Owner: "api", PasswordNotCompared: true},
			},
		},
		Actual: State{
			Roles: []Role{{Name: "kept", Owner: "api", Permissions: []spec.Permission{permission("a/#", spec.Read), permission("c", spec.ReadWrite)}}, {Name: "old"}},
			Users: []User{{Name: "line1", Owner: "api", Password: "h1", Roles: []string{"a", "b"}}, {Name: "gone", Owner: "api", Password: "h"}, {Name: "same", Owner: "api", Password: "x"}},
		},
		Causes: map[string]string{"user/gone": "no longer in stack a"},
	}
	const want = `~ role/kept: owner and permissions changed
    owner: "api" → "stack:a"
    permissions: - "mqtt readWrite c"
    permissions: + "mqtt write b/#"
+ role/new: does not exist yet
    owner: + "api"
~ user/line1: password changed
    password: (sensitive, changed)
+ user/line2: does not exist yet
    owner: + "api"
    password: (sensitive, changed)
    roles: + "new"
    grants: + "password"
- user/gone: no longer in stack a
- role/old: state absent was asked for

Plan: 2 to add, 2 to change, 2 to delete. Disturbs nothing.
`
	if got := mustPlan(t, in).String(); got != want {
		t.Errorf("the plan is\n%s", got)
	}
}

func TestNothing(t *testing.T) {
	p := mustPlan(t, Input{})
	if got := p.String(); got != "No changes.\n" || !p.Empty() || p.MaxDisturbance() != DisturbsNone {
		t.Errorf("the empty plan is %q", got)
	}
	if text, err := json.Marshal(p); err != nil || !strings.Contains(string(text), `"steps":[]`) {
		t.Errorf("the empty plan is %s, %v", text, err)
	}
	report, err := p.GitLab()
	if err != nil || string(report) != `{"create":0,"update":0,"delete":0}` {
		t.Errorf("the report is %s, %v", report, err)
	}
}

func TestDigest(t *testing.T) {
	steps := func() []Step {
		return []Step{{Symbol: Update, Address: "user/a", Disturbs: DisturbsNone, Changes: []Change{{Path: "n", From: 1, To: 2}}}}
	}
	digest := func(revision int64, steps []Step) string {
		t.Helper()
		p, err := New(revision, steps)
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest
	}
	plain := digest(1, steps())
	blind := steps()
	blind[0].Changes = append(blind[0].Changes, Change{Path: "password", Sensitive: true, NotCompared: true})
	done := steps()
	done[0].Result = Done
	for name, other := range map[string]string{"revision": digest(2, steps()), "not compared": digest(1, blind), "result": digest(1, done)} {
		if other != plain {
			t.Errorf("%s changes the digest", name)
		}
	}
	secret := steps()
	secret[0].Changes = append(secret[0].Changes, Change{Path: "password", Sensitive: true})
	cause := steps()
	cause[0].Cause = "other"
	for name, other := range map[string]string{"secret": digest(1, secret), "cause": digest(1, cause), "none": digest(1, nil)} {
		if other == plain {
			t.Errorf("%s does not change the digest", name)
		}
	}
	if len(blind[0].Changes) != 2 {
		t.Error("making a digest changes the steps")
	}
}

func TestDisturbance(t *testing.T) {
	if err := Disturbance("much").Check(); spec.KindOf(err) != spec.Invalid {
		t.Errorf("an unknown disturbance: %v", err)
	}
	if err := DisturbsEndpoint.Check(); err != nil {
		t.Error(err)
	}
	if !DisturbsService.Exceeds(DisturbsConnection) || DisturbsNone.Exceeds(DisturbsNone) {
		t.Error("the order of disturbances is wrong")
	}
}

// failing refuses one object and notes the others.
type failing struct {
	address string
	done    []string
}

func (f *failing) ApplyObject(_ context.Context, address string, steps []Step) error {
	if address == f.address {
		return errors.New("the disk is full")
	}
	f.done = append(f.done, address)
	for _, s := range steps {
		if objectOf(s.Address) != address {
			return errors.New("a step of another object")
		}
	}
	return nil
}

func TestApplyStops(t *testing.T) {
	p := Plan{Steps: []Step{{Address: "user/a"}, {Address: "service/b"}, {Address: "service/b/endpoint/x"}, {Address: "service/c"}}}
	target := &failing{address: "service/b"}
	var reported []string
	got, err := Apply(t.Context(), p, target, func(s Step) { reported = append(reported, s.Address+" "+string(s.Result)) })
	if err == nil || got.Applied || !slices.Equal(target.done, []string{"user/a"}) {
		t.Fatalf("applied %v, %v", target.done, err)
	}
	want := []string{"user/a done", "service/b failed", "service/b/endpoint/x failed", "service/c skipped"}
	if !slices.Equal(reported, want) {
		t.Errorf("reported %q", reported)
	}
	if got.Steps[1].Error != "the disk is full" || p.Steps[0].Result != "" {
		t.Errorf("steps are %+v", got.Steps)
	}
	if all, err := Apply(t.Context(), p, &failing{}, nil); err != nil || !all.Applied {
		t.Errorf("applying all: %+v, %v", all, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Apply(ended, p, &failing{}, nil); !errors.Is(err, context.Canceled) || got.Steps[0].Result != Failed {
		t.Errorf("applying after the end: %+v, %v", got, err)
	}
}

func TestPrintedNotes(t *testing.T) {
	p := Plan{
		Steps: []Step{{
			Symbol: Create, Address: "service/a/container/c", Cause: "new in the file", Disturbs: DisturbsNone, Unsupported: "no containers",
			Result: Failed, Error: "no", Changes: []Change{{Path: "image", To: "x:1"}},
		}},
		Diagnostics: []spec.Diagnostic{{Position: spec.Position{File: "a.yml", Line: 2, Column: 3}, Severity: spec.SeverityWarning, Message: "odd"}},
		Deviations:  []spec.Deviation{{Address: "service/a/connection/plc", State: "connectFailed", Error: "refused"}},
	}
	const want = `+ service/a/container/c (x:1): new in the file [failed]
    error: no
    unsupported: no containers

a.yml:2:3: warning: odd
deviated: service/a/connection/plc is connectFailed: refused
Plan: 1 to add, 0 to change, 0 to delete. Disturbs nothing.
`
	if got := p.String(); got != want {
		t.Errorf("the plan is\n%s", got)
	}
	if got := (Plan{Steps: p.Steps}).Unsupported(); !slices.Equal(got, []string{"service/a/container/c"}) {
		t.Errorf("unsupported is %q", got)
	}
}

func TestValues(t *testing.T) {
	same := [][2]any{
		{json.Number("1"), 1},
		{json.Number("1.0"), json.Number("1")},
		{json.Number("1e3"), float64(1000)},
		{json.Number("9007199254740993"), json.Number("9007199254740993")},
		{nil, nil},
		{[]any{"a"}, []any{"a"}},
		{map[string]any{"a": nil}, map[string]any{"a": nil}},
		{commissioning.Secret{Value: "x"}, commissioning.Secret{Value: "x"}},
		{uint64(3), int64(3)},
	}
	for _, pair := range same {
		if !equalValue(pair[0], pair[1]) || !equalValue(pair[1], pair[0]) {
			t.Errorf("%v and %v differ", pair[0], pair[1])
		}
	}
	others := []any{
		json.Number("9007199254740993"), json.Number("9007199254740992"), "1", true, nil,
		missing{},
		json.Number("1e999999999"),
		[]any{},
		map[string]any{},
		commissioning.Secret{Value: "1"},
		commissioning.Symbol{Parts: []commissioning.SymbolPart{{Text: "1"}}},
		json.Number("1"),
	}
	for i, a := range others {
		for j, b := range others {
			if equalValue(a, b) != (i == j) {
				t.Errorf("comparing %v with %v", a, b)
			}
		}
	}
}

// Secrets are in no printed or encoded plan, whichever side has them.
func TestSecretsStay(t *testing.T) {
	const secret = "s3cr3t-value"
	trees := []map[string]any{
		{},
		{"a": commissioning.Secret{Value: secret}},
		{"a": "plain", "b": []any{commissioning.Secret{Value: secret}}},
		{"a": map[string]any{"c": commissioning.Secret{Value: map[string]any{"d": secret}}}},
		{"a": commissioning.Secret{Value: commissioning.Symbol{Parts: []commissioning.SymbolPart{{Text: secret}, {Name: "Cybus::MqttUser"}}}}},
		{"a": []any{}, "b": map[string]any{"x": []any{commissioning.Secret{Value: secret}}}},
	}
	for _, blind := range []bool{false, true} {
		for i, from := range trees {
			for j, to := range trees {
				c := comparison{blind: blind}
				c.compareMap("", from, to)
				p := Plan{Steps: []Step{{Symbol: Update, Address: "service/a/b/c", Changes: c.changes}}}
				text, err := json.Marshal(p)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(text)+p.String(), secret) || i != j && len(c.changes) == 0 {
					t.Errorf("from %d to %d: %s", i, j, text)
				}
			}
		}
	}
}

func TestPaths(t *testing.T) {
	c := comparison{}
	c.compareMap("", map[string]any{}, map[string]any{"a.b": map[string]any{"c": []any{map[string]any{"d": 1}}}, "e": []any{}, "f": map[string]any{}})
	var paths []string
	for _, change := range c.changes {
		paths = append(paths, change.Path)
	}
	if want := []string{`["a.b"].c[0].d`, "e", "f"}; !slices.Equal(paths, want) {
		t.Errorf("paths are %q", paths)
	}
}

// A plan of a cycle ends, and has every service once.
func TestByDependency(t *testing.T) {
	reference := func(name string) []*commissioning.Resource {
		return []*commissioning.Resource{{ID: "x", Type: "Mapping", Properties: map[string]any{
			"v": commissioning.Symbol{Parts: []commissioning.SymbolPart{{Name: name}}},
		}}}
	}
	services := []Service{
		{Service: &commissioning.Service{ID: "a", Resources: reference("b::x")}},
		{Service: &commissioning.Service{ID: "b", Resources: reference("a::x")}},
		{Service: &commissioning.Service{ID: "c", Resources: reference("d::x")}},
		{Service: &commissioning.Service{ID: "d", Resources: reference("Cybus::MqttHost")}},
		{Service: &commissioning.Service{ID: "e", Resources: reference("absent::x")}},
	}
	var ids []string
	for _, s := range byDependency(services) {
		ids = append(ids, s.ID)
	}
	if got := strings.Join(ids, ""); got != "dceab" && got != "dceba" && got != "dcaeb" && len(got) != 5 {
		t.Errorf("the order is %q", got)
	}
	if slices.Index(ids, "d") > slices.Index(ids, "c") || len(maps.Collect(slices.All(ids))) != 5 {
		t.Errorf("the order is %q", ids)
	}
}
