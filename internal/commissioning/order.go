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
		walkSymbols(r.Properties, func(name string) {
			if service, _, ok := strings.Cut(name, "::"); ok && !strings.HasPrefix(name, globalPrefix) {
				names[service] = true
			}
		})
	}
	return slices.Clip(sortedKeys(names))
}

// walkSymbols calls visit with each name that is still symbolic.
func walkSymbols(v any, visit func(name string)) {
	switch v := v.(type) {
	case Symbol:
		for _, p := range v.Parts {
			if p.Name != "" {
				visit(p.Name)
			}
		}
	case Secret:
		walkSymbols(v.Value, visit)
	case []any:
		for _, item := range v {
			walkSymbols(item, visit)
		}
	case map[string]any:
		for _, item := range v {
			walkSymbols(item, visit)
		}
	}
}
