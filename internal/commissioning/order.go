package commissioning

import (
	"slices"
	"strings"
)

// Order returns the resources so that each comes after what it depends on; ties by id.
// Members of a cycle, which Evaluate reports, come in the order of their ids.
func (s *Service) Order() []*Resource {
	byID := s.byID()
	out := make([]*Resource, 0, len(s.Resources))
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		r := byID[id]
		if r == nil || seen[id] {
			return
		}
		seen[id] = true
		for _, needed := range r.DependsOn {
			visit(needed)
		}
		out = append(out, r)
	}
	for _, id := range sortedKeys(byID) {
		visit(id)
	}
	return out
}

func (s *Service) byID() map[string]*Resource {
	byID := make(map[string]*Resource, len(s.Resources))
	for _, r := range s.Resources {
		byID[r.ID] = r
	}
	return byID
}

// References lists the other services that the resources name, sorted.
func (s *Service) References() []string {
	names := map[string]bool{}
	for _, r := range s.Resources {
		EachName(r.Properties, func(name string) {
			if service, _, ok := strings.Cut(name, "::"); ok && !strings.HasPrefix(name, globalPrefix) {
				names[service] = true
			}
		})
	}
	return slices.Clip(sortedKeys(names))
}

// EachName calls found with every name that stays symbolic in a canonical value: a global
// such as "Cybus::MqttHost", or a resource of another service, "other::resource".
func EachName(v any, found func(name string)) {
	switch x := v.(type) {
	case Symbol:
		for _, p := range x.Parts {
			if p.Name != "" {
				found(p.Name)
			}
		}
	case Secret:
		EachName(x.Value, found)
	case map[string]any:
		for _, e := range x {
			EachName(e, found)
		}
	case []any:
		for _, e := range x {
			EachName(e, found)
		}
	}
}
