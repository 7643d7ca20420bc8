package commissioning

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Bind replaces every Symbol and Secret by its value and returns the resources as the
// runtime gets them: Connection, Endpoint (Topic is the whole topic, Connection an id or
// "service::id") and Mapping (endpoints have become topics), in order. Resources of other
// types are not part of it; Resolve gives those. A reference that Lookup does not find is
// an error diagnostic, and its resource is left out.
func (s *Service) Bind(env Environment) ([]spec.Resource, []spec.Diagnostic) {
	var out []spec.Resource
	var found []spec.Diagnostic
	for _, r := range s.Order() {
		if r.Type != "Connection" && r.Type != "Endpoint" && r.Type != "Mapping" {
			continue
		}
		properties, ds := s.Resolve(r, env)
		found = append(found, ds...)
		if spec.HasErrors(ds) {
			continue
		}
		raw, err := json.Marshal(properties)
		if err != nil {
			found = append(found, r.diagnose(fmt.Sprintf("cannot be written as JSON: %v", err)))
			continue
		}
		out = append(out, spec.Resource{Service: s.ID, ID: r.ID, Type: r.Type, Properties: raw})
	}
	spec.SortDiagnostics(found)
	return out, found
}

// Resolve returns a resource's properties without Symbol and Secret: plain values, secrets among them.
func (s *Service) Resolve(r *Resource, env Environment) (map[string]any, []spec.Diagnostic) {
	b := binder{env: env, resource: r}
	properties, _ := b.value(r.Properties, "").(map[string]any)
	if r.Type == "Mapping" {
		b.endpoints(properties)
	}
	return properties, b.found
}

func (r *Resource) diagnose(message string) spec.Diagnostic {
	return spec.Diagnostic{
		Position: r.Position, Severity: spec.SeverityError, Code: "unknown-reference",
		Message: fmt.Sprintf("resource %q: %s", r.ID, message),
	}
}

type binder struct {
	env      Environment
	resource *Resource
	found    []spec.Diagnostic
}

// value copies the tree. Key is the map key that v stands under: under some, a reference
// names the resource itself, not what it stands for.
func (b *binder) value(v any, key string) any {
	switch v := v.(type) {
	case Secret:
		return b.value(v.Value, key)
	case Symbol:
		return b.symbol(v, key)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = b.value(item, key)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[name] = b.value(item, name)
		}
		return out
	}
	return v
}

func (b *binder) symbol(s Symbol, key string) any {
	if len(s.Parts) == 1 && s.Parts[0].Name == globalPrefix+"MqttPort" {
		return json.Number(fmt.Sprint(b.env.MqttPort))
	}
	if len(s.Parts) == 1 && b.named(key) && !strings.HasPrefix(s.Parts[0].Name, globalPrefix) {
		b.foreign(s.Parts[0].Name) // it must be there; what it stands for is looked up where it is used
		return s.Parts[0].Name
	}
	var text strings.Builder
	for _, p := range s.Parts {
		if p.Name == "" {
			text.WriteString(p.Text)
			continue
		}
		text.WriteString(b.name(p.Name))
	}
	return text.String()
}

// named reports a key under which a reference names the resource itself.
func (b *binder) named(key string) bool {
	return key == "connection" && (b.resource.Type == "Endpoint" || b.resource.Type == "Mapping") ||
		key == "endpoint" && b.resource.Type == "Mapping"
}

func (b *binder) name(name string) string {
	switch name {
	case globalPrefix + "MqttHost":
		return b.env.MqttHost
	case globalPrefix + "MqttPort":
		return fmt.Sprint(b.env.MqttPort)
	case globalPrefix + "MqttUser":
		return b.env.MqttUser
	case globalPrefix + "MqttPassword":
		return b.env.MqttPassword
	}
	service, _, _ := strings.Cut(name, "::")
	if r := b.foreign(name); r != nil {
		return b.standsFor(service, r)
	}
	return ""
}

// foreign finds a resource of another service.
func (b *binder) foreign(name string) *Resource {
	service, id, _ := strings.Cut(name, "::")
	if b.env.Lookup != nil {
		if r, ok := b.env.Lookup(service, id); ok {
			return r
		}
	}
	d := b.resource.diagnose(fmt.Sprintf("refers to %q, but no service %q with a resource %q is installed", name, service, id))
	d.Hint = "install that service first"
	b.found = append(b.found, d)
	return nil
}

// standsFor is what a reference to the resource reads as.
func (b *binder) standsFor(service string, r *Resource) string {
	switch r.Type {
	case "Container", "Volume":
		return service + "-" + r.ID
	case "Endpoint":
		topic, _ := b.value(r.Properties["topic"], "topic").(string)
		return topic
	case "Node::Http", "Node::Opcua":
		return spec.MqttRoot(service) + "/" + r.ID
	}
	return r.ID
}

// endpoints replaces those of other services by their topics.
func (b *binder) endpoints(properties map[string]any) {
	entries, _ := properties["mappings"].([]any)
	for _, entry := range entries {
		m, _ := entry.(map[string]any)
		sources, _ := m["subscribe"].([]any)
		for _, s := range sources {
			b.endpoint(s, false)
		}
		b.endpoint(m["publish"], true)
	}
}

func (b *binder) endpoint(v any, target bool) {
	m, _ := v.(map[string]any)
	name, ok := m["endpoint"].(string)
	if !ok || b.env.Lookup == nil {
		return
	}
	service, id, _ := strings.Cut(name, "::")
	r, ok := b.env.Lookup(service, id)
	if !ok {
		return // value has reported it
	}
	delete(m, "endpoint")
	topic := b.standsFor(service, r)
	if target {
		topic += targetSuffix(r.operation())
	}
	m["topic"] = topic
}

// operation is what an Endpoint does: "subscribe", "read", "write", else "".
func (r *Resource) operation() string {
	for _, op := range operations {
		if r.Type == "Endpoint" && r.Properties[op] != nil {
			return op
		}
	}
	return ""
}

// Decode reads a bound resource's properties into its struct (Connection, Endpoint, Mapping);
// defaults are already in them. Integers keep all their digits.
func Decode[T any](properties []byte) (T, error) {
	var v T
	decoder := json.NewDecoder(bytes.NewReader(properties))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return v, spec.Errorf(spec.Invalid, "cannot decode %T: %w", v, err)
	}
	return v, nil
}

// connectionFields is Connection without its methods.
type connectionFields Connection

// UnmarshalJSON takes connectionStrategy out of the protocol's own properties.
func (c *Connection) UnmarshalJSON(raw []byte) error {
	fields, err := Decode[connectionFields](raw)
	if err != nil {
		return err
	}
	*c = Connection(fields)
	strategy, ok := c.Connection["connectionStrategy"]
	if !ok {
		return nil
	}
	delete(c.Connection, "connectionStrategy")
	text, err := json.Marshal(strategy)
	if err != nil {
		return fmt.Errorf("cannot read connectionStrategy: %w", err)
	}
	return json.Unmarshal(text, &c.Strategy)
}

// MarshalJSON puts the strategy back among the protocol's own properties.
func (c Connection) MarshalJSON() ([]byte, error) {
	fields := connectionFields(c)
	if c.Strategy != (Strategy{}) {
		fields.Connection = make(map[string]any, len(c.Connection)+1)
		for k, v := range c.Connection {
			fields.Connection[k] = v
		}
		fields.Connection["connectionStrategy"] = c.Strategy
	}
	return json.Marshal(fields)
}
