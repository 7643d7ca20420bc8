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
}

// Parse reads one file. The File is nil when src is not even a YAML map. It never panics.
func Parse(name string, src []byte) (*File, []spec.Diagnostic) { panic("stub") }

// Input is what evaluation needs beside the file.
type Input struct {
	ID         string         // service id; empty: DefaultID
	Parameters map[string]any // as given by the user; integers as json.Number or int
}

// Evaluate resolves parameters, definitions, tags and references, checks every resource and
// fills in defaults. Globals and references to other services stay symbolic. With an error
// among the diagnostics the Service is still returned as far as it makes sense, for editors,
// but must not be installed.
func (f *File) Evaluate(in Input) (*Service, []spec.Diagnostic) { panic("stub") }

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

// Order returns the resources so that each comes after what it depends on; ties by id.
func (s *Service) Order() []*Resource { panic("stub") }

// Grants lists what the service's own identity may do: services/<id>/#, every topic that its
// mappings and endpoints on the instance's broker name (template variables as "+"), and
// defaultRole. Sorted, without duplicates.
func (s *Service) Grants() []spec.Permission { panic("stub") }

// Environment is what the runtime knows and the file does not.
type Environment struct {
	MqttHost, MqttUser, MqttPassword string
	MqttPort                         int
	// Lookup finds a resource of another installed service.
	Lookup func(service, resource string) (*Resource, bool)
}

// Bind replaces every Symbol and Secret by its value and returns the resources as the
// runtime gets them: Connection, Endpoint (Topic is the whole topic) and Mapping (endpoints
// have become topics), in order. Resources of other types are not part of it. A reference
// that Lookup does not find is an error diagnostic.
func (s *Service) Bind(env Environment) ([]spec.Resource, []spec.Diagnostic) { panic("stub") }

// References lists the other services that the resources name, sorted.
func (s *Service) References() []string { panic("stub") }

// Decode reads a bound resource's properties into its struct (Connection, Endpoint, Mapping);
// defaults are already in them. Integers keep all their digits.
func Decode[T any](properties []byte) (T, error) { panic("stub") }
