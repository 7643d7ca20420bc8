package plan

import (
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
)

// EndpointTopic is the topic of an endpoint of the service.
func EndpointTopic(service string, endpoint *commissioning.Resource) string {
	return endpointTopic(service, endpoint)
}

// PublishedTopics lists what a resource publishes, as far as its own service tells: topics
// that another service's endpoint decides are left out.
func PublishedTopics(service string, r *commissioning.Resource) []string {
	return slices.DeleteFunc((&index{}).topicsOf(service, r), func(topic string) bool { return strings.Contains(topic, "::") })
}
