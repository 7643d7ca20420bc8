package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// index knows, over all services, which resources run on a connection, which refer to a
// resource of another service, and what mappings make of topics.
type index struct {
	users      map[string][]string // topics of what runs on a connection, by the connection's key
	dependents map[string][]string // topics of what refers to a resource of another service, by its key
	topics     map[string]string   // of endpoints, by key
	writable   map[string]bool     // endpoints that write, by key
	feeds      []feed
	exact      map[string][]int // feeds by a source without wildcards
	wild       []int            // feeds with a source that has one
}

// newIndex looks at what runs now.
func newIndex(in Input) *index {
	x := &index{
		users: map[string][]string{}, dependents: map[string][]string{},
		topics: map[string]string{}, writable: map[string]bool{}, exact: map[string][]int{},
	}
	services := slices.Concat(in.Actual.Services, in.Others)
	for _, s := range services {
		for _, r := range s.Resources {
			if r.Type == "Endpoint" {
				key := spec.ResourceKey(s.ID, r.ID)
				x.topics[key] = endpointTopic(s.ID, r)
				_, x.writable[key] = r.Properties["write"]
			}
		}
	}
	for _, s := range services {
		for _, r := range s.Resources {
			if s.Enabled && running(r) {
				x.add(s.ID, r)
			}
		}
	}
	return x
}

// add notes a running resource.
func (x *index) add(service string, r *commissioning.Resource) {
	topics := x.topicsOf(service, r)
	for key := range connectionsOf(service, r) {
		x.users[key] = append(x.users[key], topics...)
	}
	for key := range foreignKeys(r.Properties) {
		x.dependents[key] = append(x.dependents[key], topics...)
	}
	x.addFeeds(r)
}

// disturb says what stops while a running resource changes or goes.
func (x *index) disturb(s *Step, service Service, r *commissioning.Resource) {
	key := spec.ResourceKey(service.ID, r.ID)
	switch {
	case r.Type == "Connection":
		s.Disturbs, s.Seconds = DisturbsConnection, secondsConnection
		s.Stops = x.users[key]
	case strings.HasPrefix(r.Type, "Server::"):
		s.Disturbs, s.Seconds = DisturbsConnection, secondsConnection
	case r.Type == "Endpoint" || r.Type == "Mapping" || strings.HasPrefix(r.Type, "Node::"):
		s.Disturbs, s.Seconds = DisturbsEndpoint, secondsEndpoint
		s.Stops = x.topicsOf(service.ID, r)
		if s.Symbol == Delete || changesPath(s.Changes, "topic") {
			s.Stops = slices.Concat(s.Stops, x.dependents[key])
		}
	case r.Type == "Container":
		s.Disturbs, s.Seconds = DisturbsContainer, secondsContainer
	default:
		return
	}
	s.Stops = x.silent(s.Stops)
	if s.Symbol == Delete {
		s.Seconds = 0 // for good
	}
}

// cause names what made a resource change: its own attributes, or the connection it runs on.
func (x *index) cause(service Service, changes []Change, r *commissioning.Resource) string {
	if !changesPath(changes, "connection") || r.Type != "Endpoint" {
		return causeOf(changes)
	}
	return "its connection " + service.ID + "/" + asText(shown(r.Properties["connection"])) + " is another"
}

func changesPath(changes []Change, path string) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Path == path && !c.NotCompared })
}

// running reports whether this build runs the resource and its target state is on.
func running(r *commissioning.Resource) bool {
	target, _ := r.Properties["targetState"].(string)
	return r.Unsupported == "" && target != "disabled" && target != "disconnected"
}

func mappingEntries(r *commissioning.Resource) []map[string]any {
	list, _ := r.Properties["mappings"].([]any)
	entries := make([]map[string]any, 0, len(list))
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			entries = append(entries, m)
		}
	}
	return entries
}

func asText(v any) string {
	s, _ := v.(string)
	return s
}

// connectionsOf gives the keys of the connections that a resource runs on.
func connectionsOf(service string, r *commissioning.Resource) map[string]bool {
	keys := map[string]bool{}
	add := func(v any) {
		switch c := v.(type) {
		case string:
			if c != "" {
				keys[spec.ResourceKey(service, c)] = true
			}
		case commissioning.Symbol:
			maps.Copy(keys, foreignKeys(c))
		}
	}
	add(r.Properties["connection"])
	for _, entry := range mappingEntries(r) {
		if publish, ok := entry["publish"].(map[string]any); ok {
			add(publish["connection"])
		}
		sources, _ := entry["subscribe"].([]any)
		for _, s := range sources {
			if source, ok := s.(map[string]any); ok {
				add(source["connection"])
			}
		}
	}
	return keys
}

// foreignKeys gives the keys of the other services' resources that a value names.
func foreignKeys(v any) map[string]bool {
	keys := map[string]bool{}
	commissioning.EachName(v, func(name string) {
		if service, _, ok := strings.Cut(name, "::"); ok && service != "Cybus" && service != "Millwright" {
			keys[name] = true
		}
	})
	return keys
}

// byDependency orders services so that each comes after those that it refers to; ties, and
// the members of a cycle, by id.
func byDependency(services []Service) []Service {
	byID := map[string]Service{}
	needs := map[string]map[string]bool{}
	for _, s := range services {
		byID[s.ID] = s
		needs[s.ID] = map[string]bool{}
		for _, r := range s.Resources {
			for key := range foreignKeys(r.Properties) {
				id, _, _ := strings.Cut(key, "::")
				needs[s.ID][id] = true
			}
		}
	}
	var done []Service
	placed := map[string]bool{}
	waits := func(id string) bool {
		for need := range needs[id] {
			if _, ok := byID[need]; ok && !placed[need] && need != id {
				return true
			}
		}
		return false
	}
	ids := slices.Sorted(maps.Keys(byID))
	for len(ids) > 0 {
		i := max(0, slices.IndexFunc(ids, func(id string) bool { return !waits(id) }))
		placed[ids[i]] = true
		done = append(done, byID[ids[i]])
		ids = slices.Delete(ids, i, i+1)
	}
	return done
}
