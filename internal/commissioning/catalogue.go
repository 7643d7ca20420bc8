package commissioning

import (
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/commissioning/shape"
)

// resourceType is one kind of resource. This build runs those that are runnable and knows
// the others well enough to check them.
type resourceType struct {
	name     string
	doc      string
	shape    *shape.Shape
	runnable bool
}

var resourceTypes = []*resourceType{
	{"Connection", "One machine (or broker, or server) that endpoints share.", shape.Of(&Connection{}), true},
	{"Endpoint", "One value that is subscribed to, read on request, or written on request; exactly one of these.", shape.Of(&Endpoint{}), true},
	{"Mapping", "Moves messages from topics to topics, through rules.", shape.Of(&Mapping{}), true},
	{"Role", "A named set of permissions. The id defaultRole extends the service's own identity.", shape.Of(&Role{}), true},
	{"User", "An account; its name is the resource's id.", shape.Of(&User{}), true},
	{"Container", "A program that runs beside the runtime. Name and host name are <serviceId>-<resourceId>.", shape.Of(&Container{}), false},
	{"Volume", "Keeps files beyond a container's life.", shape.Of(&Volume{}), false},
	{"File", "A file that is put into a volume.", shape.Of(&VolumeFile{}), false},
	{"IngressRoute", "Lets clients reach a container through the instance's entry point.", shape.Of(&IngressRoute{}), false},
	{"Link", "A link on the service's page.", shape.Of(&Link{}), false},
	{"Server::Http", "A tree of routes below https://<host>/data/.", shape.Of(&ServerHTTP{}), false},
	{"Node::Http", "One route of a Server::Http.", shape.Of(&NodeHTTP{}), false},
	{"Server::Opcua", "An OPC UA server that this instance offers.", shape.Of(&ServerOpcua{}), false},
	{"Node::Opcua", "One node of a Server::Opcua.", shape.Of(&NodeOpcua{}), false},
}

var (
	strategyShape = shape.Of(&Strategy{})
	ruleShape     = shape.Of(&Rule{})
)

// protocolShapes are the two structs of a protocol.
type protocolShapes struct {
	spec                protocol.Spec
	connection, address *shape.Shape
}

// protocols holds the shapes of protocol.All by lower-case name. It is never written to.
var protocols = func() map[string]protocolShapes {
	m := make(map[string]protocolShapes, len(protocol.All))
	for _, s := range protocol.All {
		c := shape.Of(s.Connection)
		c.Fields = append(slices.Clip(c.Fields), shape.Field{
			Name: "connectionStrategy", Shape: strategyShape,
			HasDefault: true, Default: "{}", Doc: "How a lost connection is tried again.",
		})
		m[strings.ToLower(s.Name)] = protocolShapes{spec: s, connection: c, address: shape.Of(s.Address)}
	}
	return m
}()

// findType splits the prefix off a type and finds it.
func findType(name string) (*resourceType, string, bool) {
	plain, prefixed := strings.CutPrefix(name, "Cybus::")
	if !prefixed {
		plain, prefixed = strings.CutPrefix(name, "Millwright::")
	}
	for _, t := range resourceTypes {
		if t.name == plain {
			return t, plain, prefixed
		}
	}
	return nil, plain, prefixed
}

func typeNames() []string {
	names := make([]string, 0, len(resourceTypes))
	for _, t := range resourceTypes {
		names = append(names, t.name)
	}
	return names
}
