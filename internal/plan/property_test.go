package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// generator makes small states out of a seed; few names, so that states overlap.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 1))} }

func (g generator) pick(options ...string) string { return options[g.IntN(len(options))] }

func (g generator) state() State {
	var s State
	for _, name := range g.names() {
		s.Roles = append(s.Roles, Role{Name: name, Owner: g.owner(), Permissions: g.permissions()})
	}
	for _, name := range g.names() {
		s.Users = append(s.Users, User{
			Name: name, Owner: g.owner(), Password: g.pick("h1", "h2"), Roles: g.names(), Permissions: g.permissions(), Grants: []spec.Grant{spec.GrantToken},
		})
	}
	for _, id := range g.names() {
		s.Services = append(s.Services, g.service(id))
	}
	return s
}

func (g generator) names() []string {
	var names []string
	for _, name := range []string{"a", "b", "c", "d"} {
		if g.IntN(2) == 0 {
			names = append(names, name)
		}
	}
	return names
}

func (g generator) owner() string { return g.pick("api", "stack:x") }

func (g generator) permissions() []spec.Permission {
	var list []spec.Permission
	for _, name := range g.names() {
		list = append(list, permission(name+"/#", spec.Operation(g.pick("read", "write"))))
	}
	return list
}

func (g generator) service(id string) Service {
	c := &commissioning.Service{ID: id, Name: g.pick("", "x"), Version: g.pick("1", "2"), Metadata: map[string]any{"k": g.value(2)}}
	for _, name := range g.names() {
		c.Parameters = append(c.Parameters, commissioning.Parameter{Name: name, Value: g.value(1)})
	}
	for _, name := range g.names() {
		c.Resources = append(c.Resources, g.resource(name))
	}
	return Service{Service: c, Owner: g.owner(), Enabled: g.IntN(3) > 0, Grants: g.permissions()}
}

func (g generator) resource(name string) *commissioning.Resource {
	r := &commissioning.Resource{ID: name, Type: g.pick("Connection", "Endpoint", "Mapping", "Role"), Properties: map[string]any{"p": g.value(3), "protocol": g.pick("Mqtt", "Modbus")}}
	if r.Type == "Endpoint" {
		r.Properties[g.pick("subscribe", "read")] = map[string]any{"n": g.value(1)}
		r.Properties["connection"] = g.pick("a", "b")
	}
	if g.IntN(4) == 0 {
		r.DependsOn = []string{g.pick("a", "b")}
	}
	return r
}

func (g generator) value(depth int) any {
	switch n := g.IntN(9); {
	case n == 0 && depth > 0:
		m := map[string]any{}
		for _, key := range []string{"x", "y.z", "0"}[:g.IntN(4)] {
			m[key] = g.value(depth - 1)
		}
		return m
	case n == 1 && depth > 0:
		list := []any{}
		for range g.IntN(3) {
			list = append(list, g.value(depth-1))
		}
		return list
	case n == 2:
		return nil
	case n == 3:
		return g.IntN(2) == 0
	case n == 4:
		return commissioning.Symbol{Parts: []commissioning.SymbolPart{{Text: "x-"}, {Name: g.pick("Cybus::MqttHost", "a::b", "c::d")}}}
	case n < 7:
		return json.Number(g.pick("1", "2", "9007199254740993", "0.5"))
	}
	return g.pick("one", "two", "")
}

func (g generator) shuffled(s State) State {
	s = State{Roles: slices.Clone(s.Roles), Users: slices.Clone(s.Users), Services: slices.Clone(s.Services)}
	g.Shuffle(len(s.Roles), reflect.Swapper(s.Roles))
	g.Shuffle(len(s.Users), reflect.Swapper(s.Users))
	g.Shuffle(len(s.Services), reflect.Swapper(s.Services))
	for i, service := range s.Services {
		c := *service.Service
		c.Resources, c.Parameters = slices.Clone(c.Resources), slices.Clone(c.Parameters)
		g.Shuffle(len(c.Resources), reflect.Swapper(c.Resources))
		g.Shuffle(len(c.Parameters), reflect.Swapper(c.Parameters))
		s.Services[i].Service = &c
		s.Services[i].Grants = slices.Clone(service.Grants)
		g.Shuffle(len(service.Grants), reflect.Swapper(s.Services[i].Grants))
	}
	for i := range s.Users {
		s.Users[i].Roles = slices.Clone(s.Users[i].Roles)
		g.Shuffle(len(s.Users[i].Roles), reflect.Swapper(s.Users[i].Roles))
	}
	return s
}

// facts is a state as flat lines, without what a plan does not carry: secrets, empty
// containers, nulls.
type facts map[string]map[string]string

