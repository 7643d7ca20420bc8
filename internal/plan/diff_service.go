package plan

import (
	"cmp"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// Estimates of how long something is silent, in seconds.
const (
	secondsEndpoint   = 1
	secondsConnection = 2
	secondsService    = 3
	secondsContainer  = 5
)

// diffService makes the steps of one service: its own, then those of its resources, in the
// order of their dependencies, and those that go away in reverse.
func diffService(in Input, index *index, desired, actual *Service) []Step {
	from, to := emptyService(actual), emptyService(desired)
	own := comparison{blind: to.SecretsNotCompared}
	own.compare("name", textOrMissing(from.Name), textOrMissing(to.Name))
	own.compare("version", textOrMissing(from.Version), textOrMissing(to.Version))
	own.compare("description", textOrMissing(from.Description), textOrMissing(to.Description))
	own.compareMetadata(from.Metadata, to.Metadata)
	own.compareParameters(from.Parameters, to.Parameters)
	if actual != nil && desired != nil {
		own.compare("enabled", from.Enabled, to.Enabled)
	}
	changes := slices.Concat(compareOwner(from.Owner, to.Owner), own.changes, compareSecretParameters(from, to),
		compareSet("grants", from.Grants, to.Grants, permissionText))

	resources := diffResources(index, from, to)
	first := Step{
		Address: ServiceAddress(cmp.Or(to.ID, from.ID)), Changes: changes, Disturbs: DisturbsNone,
		Cause: in.Causes[ServiceAddress(cmp.Or(to.ID, from.ID))],
	}
	switch {
	case actual == nil:
		first.Symbol, first.Cause = Create, cmp.Or(first.Cause, "not installed yet")
		if !to.Enabled {
			first.Changes = append(first.Changes, Change{Path: "enabled", To: false})
		}
	case desired == nil:
		first.Symbol, first.Cause = Delete, cmp.Or(first.Cause, "state absent was asked for")
	case !compared(changes) && !to.Restart:
		return resources
	case to.Restart && !compared(changes):
		first.Symbol, first.Cause = Update, "restart was asked for"
	case to.Restart:
		first.Symbol, first.Cause = Update, "restart was asked for, "+causeOf(changes)
	default:
		first.Symbol, first.Cause = Update, causeOf(changes)
	}
	index.disturbService(&first, from, to, desired == nil)
	return append([]Step{first}, resources...)
}

// disturbService marks the step that stops or restarts a running service.
func (x *index) disturbService(s *Step, from, to Service, deleted bool) {
	if !from.Enabled || (to.Enabled && !to.Restart && !deleted) {
		return
	}
	s.Disturbs = DisturbsService
	for _, r := range from.Resources {
		if running(r) {
			s.Stops = append(s.Stops, x.topicsOf(from.ID, r)...)
		}
	}
	s.Stops = x.silent(s.Stops)
	if to.Restart && to.Enabled {
		s.Seconds = secondsService
	}
}

func (c *comparison) compareMetadata(from, to map[string]any) {
	for _, key := range []string{"name", "version"} { // have attributes of their own
		from, to = without(from, key), without(to, key)
	}
	c.compareMap("metadata", orEmpty(from), orEmpty(to))
}

func (c *comparison) compareParameters(from, to []commissioning.Parameter) {
	c.compareMap("parameters", parameterMap(from), parameterMap(to))
}

// compareSecretParameters compares which parameters were given as secrets, and their label:
// another label says that they are others.
func compareSecretParameters(from, to Service) []Change {
	changes := compareSet("secret_parameters", from.SecretParameters, to.SecretParameters, func(s string) string { return s })
	label := compareLabel("secret_label", from.SecretLabel, to.SecretLabel)
	if len(changes) == 0 && label != nil && to.SecretLabel != "" {
		changes = append(changes, Change{Path: "secret_parameters", Sensitive: true})
	}
	return append(changes, label...)
}

func parameterMap(parameters []commissioning.Parameter) map[string]any {
	m := map[string]any{}
	for _, p := range parameters {
		m[p.Name] = p.Value
		if p.Sensitive && !isSecret(p.Value) {
			m[p.Name] = commissioning.Secret{Value: p.Value}
		}
	}
	return m
}

// diffResources compares resource by resource.
func diffResources(index *index, from, to Service) []Step {
	before := map[string]*commissioning.Resource{}
	for _, r := range from.Resources {
		before[r.Type+"/"+r.ID] = r
	}
	var steps []Step
	after := map[string]bool{}
	for _, r := range to.Order() {
		key := r.Type + "/" + r.ID
		after[key] = true
		if s, ok := diffResource(index, from, to, before[key], r); ok {
			steps = append(steps, s)
		}
	}
	for _, r := range slices.Backward(from.Order()) {
		if after[r.Type+"/"+r.ID] {
			continue
		}
		s, _ := diffResource(index, from, to, r, nil)
		if to.ID == "" {
			s.Cause = "its service is deleted"
		}
		steps = append(steps, s)
	}
	return steps
}

// diffResource makes a resource's step. One of from and to may be nil; ok is false where
// nothing differs.
func diffResource(index *index, was, willBe Service, from, to *commissioning.Resource) (step Step, ok bool) {
	c := comparison{blind: willBe.SecretsNotCompared}
	c.compareMap("", properties(from), properties(to))
	c.changes = slices.Concat(c.changes, compareDependsOn(from, to))
	r := to
	if r == nil {
		r = from
	}
	step = Step{
		Address: spec.ResourceAddress(cmp.Or(willBe.ID, was.ID), r.Type, r.ID), Changes: c.changes,
		Disturbs: DisturbsNone, Unsupported: r.Unsupported,
	}
	switch {
	case from == nil:
		step.Symbol, step.Cause = Create, "new in the file"
		return step, true
	case to == nil:
		step.Symbol, step.Cause, step.Unsupported = Delete, "no longer in the file", ""
	case !compared(c.changes):
		return Step{}, false
	case replaces(from, to):
		step.Symbol, step.Cause = Replace, index.cause(willBe, c.changes, to)
	default:
		step.Symbol, step.Cause = Update, index.cause(willBe, c.changes, to)
	}
	if was.Enabled && running(from) {
		index.disturb(&step, was, from)
	}
	return step, true
}

// replaces reports whether the resource becomes another one under the same name: a
// connection of another protocol, an endpoint that writes where it read.
func replaces(from, to *commissioning.Resource) bool {
	if !equalValue(from.Properties["protocol"], to.Properties["protocol"]) {
		return true
	}
	return slices.ContainsFunc([]string{"subscribe", "read", "write"}, func(operation string) bool {
		_, was := from.Properties[operation]
		_, is := to.Properties[operation]
		return from.Type == "Endpoint" && was != is
	})
}

func compareDependsOn(from, to *commissioning.Resource) []Change {
	var f, t []string
	if from != nil {
		f = from.DependsOn
	}
	if to != nil {
		t = to.DependsOn
	}
	if from == nil || to == nil {
		return nil // follows from the other attributes, or is of no interest in a new resource
	}
	return compareSet("dependsOn", f, t, func(s string) string { return s })
}

func properties(r *commissioning.Resource) any {
	if r == nil {
		return missing{}
	}
	return orEmpty(r.Properties)
}

func emptyService(s *Service) Service {
	if s == nil {
		return Service{Service: &commissioning.Service{}}
	}
	return *s
}

func textOrMissing(s string) any {
	if s == "" {
		return missing{}
	}
	return s
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

func without(m map[string]any, key string) map[string]any {
	c := map[string]any{}
	for k, v := range m {
		if k != key {
			c[k] = v
		}
	}
	return c
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
