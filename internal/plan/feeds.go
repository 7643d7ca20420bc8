package plan

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// feed is one entry of a running mapping: what it listens to on the instance's broker, and
// the topics that it may publish to, as a filter.
type feed struct {
	sources []string
	target  string
	away    bool // the target is on another broker, where nothing of ours listens
}

// topicVariable is a variable in a topic that a mapping publishes to.
var topicVariable = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*`)

// addFeeds notes what a running mapping makes of what.
func (x *index) addFeeds(r *commissioning.Resource) {
	for _, f := range x.feedsOf(r) {
		n := len(x.feeds)
		x.feeds = append(x.feeds, f)
		for _, source := range f.sources {
			if strings.ContainsAny(source, "+#") {
				x.wild = append(x.wild, n)
				continue
			}
			x.exact[source] = append(x.exact[source], n)
		}
	}
}

func (x *index) feedsOf(r *commissioning.Resource) []feed {
	var feeds []feed
	for _, entry := range mappingEntries(r) {
		publish, _ := entry["publish"].(map[string]any)
		f := feed{target: x.targetOf(publish), away: publish["connection"] != nil}
		sources, _ := entry["subscribe"].([]any)
		for _, s := range sources {
			source, _ := s.(map[string]any)
			if topic := x.sourceOf(source); topic != "" && source["connection"] == nil {
				f.sources = append(f.sources, topic)
			}
		}
		if f.target != "" {
			feeds = append(feeds, f)
		}
	}
	return feeds
}

// sourceOf is the filter that a mapping listens to; "+name" and "#name" are wildcards too.
func (x *index) sourceOf(source map[string]any) string {
	levels := strings.Split(x.topicOf(source), "/")
	for i, level := range levels {
		if strings.HasPrefix(level, "+") || strings.HasPrefix(level, "#") {
			levels[i] = level[:1]
		}
	}
	return strings.Join(levels, "/")
}

// targetOf is where a mapping publishes, with "+" for a level that holds a variable.
func (x *index) targetOf(publish map[string]any) string {
	topic := x.topicOf(publish)
	if name, ok := foreignName(publish["endpoint"]); ok && x.writable[name] {
		topic += "/set"
	}
	levels := strings.Split(topic, "/")
	for i, level := range levels {
		if topicVariable.MatchString(level) {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// topicOf is the topic of a source or target; an endpoint of another service is looked up.
func (x *index) topicOf(of map[string]any) string {
	v := of["topic"]
	if v == nil {
		v = of["endpoint"]
	}
	symbol, ok := v.(commissioning.Symbol)
	if !ok {
		return asText(shown(v))
	}
	var text strings.Builder
	for _, p := range symbol.Parts {
		switch topic, known := x.topics[p.Name]; {
		case p.Name == "":
			text.WriteString(p.Text)
		case known:
			text.WriteString(topic)
		default:
			text.WriteString(p.Name)
		}
	}
	return text.String()
}

func foreignName(v any) (string, bool) {
	symbol, ok := v.(commissioning.Symbol)
	if !ok || len(symbol.Parts) != 1 || symbol.Parts[0].Name == "" {
		return "", false
	}
	return symbol.Parts[0].Name, true
}

// topicsOf lists what a resource publishes.
func (x *index) topicsOf(service string, r *commissioning.Resource) []string {
	switch r.Type {
	case "Endpoint":
		topic := endpointTopic(service, r)
		if _, ok := r.Properties["subscribe"]; !ok {
			topic += "/res"
		}
		return []string{topic}
	case "Mapping":
		var topics []string
		for _, f := range x.feedsOf(r) {
			topics = append(topics, f.target)
		}
		return sortedSet(topics)
	}
	return nil
}

func endpointTopic(service string, r *commissioning.Resource) string {
	if topic := asText(shown(r.Properties["topic"])); topic != "" {
		return topic
	}
	return spec.MqttRoot(service) + "/" + r.ID
}

// silent lists the topics that fall silent when the given ones do: themselves, and what
// mappings of any service make of them, and so on.
func (x *index) silent(topics []string) []string {
	reached, away := map[string]bool{}, map[string]bool{}
	queue := slices.Clone(topics)
	for len(queue) > 0 {
		topic := queue[0]
		queue = queue[1:]
		if reached[topic] {
			continue
		}
		reached[topic] = true
		for _, f := range x.listening(topic) {
			if f.away {
				away[f.target] = true
				continue
			}
			queue = append(queue, f.target)
		}
	}
	maps.Copy(reached, away)
	return slices.Sorted(maps.Keys(reached))
}

// listening are the feeds with a source that may be the topic, itself perhaps a filter.
func (x *index) listening(topic string) []feed {
	candidates := slices.Concat(x.exact[topic], x.wild)
	found := map[int]bool{}
	if strings.ContainsAny(topic, "+#") {
		for n := range x.feeds {
			candidates = append(candidates, n)
		}
	}
	var list []feed
	for _, n := range candidates {
		if found[n] {
			continue
		}
		found[n] = slices.ContainsFunc(x.feeds[n].sources, func(source string) bool { return spec.FiltersOverlap(source, topic) })
		if found[n] {
			list = append(list, x.feeds[n])
		}
	}
	return list
}
