// Package commissioning reads commissioning files: it parses them with positions, resolves
// tags, parameters and references, checks every resource, and gives the canonical service
// that plans compare and the runtime runs. It is pure: bytes in, values out.
package commissioning

import (
	"github.com/millwright/millwright/internal/spec"
)

// File is a parsed commissioning file; nothing is resolved yet.
type File struct {
	Name        string // as given to Parse, for positions
	DefaultID   string // derived from metadata.name; may be empty
	Description string

	root  *node
	lines lines
}

// Input is what evaluation needs beside the file.
type Input struct {
	ID         string         // service id; empty: DefaultID
	Parameters map[string]any // as given by the user; integers as json.Number or int

	// Sensitive are parameters that are secrets whatever the file says of them.
	Sensitive []string

	// CheckExpression checks the syntax of a rule's JSONata; nil leaves expressions unchecked.
	CheckExpression func(expression string) error
	// AllowMissing is for a look at the file alone: parameters without a value are no
	// error, and what depends on them is not checked.
	AllowMissing bool
}

// Service is the canonical form of a file with its parameters: what is compared and installed.
type Service struct {
	ID          string
	Name        string // metadata.name
	Version     string
	Description string
	Metadata    map[string]any
	Parameters  []Parameter // in file order, effective values
	Resources   []*Resource // in file order
}

// Parameter is one parameter's effective value.
type Parameter struct {
	Name      string
	Value     any
	Sensitive bool
	Given     bool // false: the default
}

// Resource is one resource in canonical form. Properties is a tree of map[string]any,
// []any, string, bool, json.Number and nil, with Symbol where a value is only known to
// the runtime and Secret around what must not be shown.
type Resource struct {
	ID         string
	Type       string // without the prefix: "Connection", "Server::Http"
	Position   spec.Position
	Properties map[string]any
	DependsOn  []string // resource ids of this service: references and dependsOn, sorted
	// Unsupported says why no build, or not this one, can run it ("" if it can be run as
	// far as the file tells; protocols are checked by the caller).
	Unsupported string
}

// Symbol is a value that stays symbolic in the canonical form: a global or a reference
// to another service, or text around such. It prints as it was written.
type Symbol struct {
	Parts []SymbolPart
}

// SymbolPart is literal text or a name such as "Cybus::MqttHost" (the prefix normalised) or "other::resource".
type SymbolPart struct {
	Text string
	Name string
}

// Secret wraps a value that must never be printed. Comparing two is allowed.
type Secret struct {
	Value any
}

// Environment is what the runtime knows and the file does not.
type Environment struct {
	MqttHost, MqttUser, MqttPassword string
	MqttPort                         int
	// Lookup finds a resource of another installed service.
	Lookup func(service, resource string) (*Resource, bool)
}
