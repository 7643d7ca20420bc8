package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
)

// evaluate works a service out of what is stored of it. The diagnostics are in the service;
// with errors among them it must not be installed. An empty id is taken from the file.
func (c *Control) evaluate(record serviceRecord) (*service, error) {
	parameters, err := decodeParameters(record.Content.Parameters)
	if err != nil {
		return nil, err
	}
	s := &service{record: record, canonical: &commissioning.Service{ID: record.ID}}
	file, found := commissioning.Parse(record.Content.FileName, []byte(record.Content.Source))
	if file != nil {
		canonical, more := file.Evaluate(commissioning.Input{
			ID: record.ID, Parameters: parameters, Sensitive: record.Content.SecretNames, CheckExpression: c.opts.CheckExpression,
		})
		found = append(found, more...)
		if canonical != nil {
			s.canonical = canonical
			c.markUnsupported(canonical)
		}
	}
	s.record.ID, s.refers = s.canonical.ID, s.canonical.References()
	s.index()
	if !spec.HasErrors(found) {
		if err := spec.CheckServiceID(s.record.ID); err != nil {
			return nil, spec.Errorf(spec.Invalid, "cannot tell the service's id: %w", err).
				WithHint("give an id, or set metadata.name in the file")
		}
	}
	spec.SortDiagnostics(found)
	for _, d := range found {
		if d.Severity == spec.SeverityError {
			s.errors = append(s.errors, d)
			continue
		}
		s.warnings = append(s.warnings, d)
	}
	return s, nil
}

// index finds resources, and which mapper runs each, by id.
func (s *service) index() {
	s.byID, s.agents = map[string]*commissioning.Resource{}, map[string]string{}
	for _, r := range s.canonical.Resources {
		s.byID[r.ID], s.agents[r.ID] = r, spec.DefaultAgent
		if name, ok := r.Properties["agentName"].(string); ok && name != "" {
			s.agents[r.ID] = name
		}
	}
}

// markUnsupported notes what names a protocol that this build has no driver for.
func (c *Control) markUnsupported(s *commissioning.Service) {
	for _, r := range s.Resources {
		name, ok := r.Properties["protocol"].(string)
		if known, found := protocol.Lookup(name); found {
			name = known.Name // files write it in any case
		}
		if ok && r.Unsupported == "" && c.opts.Supports != nil && !c.opts.Supports(name) {
			r.Unsupported = fmt.Sprintf("this build has no driver for protocol %q", name)
		}
	}
}

// decodeParameters keeps all digits of a number.
func decodeParameters(text json.RawMessage) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var parameters map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&parameters); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the parameters: %w", err)
	}
	return parameters, nil
}

// bind works out what a mapper gets of a service: everything resolved, without what this
// build cannot run. The diagnostics name references to nothing.
func (c *Control) bind(m *model, s *service) ([]spec.Resource, []spec.Diagnostic) {
	resources, found := s.canonical.Bind(c.environment(m, s))
	unsupported := map[string]bool{}
	for _, r := range s.canonical.Resources {
		unsupported[r.ID] = r.Unsupported != ""
	}
	resources = slices.DeleteFunc(resources, func(r spec.Resource) bool { return unsupported[r.ID] })
	for i := range resources {
		resources[i].Generation = s.record.Generation
	}
	return resources, found
}

// runs reports whether the service is to run: it is enabled, and this build accepts it.
func (s *service) runs() bool { return s.record.Enabled && len(s.errors) == 0 }

// rebind puts into m what the changed services and those that refer to others come to.
func (c *Control) rebind(m *model, changed map[string]bool) {
	for id := range m.bound {
		if s, ok := m.services[id]; !ok || !s.runs() {
			delete(m.bound, id)
		}
	}
	for id, s := range m.services {
		_, have := m.bound[id]
		if !s.runs() || have && !changed[id] && len(s.refers) == 0 {
			continue
		}
		resources, found := c.bind(m, s)
		for _, d := range found {
			c.opts.Log.Warn("a service is not complete", "service", id, "diagnostic", d.String())
		}
		m.bound[id] = resources
	}
}
