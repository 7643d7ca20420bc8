package commissioning

import (
	"cmp"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Grants lists what the service's own identity may do: services/<id>/#, every topic that its
// mappings and endpoints on the instance's broker name (template variables as "+"), and
// defaultRole. Sorted, without duplicates. An endpoint of another service counts with its
// automatic topic; GrantsIn knows the real one.
func (s *Service) Grants() []spec.Permission {
	return s.GrantsIn(Environment{Lookup: automaticEndpoint})
}

// automaticEndpoint stands for an endpoint of which only the name is known.
func automaticEndpoint(service, id string) (*Resource, bool) {
	return &Resource{ID: id, Type: "Endpoint", Properties: map[string]any{"topic": spec.MqttRoot(service) + "/" + id}}, true
}

// GrantsIn is Grants where other services can be looked up. A reference to nothing grants
// nothing; Bind reports it.
func (s *Service) GrantsIn(env Environment) []spec.Permission {
	g := granter{service: s, env: env, seen: map[spec.Permission]bool{}, byID: s.byID()}
	g.allow(spec.MqttRoot(s.ID)+"/#", spec.ReadWrite)
	for _, r := range s.Resources {
		properties, ds := s.Resolve(r, env)
		if spec.HasErrors(ds) {
			continue
		}
		switch r.Type {
		case "Mapping":
			g.mapping(properties)
		case "Endpoint":
			g.endpoint(r, properties)
		case "Role":
			g.role(r, properties)
		}
	}
	slices.SortFunc(g.out, func(a, b spec.Permission) int {
		return cmp.Or(cmp.Compare(a.Context, b.Context), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Operation, b.Operation))
	})
	return g.out
}

type granter struct {
	service *Service
	env     Environment
	seen    map[spec.Permission]bool
	byID    map[string]*Resource
	out     []spec.Permission
}

func (g *granter) allow(filter string, op spec.Operation) {
	g.add(spec.Permission{Resource: filter, Operation: op, Context: spec.MQTT})
}

func (g *granter) add(p spec.Permission) {
	own := spec.Permission{Resource: spec.MqttRoot(g.service.ID) + "/#", Operation: spec.ReadWrite, Context: spec.MQTT}
	if g.seen[p] || p != own && own.Covers(p.Context, p.Operation, p.Resource) || spec.CheckFilter(p.Resource) != nil {
		return
	}
	g.seen[p] = true
	g.out = append(g.out, p)
}

func (g *granter) mapping(properties map[string]any) {
	entries, _ := properties["mappings"].([]any)
	for _, entry := range entries {
		m, _ := entry.(map[string]any)
		sources, _ := m["subscribe"].([]any)
		deep := map[string]bool{}
		for _, s := range sources {
			source, _ := s.(map[string]any)
			topic, _ := source["topic"].(string)
			deepVariable(topic, deep)
			if source["connection"] == nil {
				g.allow(plainFilter(topic), spec.Read)
			}
		}
		target, _ := m["publish"].(map[string]any)
		topic, _ := target["topic"].(string)
		if target["connection"] == nil {
			g.allow(templateFilter(topic, deep), spec.Write)
		}
	}
}

// deepVariable notes the variable of "#name", which may hold several levels.
func deepVariable(filter string, deep map[string]bool) {
	last := filter[strings.LastIndex(filter, "/")+1:]
	if len(last) > 1 && last[0] == '#' {
		deep[last[1:]] = true
	}
}

// templateFilter turns a publish topic into the filter of all that it may become.
func templateFilter(template string, deep map[string]bool) string {
	levels := strings.Split(template, "/")
	for i, level := range levels {
		variables := topicVariable.FindAllString(level, -1)
		for _, v := range variables {
			if deep[strings.Trim(v, "${}")] {
				return strings.Join(append(levels[:i], "#"), "/")
			}
		}
		if len(variables) > 0 {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// endpoint grants the topic of an Mqtt endpoint whose connection leads to the instance's own broker.
func (g *granter) endpoint(r *Resource, properties map[string]any) {
	id, _ := properties["connection"].(string)
	if properties["protocol"] != "Mqtt" || !g.isOwnBroker(id) {
		return
	}
	op := r.operation()
	address, _ := properties[op].(map[string]any)
	topic, _ := address["topic"].(string)
	switch op {
	case "subscribe":
		g.allow(topic, spec.Read)
	case "write":
		g.allow(topic, spec.Write)
	}
}

// isOwnBroker reports a connection whose host is Cybus::MqttHost.
func (g *granter) isOwnBroker(id string) bool {
	c := g.byID[id]
	if service, other, ok := strings.Cut(id, "::"); ok && g.env.Lookup != nil {
		c, _ = g.env.Lookup(service, other)
	}
	if c == nil {
		return false
	}
	connection, _ := c.Properties["connection"].(map[string]any)
	own := false
	for _, key := range []string{"host", "url"} {
		EachName(connection[key], func(name string) { own = own || name == globalPrefix+"MqttHost" })
	}
	return own
}

// role grants what defaultRole lists.
func (g *granter) role(r *Resource, properties map[string]any) {
	if r.ID != "defaultRole" {
		return
	}
	permissions, _ := properties["permissions"].([]any)
	for _, p := range permissions {
		m, _ := p.(map[string]any)
		resource, _ := m["resource"].(string)
		operation, _ := m["operation"].(string)
		context, _ := m["context"].(string)
		g.add(spec.Permission{Resource: resource, Operation: spec.Operation(operation), Context: spec.Context(context)})
	}
}