func factsOf(t *testing.T, s State) facts {
	t.Helper()
	f := facts{}
	p := mustPlan(t, Input{Desired: s})
	if _, err := Apply(t.Context(), p, f, nil); err != nil {
		t.Fatal(err)
	}
	return f
}

// ApplyObject patches the facts with nothing but what the steps say.
func (f facts) ApplyObject(_ context.Context, _ string, steps []Step) error {
	for _, s := range steps {
		if s.Symbol == Delete {
			delete(f, s.Address)
			continue
		}
		if f[s.Address] == nil {
			f[s.Address] = map[string]string{}
		}
		if s.Symbol == Create && strings.HasPrefix(s.Address, servicePrefix) && s.Address == objectOf(s.Address) {
			f[s.Address]["enabled"] = "true" // a new service is, unless its step says otherwise
		}
		for _, c := range s.Changes {
			f.patch(s.Address, c)
		}
	}
	return nil
}

// without lists the facts that others lack.
func (f facts) without(others facts) string {
	var lines []string
	for address, attributes := range f {
		for path, value := range attributes {
			if others[address][path] != value {
				lines = append(lines, address+" "+path+": "+value)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// sets are the paths whose changes are members that come or go.
var sets = []string{"permissions", "roles", "grants"}

func (f facts) patch(address string, c Change) {
	if c.Path == "dependsOn" { // not told of a new resource
		return
	}
	set := slices.Contains(sets, c.Path)
	if c.From != nil {
		flatten(c.Path, c.From, func(path, value string) { delete(f[address], member(set, path, value)) })
	}
	if c.To != nil {
		flatten(c.Path, c.To, func(path, value string) { f[address][member(set, path, value)] = value })
	}
}

func member(set bool, path, value string) string {
	if set {
		return path + "=" + value
	}
	return path
}

func flatten(path string, v any, found func(path, value string)) {
	switch x := v.(type) {
	case nil:
	case map[string]any:
		for k, e := range x {
			flatten(joinPath(path, k), e, found)
		}
	case []any:
		for i, e := range x {
			flatten(path+"["+strconv.Itoa(i)+"]", e, found)
		}
	default:
		found(path, fmt.Sprint(v))
	}
}

// What is compared is no step; and what the steps say is all that it takes.
func checkDiff(t *testing.T, seed uint64) {
	t.Helper()
	g := newGenerator(seed)
	actual, desired := g.state(), g.state()
	if p := mustPlan(t, Input{Desired: desired, Actual: g.shuffled(desired)}); !p.Empty() {
		t.Fatalf("seed %d: the same state differs:\n%s", seed, p)
	}
	p := mustPlan(t, Input{Desired: desired, Actual: actual})
	other := mustPlan(t, Input{Desired: g.shuffled(desired), Actual: g.shuffled(actual)})
	if !reflect.DeepEqual(p, other) || p.String() != other.String() {
		t.Fatalf("seed %d: the order of the input changes the plan:\n%s\n%s", seed, p, other)
	}
	reached := factsOf(t, actual)
	if _, err := Apply(t.Context(), p, reached, nil); err != nil {
		t.Fatal(err)
	}
	if want := factsOf(t, desired); !maps.EqualFunc(reached, want, maps.Equal) {
		t.Fatalf("seed %d: the plan\n%s\nreaches\n%s\nnot\n%s", seed, p, reached.without(want), want.without(reached))
	}
	checkOrder(t, seed, p)
}

// An object's own step precedes those of its resources, the steps of an object are in one
// place, and creations come before deletions.
func checkOrder(t *testing.T, seed uint64, p Plan) {
	t.Helper()
	ended := map[string]bool{}
	last, deleting := "", false
	for _, s := range p.Steps {
		object := objectOf(s.Address)
		if object != last && ended[object] {
			t.Fatalf("seed %d: the steps of %s are in two places:\n%s", seed, object, p)
		}
		if object != last && deleting && s.Symbol != Delete {
			t.Fatalf("seed %d: %s comes after a deletion:\n%s", seed, s.Address, p)
		}
		if object == s.Address {
			if object == last {
				t.Fatalf("seed %d: %s comes after its resources:\n%s", seed, object, p)
			}
			deleting = deleting || s.Symbol == Delete
		}
		ended[object], last = true, object
		if s.Cause == "" || s.Disturbs.Check() != nil || strings.Contains(s.Cause, "  ") {
			t.Fatalf("seed %d: step %+v is not complete", seed, s)
		}
	}
}

func TestDiffProperties(t *testing.T) {
	for seed := range uint64(400) {
		checkDiff(t, seed)
	}
}

func FuzzDiff(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkDiff)
}
